"""The kinds of value that a config key may have: text in, a plain checked value out.

A validator raises ValueError with the complete message for the person who wrote the file, made by
`wrong`: what would be right, and what is there. It never contains a secret.

What a validator needs from outside (the file's directory, a source of randomness) is in the
pydantic context, a `Loading`.
"""

from __future__ import annotations

import codecs
import os
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    SerializationInfo,
    ValidationInfo,
)

from tunmesh.addresses import Address
from tunmesh.config.file import REFERENCE, printable
from tunmesh.config.secrecy import MIN_SECRET, is_binary, is_none, secret_in
from tunmesh.config.section import REDACTED, Kind, SecretFile, loading_of, wrong
from tunmesh.config.values import SocketAddress
from tunmesh.wire.sizes import MAX_NAME

_MAX_SECRET_FILE = 4096  # characters
_MAX_SECRET_BYTES = 4 * _MAX_SECRET_FILE + 8  # of UTF-8, and some that make it too long
_MAX_SOCKET_PATH = 107  # bytes: unix(7), without the zero at the end
WEEK = 7 * 86400  # seconds; the upper bound of durations

_UNIT_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# No leading zeros: YAML reads 010 as 8. The original's queue keys are written 0x80000000.
INTEGER = re.compile(r"[+-]?(?:0x[0-9A-Fa-f]{1,16}|0|[1-9][0-9]{0,18})")
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,12})?)"
_SIZE = re.compile(r"([0-9]{1,15})\s*(|B|KiB|MiB|GiB)")
_DURATION = re.compile(rf"{_NUMBER}(?:\.\.{_NUMBER})?\s*([SMHDsmhd]?)")
_SOCKET_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")
_NODE_NAME = rf"[A-Za-z0-9._-]{{1,{MAX_NAME}}}"
_GROUP_NAME = r"[^\x00-\x1f\x7f]{1,64}"
# The kernel's dev_valid_name(), and no %, which TUNSETIFF would take for a pattern to number.
_DEVICE_NAME = r"(?!\.{1,2}$)[^\s/:%]{1,15}"
_LABEL_NAME = r"(?!__)[A-Za-z_][A-Za-z0-9_]*"

NODE_NAME_FORM = f"1 to {MAX_NAME} letters, digits, dots, dashes or underscores"

NO_EFFECT: dict[str, Any] = {"no_effect": True}
"""Marks a key that files of the original have and that steers nothing here."""

RELOADED: dict[str, Any] = {"reloaded": True}
"""Marks a key, or a section with all that is in it, that a running node reads anew."""

RELOADED_BY_HELPER: dict[str, Any] = {"reloaded": "helper"}
"""Marks a key that a running node reads anew if it has a helper process (tunmesh.assigner)."""


def is_node_name(text: str) -> bool:
    """Whether a node may have this name."""
    return re.fullmatch(_NODE_NAME, text) is not None


def _integer(value: object) -> int:
    if not isinstance(value, str) or not INTEGER.fullmatch(value):
        raise ValueError(wrong("a whole number", value))
    return int(value, 0)


def _duration(value: object, info: ValidationInfo) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(wrong("a duration such as 10, 10s, 5m, 1h, 2d or 10..20s", value))
    unit = _UNIT_SECONDS[match[3].lower()]
    low = float(match[1]) * unit
    if match[2] is not None:
        high = float(match[2]) * unit
        if high < low:
            raise ValueError(wrong("a range from the smaller to the larger number", value))
        low = loading_of(info).draw(low, high)
    # Whole milliseconds, so that a value is printed as it was written, not as 5e-05.
    return round(low, 3)


def _size(value: object) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(wrong("a size such as 67108864, 512KiB, 64MiB or 1GiB", value))
    return int(match[1]) * _UNIT_BYTES[match[2]]


def _file(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(wrong("the path of a file", value))
    path = loading_of(info).directory / value
    try:
        if path.is_file():
            return path
        found = "is not a file" if path.exists() else "does not exist"
    except OSError as error:
        found = f"cannot be looked at ({error.strerror})"
    raise ValueError(f"must be the path of a file; {printable(str(path), 200)} {found}")


def _secret_file(value: object, info: ValidationInfo) -> SecretFile:
    path = _file(value, info)
    name = printable(str(path), 200)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_SECRET_BYTES)
        text = data.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise ValueError(f"must be a file with a secret; {name} {reason}") from None
    except UnicodeDecodeError:
        is_utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        reason = "is UTF-16, as PowerShell writes it" if is_utf_16 else "is not UTF-8 text"
        raise ValueError(f"must be a file with a secret in UTF-8; {name} {reason}") from None
    if is_binary(secret_in(text)):
        raise ValueError(f"must be a file with a secret; {name} has control characters")
    if not MIN_SECRET <= len(text) <= _MAX_SECRET_FILE:
        form = f"a file with a secret of {MIN_SECRET} to {_MAX_SECRET_FILE} characters"
        raise ValueError(f"must be {form}; {name} is not")
    return SecretFile(path, _secret(text))


