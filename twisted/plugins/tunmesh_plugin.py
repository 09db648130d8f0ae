"""Makes `twistd tunmesh` known to twistd."""

from twisted.application.service import ServiceMaker

tunmesh = ServiceMaker(
    "tunmesh", "tunmesh.service.options", "A node of a layer-3 mesh VPN", "tunmesh"
)
