"""What a name of a node is in DNS.

A node's name may have dots: then it is several labels below the domain (`web-1.eu` is
`web-1.eu.mesh`). Underscores are allowed, capitals are the same as small letters. A name with an
empty label, such as `a..b`, or one that begins with `_nodes` or `_dns` cannot be looked up.

Sources: RFC 1035 sections 2.3.1 and 2.3.4, RFC 2181 section 11.
"""

from __future__ import annotations

from tunmesh.wire.sizes import MAX_LABEL

LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"  # in small letters
MAX_TEXT = 253  # of a name as text, without its final dot
MAX_DOMAIN = 128  # of the mesh's domain: every name of a node fits in front of it
NODES = "_nodes"  # leads to all nodes
SERVER = "_dns"  # leads to the DNS address
_OURS = {NODES, SERVER}

Name = tuple[str, ...]  # labels in small letters, the leftmost first


def labels_of(text: str) -> Name | None:
    """The labels of a node's or group's name; None if it cannot be a name in DNS."""
    labels = tuple(text.lower().split("."))
    if labels[-1] in _OURS or not all(1 <= len(label) <= MAX_LABEL for label in labels):
        return None
    return labels


def text_of(name: Name) -> str:
    return ".".join(name)
