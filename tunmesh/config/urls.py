"""URLs of nodes, as values of config keys."""

from __future__ import annotations

import re
from ipaddress import (
    IPv6Address,
)
from typing import Annotated

from pydantic import (
    PlainValidator,
)

from tunmesh.config.section import Kind, wrong
from tunmesh.config.types import AS_TEXT, text_of
from tunmesh.config.values import AUTO, Endpoint
from tunmesh.wire.records import split_url
from tunmesh.wire.sizes import MAX_HOST

_HTTPS_PORT = 443
# RFC 1035 with the underscore, which names of Compose services have.
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_HOST_NAME = rf"(?!-)(?=[^/:]{{1,{MAX_HOST - 1}}}\.?(?:[/:]|$)){_LABEL}(?:\.{_LABEL})*\.?"
_HOST = rf"(?:\[([0-9A-Fa-f:.]+)\]|({_HOST_NAME}))"
_URL = re.compile(rf"[Hh][Tt][Tt][Pp][Ss]://{_HOST}(?::([0-9]{{1,5}}))?/?")
_ANY_HOST = re.compile(r"[Hh][Tt][Tt][Pp][Ss]://([^/:@?#\[\]\s]+)(?::[0-9]{1,5})?/?")


def _endpoint(value: object, default_port: int | None, form: str, other: str = "") -> Endpoint:
    """`form`: what the URL should look like; `other`: what may be there instead of it."""
    expected = f"{other}a URL of the form {form}, with nothing after it"
    match = _URL.fullmatch(value) if isinstance(value, str) else None
    if match is None and "@" in str(value):
        raise ValueError(f"must be {expected}, without a user name or password")
    if match is None and _ANY_HOST.fullmatch(str(value)):
        expected = _right_host(str(value))
    port = int(match[3] or default_port or 0) if match else 0
    if match is None or not 1 <= port <= 65535:
        raise ValueError(wrong(expected, value))
    endpoint = Endpoint((match[1] or match[2]).lower(), port)
    if match[1] and not isinstance(endpoint.address, IPv6Address):
        raise ValueError(wrong(expected, value))
    split_url(str(endpoint))  # as peers do
    return endpoint


def _right_host(url: str) -> str:
    """What the host of a URL must be, for a URL whose host is wrong."""
    if not url.isascii():
        return "a URL in ASCII, with an international host name in its xn-- form"
    return (
        "a URL with a host name of letters, digits, dashes and underscores, with 1 to 63 "
        f"characters between dots and {MAX_HOST - 1} in all"
    )


def _advertised(value: object) -> Endpoint:
    if value == AUTO:
        return Endpoint(AUTO, 0)
    endpoint = _endpoint(value, None, "https://HOST:PORT", f"{AUTO}, or ")
    if endpoint.address is not None and endpoint.address.is_unspecified:
        raise ValueError(wrong("the https://HOST:PORT at which other nodes reach this one", value))
    return endpoint


def _bootstrap(value: object) -> Endpoint:
    return _endpoint(value, _HTTPS_PORT, "https://HOST or https://HOST:PORT")


_URL_KIND = Kind("URL", text_of(_URL.pattern))
AdvertiseUrl = Annotated[
    Endpoint,
    PlainValidator(_advertised),
    AS_TEXT,
    Kind("`auto` or URL", text_of(rf"{AUTO}|{_URL.pattern}")),
]
BootstrapUrl = Annotated[Endpoint, PlainValidator(_bootstrap), AS_TEXT, _URL_KIND]
