"""docs/configuration.md: every key, in the order of the declarations, behind a page of prose about
what all keys have in common.

The page is generated, so that it cannot tell of keys that are not there: `make docs` writes it, and
a test fails when it is stale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_origin

from pydantic.fields import FieldInfo

from tunmesh.config.docs.describe import default_of, example_of, type_of
from tunmesh.config.keys.root import ConfigFile, has_effect, is_reloaded, section_in
from tunmesh.config.secrecy import MIN_SECRET
from tunmesh.config.section import Section

_HEAD = f"""\
<!-- Made by `make docs` from the declarations in tunmesh/config*.py: change those, not this. -->

# Configuration

One YAML file with one top key, `tun_mesh`. A file of the original Tun Mesh (schema 1.1) loads
unchanged and means what it meant.

    tunmesh config example          print an example with every key, to fill in
    tunmesh config check [FILE]     print everything that is wrong or doubtful
    tunmesh config show [FILE]      print what a file amounts to, defaults filled in
    tunmesh config schema           print a JSON schema, for editors
    tunmesh config reference        print this page

The original's commands are there too: `generate_tun_mesh_example_config` is `tunmesh config
example`, and `parse_tun_mesh_config [FILE]` is `check` and `show` in one.

## The file

**Which file.** The one that `--config` (or the argument FILE) names, else the one that
`$TUNMESH_CONFIG_PATH` names, else `/etc/tunmesh/config.yaml`.

**What is read.** Plain YAML in UTF-8: mappings, lists and values, one document of at most 1 MiB.
Anchors, aliases and tags are refused. A value is the text that is written; the key decides what it
means, so `config_version: 1.10` is not 1.1, and a secret of digits keeps its leading zeros. A key
that is there twice, that does not exist or that is missing is an error, with its full path and
line. A section with nothing under it has its defaults.

**The environment.** `${{NAME}}` in a value is replaced by the environment variable of that name, in
numbers and lists too, but not in the names of keys. A variable that is not set is an error. What it
holds is never read as YAML, nor replaced again; line ends at its end do not count.

**Durations** are a number of seconds, or a number with a unit: `10s`, `5m`, `1h`, `2d`. A range
such as `10..20s` stands for one value in it, drawn at random when the file is read, so that nodes
which share a file do not act in step.

**File paths** that are relative start at the directory of the config file, not at the working
directory.

**Addresses.** `network_cidr` is everything the mesh may use, and all of it is routed into the
tunnel. `node_address_cidr` is this node's own address, with the prefix of its local subnet, which
may be smaller: it sets who hears local broadcast, and which timing, `local` or `mesh`, is for a
peer. There must be `ipv4`, `ipv6` or both.

## Secrets

The secret has {MIN_SECRET} characters or more. It is in the file itself (`secret`), in a file of
its own (`secret_file`), or there are several (`secrets`, `secret_files`): the first is offered to
peers and all are accepted, which is how a secret is changed without downtime. Exactly one of the
four is given.

White space around a secret is no part of it, nor is a byte order mark, wherever it comes from: the
line end that `echo`, an editor on Windows or `secret: |` leaves behind makes no other secret.

One character again and again is no secret and is refused. One with few different characters, or
that repeats or counts up, is used, with a warning from the check and at the start.

No command and no log shows a secret, with one exception: `show` and `parse_tun_mesh_config` do when
`--no-redact` is given. Hiding them (`--redact`) is the default; the original showed them.

## Checking a file

`tunmesh config check` and `parse_tun_mesh_config` print all there is to say at once, on stderr, one
line each:

    FILE:LINE: KEY: what is wrong and what would be right
    warning: FILE:LINE: KEY: what is doubtful and what to do about it

An **error** is what a node would refuse to start with. Beside wrong keys and values: a certificate
or a key that cannot be read or is not PEM, a key that is not the certificate's, both if they do not
pass a TLS 1.3 handshake in memory (a key that TLS 1.3 does not take or that is too weak, a
certificate that is not for servers or does not lead to what `ca_file_path` has), a host whose name
cannot be a node's and no `node_name`, an advertised or bootstrap URL inside the mesh's own network,
a network that overlaps one of this machine (of the
network namespace that the command runs in; a node that runs there already does not count).

A **warning** does not change the exit code: a key without effect, a secret with too little variety,
a secret file that everybody can read, a certificate (or that of an issuer) that has expired, is not
valid yet or expires within 30 days, or that is not for the advertised host although host names are
verified, a `stale_threshold` of less than three times the `reregistration_interval`, or one of the
two above what it counts as. Those about secrets and certificates are logged at the start, too.

A node that does not start prints the same errors, all of them, and one that does not reload logs
them: the lines are the same.

| exit code | of the commands above | of a node (`twistd tunmesh`) |
|---|---|---|
| 0 | the file can be used, warnings or not | left after TERM or INT |
| 1 | the file cannot be used | failed at run time |
| 2 | there is no such command or option | |
| 78 | | the file cannot be used; nothing was changed on the machine |

Editors that know JSON schema (any with yaml-language-server) complete and check keys while typing:
`tunmesh config schema > tunmesh.schema.json`, and as the first line of the config file

    # yaml-language-server: $schema=tunmesh.schema.json

## Keys

*Effect*: "start", a change takes effect when the node is started anew; "reload", also in a node
that runs, at HUP or by itself when the file has changed; "no", for keys that files of the original
have and that steer nothing here: they are accepted and checked. NAME stands for a name of your
choice.
"""


def reference() -> str:
    """The page, in Markdown."""
    return _HEAD + "\n".join(_section(ConfigFile, "")) + "\n"


def _section(section: type[Section], path: str, reloaded: bool = False) -> Iterator[str]:
    """The table of a section's own keys, then the sections in it."""
    keys = section.model_fields
    values = {name: key for name, key in keys.items() if section_in(key.annotation) is None}
    if values:
        yield from ("", "| key | type | default | effect | description |", "|---|---|---|---|---|")
        yield from (_row(section, name, key, reloaded) for name, key in values.items())
    for name, key in keys.items():
        inner = section_in(key.annotation)
        if inner is not None:
            below = f"{path}/{name}".lstrip("/")
            below += "/NAME" if get_origin(key.annotation) is Mapping else ""
            need = f" ({_need(section, name, key)})" if section.one_of or key.is_required() else ""
            yield from ("", f"### {below}", "", f"{key.description}{need}")
            yield from _section(inner, below, reloaded or is_reloaded(key))


def _row(section: type[Section], name: str, key: FieldInfo, reloaded: bool) -> str:
    effect = "reload" if reloaded or is_reloaded(key) else "start"
    effect = effect if has_effect(key) else "no"
    cells = (f"`{name}`", type_of(key), _need(section, name, key), effect, _description(key))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _need(section: type[Section], name: str, key: FieldInfo) -> str:
    """What stands in for a key that is not given."""
    if key.is_required():
        return "**required**"
    if name in section.one_of:
        return f"**one of** {', '.join(f'`{one}`' for one in section.one_of)} **is required**"
    default = default_of(key)
    return f"`{default}`" if default else ""


def _description(key: FieldInfo) -> str:
    example = example_of(key)
    return f"{key.description} Example: `{example}`" if example else f"{key.description}"
