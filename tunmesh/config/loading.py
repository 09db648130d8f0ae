"""Loading the configuration: `load` reads a file and gives a frozen `Config`, or says everything
that is wrong with it.

    file                  YAML to a tree of text with line numbers, `${NAME}`, the problems
    section, types, urls  the kinds of value: durations, networks, secrets, files, URLs
    keys/                 the keys: one declaration each, and the rules inside a section
    here                  load, the rules across sections, problems in plain words
    lint                  what else is wrong or doubtful in a file that loads
    plain, values         the same config without the declarations, for a running node
    docs/                 made from the declarations: example, JSON schema, reference page

The result depends only on the file, the files that it names and the arguments; nothing on the
machine is changed. pydantic validates, but the messages are written here: one sentence per key,
which never contains the value of a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunmesh.addresses import Address
from tunmesh.config.file import ConfigError, Document, Loc, Problem, key_path, read
from tunmesh.config.keys.root import Config, ConfigFile, key_paths, section_around
from tunmesh.config.section import Loading, shown, wrong
from tunmesh.config.values import DEFAULT_PATH, PATH_VARIABLE, Endpoint, path_of
from tunmesh.units import closest

__all__ = [
    "DEFAULT_PATH",
    "PATH_VARIABLE",
    "Config",
    "ConfigError",
    "Endpoint",
    "Problem",
    "dump",
    "load",
    "path_of",
]

# By pydantic's error type; the braces are filled from the error's context. Its releases differ in
# some of them (mapping_type or dict_type, string_too_short or too_short).
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "string_too_short": "{min_length} characters or more",
    "string_type": "text",
    "too_long": "a list of at most {max_length}",
    "too_short": "{min_length} characters or more",
}
_EXPECTED_CONTAINER = {
    "dict_type": "a mapping of keys",
    "mapping_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "tuple_type": "a list such as [a, b]",
}
_KEY_PATHS = tuple(key_paths())
_SECRET_KEYS = frozenset({"secret", "secrets"})


def load(path: Path, environ: Mapping[str, str], draw: Callable[[float, float], float]) -> Config:
    """Read and check one config file.

    `environ` fills `${NAME}`; `draw(low, high)` gives the value of a range such as `10..20s`.
    Durations in the result are seconds. Raises ConfigError with every problem found.
    """
    config, document = examine(path, environ, draw)
    if config is None:
        raise ConfigError(path, document.problems)
    return config


def examine(
    path: Path, environ: Mapping[str, str], draw: Callable[[float, float], float]
) -> tuple[Config | None, Document]:
    """Like `load`, but returns the document with its problems as well; there is no config if there
    are any. The rules within a section are checked once its keys are valid, those across sections
    once all are.

    Raises ConfigError when the file cannot be read at all.
    """
    document = read(path, environ)
    config: Config | None = None
    try:
        whole = ConfigFile.model_validate(document.tree, context=loading(path, draw))
    except ValidationError as error:
        _blame(document, error)
    else:
        config = whole.tun_mesh
        for loc, text in _across_sections(config):
            document.blame(loc, text)
    return (None if document.problems else config), document


def loading(path: Path, draw: Callable[[float, float], float]) -> Loading:
    """The context for checking the values of the file at `path`."""
    return Loading(directory=path.absolute().parent, draw=draw)


def dump(config: Config, reveal: bool = False) -> dict[str, Any]:
    """The config as a tree of plain values, defaults filled in, that could be written to a file and
    loaded again. Secrets are replaced by `(redacted)` unless they are to be revealed."""
    return {"tun_mesh": config.model_dump(mode="json", context={"reveal": reveal})}


def _across_sections(config: Config) -> Iterator[tuple[Loc, str]]:
    """What no section can see alone: the mesh's port is the mesh's, and a node cannot be reached
    through the tunnel that reaching it is to build."""
    listen = config.monitoring.listen
    if listen is not None and listen.port == config.control_api.listen_port:
        yield (
            ("tun_mesh", "monitoring", "listen"),
            wrong("at another port than control_api/listen_port", str(listen)),
        )
    address, page = config.control_api.listen_address, config.admin.http_port
    is_on_loopback = address is None or address.is_unspecified or address.is_loopback
    if page == config.control_api.listen_port and is_on_loopback:
        text = wrong("another port than control_api/listen_port", page)
        yield ("tun_mesh", "admin", "http_port"), text
    if _in_overlay(config, address):
        yield ("tun_mesh", "control_api", "listen_address"), _outside_text(address)
    clustering: Loc = ("tun_mesh", "clustering")
    url = config.clustering.control_api_advertise_url
    if _in_overlay(config, url.address):
        yield (*clustering, "control_api_advertise_url"), _outside_text(url)
    for name, group in config.clustering.bootstrap_groups.items():
        for index, url in enumerate(group.bootstrap_node_urls):
            if _in_overlay(config, url.address):
                place = ("bootstrap_groups", name, "bootstrap_node_urls", index)
                yield (*clustering, *place), _outside_text(url)


def _in_overlay(config: Config, address: Address | None) -> bool:
    networks = config.networking.networks
    return address is not None and any(address in network for network in networks)


def _outside_text(found: object) -> str:
    form = "outside the mesh's own network_cidr, at an address of the host network"
    return wrong(form, str(found))


def _blame(document: Document, error: ValidationError) -> None:
    known = {problem.key for problem in document.problems}
    for details in error.errors(include_url=False):
        loc = tuple(name for name in details["loc"] if name != "[key]")
        # A value with an error of its own gets no second one here.
        if details["type"] == "default_factory_not_called" or key_path(loc) in known:
            continue
        context = details.get("ctx", {})
        text = _sentence(loc, details["type"], details["input"], context)
        place = getattr(context.get("error"), "place", ())  # of a KeyRuleError
        document.blame((*loc, *place), text)


def _sentence(loc: Loc, kind: str, value: object, context: Mapping[str, Any]) -> str:
    """One pydantic error in plain words: what would be right, and what is there."""
    if kind == "missing":
        return f"is missing. {_description(loc)}"
    if kind == "extra_forbidden":
        return f"is not a key; {_suggestion(loc)}"
    if kind == "value_error":
        return str(context["error"])
    if kind in _EXPECTED_CONTAINER:
        # The text may be a secret in the wrong place.
        expected = _EXPECTED_CONTAINER[kind]
        return f"must be {expected}, not text" if isinstance(value, str) else wrong(expected, value)
    bounds = {name: shown(context[name]) for name in ("ge", "le") if name in context}
    expected = _EXPECTED[kind].format_map({**context, **bounds})
    return f"must be {expected}" if _SECRET_KEYS & set(loc) else wrong(expected, value)


def _description(loc: Loc) -> str:
    return section_around(loc).model_fields[str(loc[-1])].description or ""


def _suggestion(loc: Loc) -> str:
    name = str(loc[-1])
    here = list(section_around(loc).model_fields)
    elsewhere = next((path for path in _KEY_PATHS if path[-1] == name), None)
    if elsewhere:
        return f"it belongs at {key_path(elsewhere)}"
    meant = closest(name, here)
    if meant:
        return f"did you mean {meant}?"
    return f"the keys here are {', '.join(here)}"