def _secret(text: str) -> str:
    """The secret in a text that is long enough."""
    secret = secret_in(text)
    if is_none(secret):
        what = "one character again and again" if secret else "white space"
        raise ValueError(f"must be a secret, as `tunmesh secret` makes them, not {what}")
    return secret


def _socket(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError(wrong("the path of a socket", value))
    path = loading_of(info).directory / value
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        limit = f"at most {_MAX_SOCKET_PATH} bytes long, as the kernel wants it"
        raise ValueError(f"must be {limit}, not {printable(str(path), 200)}")
    return path


def _ip_address(value: object) -> Address:
    if isinstance(value, IPv4Address | IPv6Address):
        return value
    try:
        address = ip_address(value if isinstance(value, str) else "")
        if address.is_multicast or getattr(address, "scope_id", None):
            raise ValueError
    except ValueError:
        form = "an IP address of this machine such as 192.0.2.10, without brackets, prefix or port"
        raise ValueError(wrong(form, value)) from None
    return address


def _like(pattern: str, expected: str, longest: int | None = None) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            is_too_long = longest is not None and len(text) > longest
            length = f", which has {len(text)} characters" if is_too_long else ""
            raise ValueError(wrong(expected, text) + length)
        return text

    return AfterValidator(check)


def _stripped(secret: SecretStr) -> SecretStr:
    return SecretStr(_secret(secret.get_secret_value()))


def _show_secret(secret: SecretStr, info: SerializationInfo) -> str:
    return secret.get_secret_value() if info.context == {"reveal": True} else REDACTED


def _socket_address(value: object) -> SocketAddress:
    found = _SOCKET_ADDRESS.fullmatch(value) if isinstance(value, str) else None
    try:
        if found is None or not 1 <= int(found[3]) <= 65535:
            raise ValueError
        return SocketAddress(ip_address(found[1] or found[2]), int(found[3]))
    except ValueError:
        expected = 'an address of this machine and a port, such as 127.0.0.1:9464 or "[::]:9464"'
        raise ValueError(wrong(expected, value)) from None


def text_of(pattern: str) -> dict[str, Any]:
    """The JSON schema of text that matches the pattern as a whole, or contains a ${NAME}."""
    return {"type": "string", "pattern": f"^(?:{pattern})$|{REFERENCE.pattern}"}


def or_text(json_type: str, pattern: str) -> dict[str, Any]:
    """The same for text that YAML may parse as another type."""
    return {**text_of(pattern), "type": [json_type, "string"]}


AS_TEXT = PlainSerializer(str, return_type=str)
_FILE = Kind("file", {"type": "string", "minLength": 1})
ANY_ADDRESS = r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"

NULL_IS_EMPTY = BeforeValidator(lambda value: () if value is None else value)

Integer = Annotated[
    int,
    BeforeValidator(_integer),
    Kind("whole number", or_text("integer", INTEGER.pattern)),
]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Kind("duration", or_text("number", _DURATION.pattern)),
]
"""Seconds."""
Size = Annotated[
    int,
    BeforeValidator(_size),
    Kind("size", or_text("integer", _SIZE.pattern)),
]
"""Bytes."""
File = Annotated[Path, BeforeValidator(_file), _FILE]
"""An existing file; relative paths start at the config file's directory."""
SocketPath = Annotated[
    Path, BeforeValidator(_socket), Kind("path", {"type": "string", "minLength": 1})
]
"""Where a Unix socket is to be; relative paths start at the config file's directory."""
ListenAddress = Annotated[
    SocketAddress,
    PlainValidator(_socket_address),
    AS_TEXT,
    Kind("address and port", text_of(_SOCKET_ADDRESS.pattern)),
]
Secret = Annotated[
    SecretStr,
    Field(min_length=MIN_SECRET),
    AfterValidator(_stripped),
    PlainSerializer(_show_secret),
    Kind(
        f"text of {MIN_SECRET} characters or more",
        {
            "type": "string",
            "anyOf": [{"minLength": MIN_SECRET}, {"pattern": REFERENCE.pattern}],
        },
    ),
]
SecretInFile = Annotated[SecretFile, PlainValidator(_secret_file), AS_TEXT, _FILE]
IpAddress = Annotated[
    Address,
    BeforeValidator(_ip_address),
    Kind("IP address", text_of(ANY_ADDRESS)),
]
NodeName = Annotated[
    str,
    _like(_NODE_NAME, NODE_NAME_FORM, MAX_NAME),
    Kind("name", text_of(_NODE_NAME)),
]
GroupName = Annotated[
    str,
    _like(_GROUP_NAME, "a name of 1 to 64 characters, on one line", 64),
    Kind("name", text_of(_GROUP_NAME)),
]
DeviceName = Annotated[
    str,
    _like(_DEVICE_NAME, "1 to 15 characters without spaces, /, : or %", 15),
    Kind("name", text_of(_DEVICE_NAME)),
]
LabelName = Annotated[
    str,
    _like(
        _LABEL_NAME,
        "a Prometheus label name (letters, digits and _, not beginning with a digit or __)",
    ),
    Kind("name", text_of(_LABEL_NAME)),
]
Version = Annotated[Literal["1.1"], Kind("1.1", {"enum": [1.1, "1.1"]})]
