"""tunmesh: a layer-3 mesh VPN that runs as a sidecar container."""

__version__ = "0.1.0"
