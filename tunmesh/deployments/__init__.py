"""Ready deployments, written by `tunmesh init`."""
