"""With this folder on PYTHONPATH, a node tries the URLs of others seconds after they were linked,
and believes failures soon, not after a minute or two; it is settled soon, and its address is soon
kept for it; and it gives others a quarter of a minute, not a whole one, to take up a new secret."""

from __future__ import annotations

from tunmesh.dialing import reachability, url_checks
from tunmesh.membership import reservations, seniority
from tunmesh.node import links

url_checks.FIRST = 2.0
url_checks.RETRY = 4.0
reachability.PATIENCE = 3.0
seniority.SETTLING = 4.0
reservations.TENURE = 3.0
links.REVOCATION = 15.0
