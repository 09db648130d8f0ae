"""The error line for each mistake in a config file: file, line, key path, and what would be
right."""

from __future__ import annotations

from tests.support.configs import MINIMAL, ORIGINAL, SECRET, Case, middle, timing
from tunmesh.config.loading import ConfigError, load


class InvalidFiles(Case):
    """One line for each mistake: file, line, key path, and what would be right."""

    def test_missing_file(self) -> None:
        """A missing file is named, without a line number."""
        error = self.assertRaises(ConfigError, load, self.directory / "none.yaml", {}, middle)
        self.assertEqual(
            str(error),
            f"{self.directory}/none.yaml: cannot be read: No such file or directory; "
            "must be a readable file",
        )

    def test_directory(self) -> None:
        """A directory is refused as a config file."""
        error = self.assertRaises(ConfigError, load, self.directory, {}, middle)
        self.assertIn("cannot be read: Is a directory", str(error))

    def test_not_a_text(self) -> None:
        """Files that are too large, not UTF-8 or not printable are refused as such."""
        self.assertEqual(
            self.refusal(b"#" * (1 << 20) + b"\n"),
            [" is larger than 1 MiB; a config file is a few KiB of YAML"],
        )
        self.assertEqual(
            self.refusal(b"a: 1\nb: \xff\n"), ["2: is not UTF-8 text; save the file as UTF-8"]
        )
        self.assertEqual(
            self.refusal(b"a: 1\nb: \x07\n"), ["2: has a control character; remove it"]
        )

    def test_not_yaml(self) -> None:
        """A syntax error is reported with its line."""
        self.assertEqual(
            self.refusal("tun_mesh:\n  a: [1, 2\n  b: 3\n"),
            [
                "3: is not valid YAML: after a value in what [ or { opens in line 2, "
                "there must be a comma or its end"
            ],
        )
        self.assertEqual(
            self.refusal('a: "\\UFFFFFFFF"\n'), ["1: is not valid YAML: no such character"]
        )

    def test_usual_yaml_mistakes(self) -> None:
        """The usual mistakes get advice instead of the words of the parser."""
        for text, line, advice in (
            ("a:\n\tb: 1\n", 2, "there is a tab; indent with spaces"),
            (
                "a:\n  b: 1\n c: 2\n",
                3,
                "it is not indented like what it belongs with, which begins",
            ),
            ("a: b: c\n", 1, "there is a colon where none can be: check the indentation"),
            ("a:1\nb: 2\n", 2, "there is a colon where none can be: check the indentation, put"),
            ("a: {b: ${X}}\n", 1, 'a value with { in it must be quoted here, as in "${NAME}"'),
            ("a: [::1]\n", 1, "a value that begins with : must be quoted"),
            ("a: @b\n", 1, "a value that begins with @, % or ` must be quoted"),
            ("a: !b!c d\n", 1, "a value that begins with ! must be quoted"),
            ("a: {b: c}}\n", 1, "there is a } too many"),
            ("a:\n  b: [c\n", 3, "what [ or { opens in line 2 is never closed"),
            ("a:\n  b: [c,\n", 3, "a [ or { is never closed"),
            ('a: 1\nb: "c\n', 3, "the quote that opens in line 2 is never closed"),
        ):
            (said,) = self.refusal(text)
            self.assertTrue(said.startswith(f"{line}: is not valid YAML: {advice}"), said)

    def test_several_documents(self) -> None:
        """A file with several YAML documents is refused."""
        self.assertEqual(
            self.refusal("a: 1\n---\nb: 2\n"),
            [
                "2: is not valid YAML: expected a single document in the stream, "
                "but found another document"
            ],
        )

    def test_anchors(self) -> None:
        """Anchors and aliases are refused, so that a small file cannot expand to a huge tree."""
        for text in ("a: &x 1\nb: *x\n", "a: &x 1\n", "a: [&x [1, 1]]\n"):
            self.assertEqual(
                self.refusal(text), ["1: has a YAML anchor or alias; write the value out instead"]
            )

    def test_depth(self) -> None:
        """Deeply nested brackets are refused without recursion."""
        self.assertEqual(
            self.refusal("[" * 100_000), ["1: is nested too deeply; no key is this deep"]
        )

    def test_tags(self) -> None:
        """YAML tags are refused: a config file cannot name a class."""
        self.refused(
            "level: debug",
            "level: !!python/name:os.system debug",
            "29: tun_mesh/logging/level: has a YAML tag; remove it, the key decides the type",
            text=ORIGINAL,
        )

    def test_secret_that_looks_like_a_tag(self) -> None:
        """An unquoted secret that YAML takes for a tag is not repeated in the error, not even in
        part."""
        self.refused(
            f"secret: {SECRET}",
            f"secret: !hunter2!{SECRET}",
            "6: is not valid YAML: a value that begins with ! must be quoted",
        )

    def test_top_key(self) -> None:
        """There is exactly one top-level key, and it is required."""
        missing = "1: tun_mesh: is missing. The one top key; everything is under it."
        self.assertEqual(self.refusal(""), [missing])
        self.assertEqual(
            self.refusal("# nothing\n\ntunmesh: {}\n"),
            [
                "3: tun_mesh: is missing. The one top key; everything is under it.",
                "3: tunmesh: is not a key; did you mean tun_mesh?",
            ],
        )
        self.assertEqual(self.refusal("- a\n"), ["1: must be a mapping of keys, not a list"])
        self.assertEqual(self.refusal("hello\n"), ["1: must be a mapping of keys, not text"])

    def test_missing_keys(self) -> None:
        """A missing key is reported at the line of its section."""
        self.refused(
            "    uid: 1000\n",
            "    gid: 1000\n",
            "19: tun_mesh/process/uid: is missing. User to run as once the tun device is set up, "
            "preferably one of its own. Root (0) is refused.",
        )
        self.assertEqual(
            [line.split(": ")[1] for line in self.refusal("tun_mesh:\n")],
            [
                f"tun_mesh/{name}"
                for name in (
                    "clustering",
                    "config_version",
                    "control_api",
                    "networking",
                    "process",
                )
            ],
        )

    def test_unknown_keys(self) -> None:
        """An unknown key is refused with the most similar valid one."""
        self.refused(
            "cert_file_path",
            "cert_file",
            "12: tun_mesh/control_api/ssl/cert_file_path: is missing. Certificate, with its chain, "
            "in PEM.",
            "13: tun_mesh/control_api/ssl/cert_file: is not a key; did you mean cert_file_path?",
        )
        self.refused(
            "  process:",
            "  logging: {colour: true}\n  process:",
            "19: tun_mesh/logging/colour: is not a key; the keys here are level, levels, format",
        )
        self.refused(
            "  process:",
            "  logging: {levels: {links: error, link: loud}}\n  process:",
            "19: tun_mesh/logging/levels/link: must be 'error', 'warn', 'info' or 'debug', not "
            '"loud"',
            "19: tun_mesh/logging/levels/links: must be 'node', 'link', 'address', 'config', "
            "'names' or 'other', not \"links\"",
        )

    def test_misplaced_keys(self) -> None:
        """For a key in the wrong section, as in files older than 1.1, the error names the right
        section."""
        self.refused(
            "    auth:",
            "    bootstrap_node_urls: []\n    auth:",
            "5: tun_mesh/clustering/bootstrap_node_urls: is not a key; it belongs at "
            "tun_mesh/clustering/bootstrap_groups/NAME/bootstrap_node_urls",
        )

    def test_unknown_key_in_a_group(self) -> None:
        """Keys inside a group with a user-defined name are checked as well."""
        self.refused(
            "        bootstrap_node_urls:",
            "        bootstrap_retry: 1\n        bootstrap_node_urls:",
            "9: tun_mesh/clustering/bootstrap_groups/default/bootstrap_retry: is not a key; "
            "did you mean bootstrap_retries?",
        )

    def test_twice(self) -> None:
        """A key that occurs twice is refused; YAML would silently take the last."""
        self.refused(
            "    uid: 1000",
            "    uid: 1000\n    uid: 1001",
            "21: tun_mesh/process/uid: is given twice (line 20); keep one",
        )

    def test_keys_are_names(self) -> None:
        """A key must be a name, not a list or a mapping."""
        self.refused(
            "    uid: 1000",
            "    uid: 1000\n    [1, 2]: 3",
            "21: tun_mesh/process: has a key that is not text; keys are names",
        )

    def test_unset_variable(self) -> None:
        """An unset variable is named, and no further error is reported for its key."""
        self.refused(
            "uid: 1000",
            "uid: ${MESH_UID}",
            "20: tun_mesh/process/uid: uses ${MESH_UID}, which is not set; "
            "set it in the environment, or write ${MESH_UID:-default}",
        )

    def test_expansions_of_a_shell(self) -> None:
        """What a shell would expand in another way is refused, and not taken literally. What comes
        after the operator is not shown: it may be a secret."""
        for value, operator in {
            "${MESH_UID:?12345}": ":?",
            "${MESH_UID-12345}": "-",
            "${MESH_UID:=12345}": ":=",
            "${MESH_UID:+12345}": ":+",
            "${MESH_UID:0:3}": ":",
            "${MESH_UID%%2345}": "%",
            "${MESH_UID:-${OTHER}}": ":-",
            "${MESH_UID:-12345": ":-",
        }.items():
            (line, *_) = self.refusal(
                MINIMAL.replace("uid: 1000", f'uid: "{value}"'), {"MESH_UID": "1", "OTHER": "2"}
            )
            self.assertEqual(
                line,
                f"20: tun_mesh/process/uid: uses ${{MESH_UID{operator}…}}, which is not understood;"
                " what is: ${MESH_UID}, and ${MESH_UID:-default} with a default without braces",
            )

    def test_numbers(self) -> None:
        """Numbers must be numbers, and within bounds."""
        key = "20: tun_mesh/process/uid: must be"
        for value, text in {
            "0": "1 or more, not 0",
            "root": "1 or more, not 0",
            "1.5": 'a whole number or the name of a user, not "1.5"',
            "": "a whole number or the name of a user, not empty",
            "[1]": "a whole number or the name of a user, not a list",
            "010": 'a whole number or the name of a user, not "010"',
            "no-such": "a user of this machine, or a number; there is no user no-such "
            "(useradd --system no-such)",
            "99999999999": "4294967294 or less, not 99999999999",
        }.items():
            self.refused("uid: 1000", f"uid: {value}", f"{key} {text}")
        self.refused(
            "  control_api:",
            "  control_api:\n    listen_port: 70000",
            "12: tun_mesh/control_api/listen_port: must be 65535 or less, not 70000",
        )

    def test_listen_address(self) -> None:
        """A listen address is a single address: not a name, without port or prefix, and not inside
        the mesh."""
        key = "12: tun_mesh/control_api/listen_address: must be"
        form = "an IP address of this machine such as 192.0.2.10, without brackets, prefix or port"
        outside = "outside the mesh's own network_cidr, at an address of the host network"
        for value, expected in {
            "alice.example": form,
            "10.0.0.1:4567": form,
            "10.0.0.1/24": form,
            "[::1]": form,
            "fe80::1%eth0": form,
            "224.0.0.1": form,
            "10.77.1.2": outside,
        }.items():
            address = f"  control_api:\n    listen_address: '{value}'"
            self.refused("  control_api:", address, f'{key} {expected}, not "{value}"')

    def test_choices(self) -> None:
        """A word must be one of the choices, a flag true or false."""
        self.refused(
            "level: debug",
            "level: loud",
            "29: tun_mesh/logging/level: must be 'error', 'warn', 'info' or 'debug', not \"loud\"",
            text=ORIGINAL,
        )
        self.refused(
            "verify_hostname: true",
            "verify_hostname: maybe",
            '27: tun_mesh/control_api/ssl/verify_hostname: must be true or false, not "maybe"',
            text=ORIGINAL,
        )
        self.refused(
            "config_version: 1.1",
            "config_version: 1.10",
            "2: tun_mesh/config_version: must be '1.1', not \"1.10\"",
        )

    def test_shapes(self) -> None:
        """A section must be a mapping and a list a list; text in their place is not repeated, since
        it may be a secret."""
        self.refused(
            f"    auth:\n      secret: {SECRET}\n",
            f"    auth: {SECRET}\n",
            "5: tun_mesh/clustering/auth: must be a mapping of keys, not text",
        )
        self.refused(
            f"secret: {SECRET}",
            f"secrets: {SECRET}",
            "6: tun_mesh/clustering/auth/secrets: must be a list such as [a, b], not text",
        )
        self.refused(
            "    bootstrap_groups:\n      default:\n        bootstrap_node_urls:\n"
            "          - https://bob.example:4567\n",
            "    bootstrap_groups:\n",
            "7: tun_mesh/clustering/bootstrap_groups: must be a mapping of keys, not empty",
        )

    def test_durations(self) -> None:
        """A duration must be valid, and within bounds."""
        key = "22: tun_mesh/process/timing/request_timeout: must be"
        form = "a duration such as 10, 10s, 5m, 1h, 2d or 10..20s"
        for value, text in {
            "fast": f'{form}, not "fast"',
            "-1": f'{form}, not "-1"',
            "5w": f'{form}, not "5w"',
            "1..2..3": f'{form}, not "1..2..3"',
            "nan": f'{form}, not "nan"',
            "20..10s": 'a range from the smaller to the larger number, not "20..10s"',
            "0.01": "0.1 or more, not 0.01",
            "30d": "604800 or less, not 2592000",
        }.items():
            self.refused("uid: 1000", timing("request_timeout", value), f"{key} {text}")

    def test_secret_length(self) -> None:
        """A secret that is too short is refused without being shown."""
        self.refused(
            SECRET, "hunter2", "6: tun_mesh/clustering/auth/secret: must be 32 characters or more"
        )
        self.refused(
            f"secret: {SECRET}",
            f"secrets: [{SECRET}, hunter2]",
            "6: tun_mesh/clustering/auth/secrets/1: must be 32 characters or more",
        )

    def test_one_secret(self) -> None:
        """There is exactly one source of secrets, and no secret occurs twice in it."""
        key = "tun_mesh/clustering/auth: must have"
        one = "exactly one of secret, secret_file, secrets and secret_files"
        self.refused(f"secret: {SECRET}", "pub_key_size: 2048", f"5: {key} {one}, not none")
        self.refused(
            f"secret: {SECRET}",
            f"secret: {SECRET}\n      secrets: [{SECRET}]",
            f"5: {key} {one}, not 2",
        )
        self.refused(
            f"secret: {SECRET}",
            f"secrets: [{SECRET}, {SECRET}]",
            f"5: {key} different secrets in its list; one is there twice",
        )
        for name in ("secret", "same"):
            (self.directory / name).write_text(SECRET)
        self.refused(
            f"secret: {SECRET}",
            "secret_files: [secret, same]",
            f"5: {key} different secrets in its list; one is there twice",
        )

    def test_secret_files(self) -> None:
        """A secret file that is missing, short or binary is refused by its name only."""
        text = self.with_line(f"secret: {SECRET}", "secret_file: secret")
        file = self.directory / "secret"
        key = "6: tun_mesh/clustering/auth/secret_file: must be"
        self.assertEqual(self.refusal(text), [f"{key} the path of a file; {file} does not exist"])
        file.write_text("hunter2\n")
        self.assertEqual(
            self.refusal(text),
            [f"{key} a file with a secret of 32 to 4096 characters; {file} is not"],
        )
        file.write_bytes(b"\xff" * 40)
        self.assertEqual(
            self.refusal(text),
            [f"{key} a file with a secret in UTF-8; {file} is not UTF-8 text"],
        )
        file.write_text(SECRET, encoding="utf-16")
        self.assertEqual(
            self.refusal(text),
            [f"{key} a file with a secret in UTF-8; {file} is UTF-16, as PowerShell writes it"],
        )
        for binary in (bytes(64), SECRET.encode("utf-16-le"), f"{SECRET}\x1b[2J".encode()):
            file.write_bytes(binary)
            form = f"{key} a file with a secret; {file} has control characters"
            self.assertEqual(self.refusal(text), [form])

    def test_no_secret(self) -> None:
        """White space, or one repeated character, is refused as a secret, wherever it is."""
        key, what = "6: tun_mesh/clustering/auth", "a secret, as `tunmesh secret` makes them, not"
        for text, found in {
            "a" * 39: "one character again and again",
            " " * 40: "white space",
        }.items():
            (self.directory / "secret").write_text(text)
            for source, name in (
                (f"secret: '{text}'", "secret"),
                (f"secrets: [{SECRET}, '{text}']", "secrets/1"),
                ("secret_file: secret", "secret_file"),
                ("secret_files: [secret]", "secret_files/0"),
            ):
                self.refused(f"secret: {SECRET}", source, f"{key}/{name}: must be {what} {found}")

    def test_files(self) -> None:
        """Files that a config names must exist."""
        key = "13: tun_mesh/control_api/ssl/cert_file_path: must be the path of a file"
        for value, text in {
            "other.pem": f"; {self.directory}/other.pem does not exist",
            ".": f"; {self.directory} is not a file",
            "''": ', not ""',
        }.items():
            self.refused("cert_file_path: cert.pem", f"cert_file_path: {value}", f"{key}{text}")

    def test_advertise_url(self) -> None:
        """The advertised URL is https with a host and a port, and nothing more."""
        key = "4: tun_mesh/clustering/control_api_advertise_url: must be auto, or a URL "
        form = f"{key}of the form https://HOST:PORT, with nothing after it"
        for url in (
            "http://alice.example:4567",
            "https://alice.example",
            "https://auto",
            "automatic",
            "https://alice.example:0",
            "https://alice.example:65536",
            "https://alice.example:4567/path",
            "https://:4567",
            "https://[::1:4567",
            "https://[1.2.3.4]:4567",
            "alice.example:4567",
        ):
            self.refused("https://alice.example:4567", f"'{url}'", f'{form}, not "{url}"')
        self.refused(
            "https://alice.example:4567",
            "https://me:hunter2@alice.example:4567",
            f"{form}, without a user name or password",
        )

    def test_unspecified_url(self) -> None:
        """An unspecified address is refused in the advertised URL, since no other machine can reach
        it."""
        right = "must be the https://HOST:PORT at which other nodes reach this one"
        for url in ("https://0.0.0.0:4567", "https://[::]:4567"):
            self.refused(
                "https://alice.example:4567",
                f'"{url}"',
                f'4: tun_mesh/clustering/control_api_advertise_url: {right}, not "{url}"',
            )

    def test_bootstrap_urls(self) -> None:
        """Each bootstrap URL is checked, and reported by its position in the list."""
        self.refused(
            "          - https://bob.example:4567",
            "          - https://bob.example:4567\n          - bob",
            "11: tun_mesh/clustering/bootstrap_groups/default/bootstrap_node_urls/1: must be a URL "
            'of the form https://HOST or https://HOST:PORT, with nothing after it, not "bob"',
        )

    def test_urls_inside_the_mesh(self) -> None:
        """A URL inside the mesh is refused: the tunnel would have to exist before it is built."""
        text = MINIMAL.replace("alice.example", "10.77.1.2").replace("bob.example", "10.77.3.4")
        right = "must be outside the mesh's own network_cidr, at an address of the host network"
        self.assertEqual(
            self.refusal(text),
            [
                "4: tun_mesh/clustering/control_api_advertise_url: "
                f'{right}, not "https://10.77.1.2:4567"',
                "10: tun_mesh/clustering/bootstrap_groups/default/bootstrap_node_urls/0: "
                f'{right}, not "https://10.77.3.4:4567"',
            ],
        )

    def test_networks(self) -> None:
        """A network is an address range with its prefix, of the right family."""
        key = "17: tun_mesh/networking/ipv4/network_cidr: must be"
        form = "an IPv4 network such as 10.77.0.0/16"
        for value, text in {
            "10.77.0.0": f'{form}, with its prefix, not "10.77.0.0"',
            "10.77.0.1/16": '10.77.0.0/16, the network itself, not "10.77.0.1/16"',
            "10.77.0.0/33": f'{form}, not "10.77.0.0/33"',
            "fd77::/48": f'{form}, not "fd77::/48"',
            "null": f"{form}, with its prefix, not empty",
        }.items():
            self.refused("network_cidr: 10.77.0.0/16", f"network_cidr: {value}", f"{key} {text}")

    def test_node_address(self) -> None:
        """The node's address is in the network and neither its first nor its last address."""
        key = "18: tun_mesh/networking/ipv4/node_address_cidr: must be"
        for value, text in {
            "10.78.1.2/24": "an address inside network_cidr 10.77.0.0/16",
            "10.77.1.2/8": "in a subnet no larger than network_cidr 10.77.0.0/16",
            "10.77.0.0/16": "an address for a node, which 10.77.0.0 in 10.77.0.0/16 cannot be",
            "10.77.255.255/16": (
                "an address for a node, which 10.77.255.255 in 10.77.0.0/16 cannot be"
            ),
            "10.77.1.0/24": "an address for a node, which 10.77.1.0 in 10.77.1.0/24 cannot be",
            "10.77.1.255/24": (
                "an address for a node, which 10.77.1.255 in 10.77.1.0/24 cannot be"
            ),
        }.items():
            self.refused("10.77.1.2/24", value, f'{key} {text}, not "{value}"')
        self.refused(
            "fd77::2/64",
            "fd77::/64",
            "46: tun_mesh/networking/ipv6/node_address_cidr: must be an address for a node, "
            'which fd77:: in fd77::/48 cannot be, not "fd77::/64"',
            text=ORIGINAL,
        )

    def test_form_of_node_address(self) -> None:
        """An address has a prefix, or is automatic."""
        key = "18: tun_mesh/networking/ipv4/node_address_cidr: must be"
        form = "auto, or an IPv4 address such as 10.77.0.1/24"
        for value, text in {
            "10.77.1.2": f"{form}, with its prefix",
            "10.77.1.2/33": form,
            "fd77::1/64": form,
            "automatic": f"{form}, with its prefix",
            "auto/": form,
            "auto/x": form,
            "auto/-1": form,
            "Auto": f"{form}, with its prefix",
        }.items():
            self.refused("10.77.1.2/24", value, f'{key} {text}, not "{value}"')

    def test_list_of_addresses(self) -> None:
        """A list has different assigned addresses, each of which would do alone, and not too
        many."""
        key = "18: tun_mesh/networking/ipv4/node_address_cidr: must be"
        for value, text in {
            "[]": "one address or more, not an empty list",
            "[10.77.1.2/24, 10.77.1.2/16]": "different addresses, and 10.77.1.2 is there twice",
            "[10.77.1.2/24, auto]": (
                "a list of assigned addresses, or auto alone: an automatic address cannot be one "
                "of several"
            ),
            "[10.77.1.2/24, 10.78.1.2/24]": (
                'an address inside network_cidr 10.77.0.0/16, not "10.78.1.2/24"'
            ),
            "[10.77.1.2/24, 10.77.1.3]": (
                'an IPv4 address such as 10.77.0.1/24, with its prefix, not "10.77.1.3"'
            ),
        }.items():
            self.refused("10.77.1.2/24", value, f"{key} {text}")
        nine = ", ".join(f"10.77.1.{n}/24" for n in range(1, 10))
        (line,) = self.refusal(MINIMAL.replace("10.77.1.2/24", f"[{nine}]"))
        self.assertIn(
            "networking: must have at most 8 addresses in node_address_cidr, of both families "
            "together, not 9",
            line,
        )

    def test_mtu(self) -> None:
        """An MTU is one that the kernel and both families can have."""
        for value, text in {
            "575": 'must be 576 or more, not "575"',
            "65522": 'must be 65521 or less, not "65522"',
            "big": 'must be a whole number, not "big"',
        }.items():
            (line,) = self.refusal(
                MINIMAL.replace("  networking:", f"  networking:\n    mtu: {value}")
            )
            self.assertIn(f"networking/mtu: {text}", line)
        (line,) = self.refusal(ORIGINAL.replace("  networking:", "  networking:\n    mtu: 1279"))
        self.assertIn(
            "networking/mtu: must be 1280 or more with networking/ipv6, not 1279: the kernel takes "
            "IPv6 away from a device with a smaller MTU",
            line,
        )
        for value, text in {"0": "1 or more", "10001": "10000 or less"}.items():
            (line,) = self.refusal(
                MINIMAL.replace("  networking:", f"  networking:\n    txqueuelen: {value}")
            )
            self.assertIn(f'networking/txqueuelen: must be {text}, not "{value}"', line)

    def test_automatic_prefix(self) -> None:
        """The local subnet of an automatic address is in the network, and has room for hosts."""
        key = "18: tun_mesh/networking/ipv4/node_address_cidr: must be"
        form = "auto/16 (all of network_cidr 10.77.0.0/16) to auto/30"
        for value in ("auto/15", "auto/0", "auto/31", "auto/64", "auto/999"):
            self.refused("10.77.1.2/24", value, f'{key} {form}, not "{value}"')
        self.refused(
            "fd77::2/64",
            "auto/47",
            "46: tun_mesh/networking/ipv6/node_address_cidr: must be "
            'auto/48 (all of network_cidr fd77::/48) to auto/126, not "auto/47"',
            text=ORIGINAL,
        )
        self.refused(
            "network_cidr: 10.77.0.0/16\n      node_address_cidr: 10.77.1.2/24",
            "network_cidr: 10.77.0.0/31\n      node_address_cidr: auto",
            f"{key} an address: network_cidr 10.77.0.0/31 is too small for auto",
        )

    def test_automatic_in_a_wrong_network(self) -> None:
        """Only the network is complained of when it is the network that is wrong."""
        text = MINIMAL.replace("10.77.1.2/24", "auto").replace("10.77.0.0/16", "10.77.0.0")
        (line,) = self.refusal(text)
        self.assertIn("networking/ipv4/network_cidr", line)

    def test_no_network(self) -> None:
        """A mesh without any network is refused."""
        start = MINIMAL.index("    ipv4:")
        text = MINIMAL[:start] + "    tun_device_id: tun1\n" + MINIMAL[MINIMAL.index("  proc") :]
        self.assertEqual(
            self.refusal(text),
            ["15: tun_mesh/networking: must have ipv4, ipv6 or both, not none of them"],
        )

    def test_names(self) -> None:
        """Names of devices, nodes and labels must be valid where they are used."""
        right = "must be 1 to 15 characters without spaces, /, : or %"
        for name in ("a-name-too-long0", "a/b", "tun%d", "..", "a b", ""):
            length = ", which has 16 characters" * (len(name) > 15)
            self.refused(
                "tun_device_id: mesh0",
                f"tun_device_id: '{name}'",
                f'39: tun_mesh/networking/tun_device_id: {right}, not "{name}"{length}',
                text=ORIGINAL,
            )
        self.refused(
            "  clustering:\n",
            "  clustering:\n    node_name: a b\n",
            "4: tun_mesh/clustering/node_name: must be 1 to 64 letters, digits, dots, dashes or "
            'underscores, not "a b"',
        )
        self.refused(
            "  clustering:\n",
            f"  clustering:\n    node_name: {'n' * 65}\n",
            "4: tun_mesh/clustering/node_name: must be 1 to 64 letters, digits, dots, dashes or "
            f'underscores, not "{"n" * 60}…", which has 65 characters',
        )
        self.refused(
            "environment: production",
            "env-name: production",
            "36: tun_mesh/monitoring/prometheus/base_labels/env-name: must be a Prometheus label "
            'name (letters, digits and _, not beginning with a digit or __), not "env-name"',
            text=ORIGINAL,
        )

    def test_monitoring_address(self) -> None:
        """The monitoring address must be an address of this machine with a free port."""
        right = (
            'must be an address of this machine and a port, such as 127.0.0.1:9464 or "[::]:9464"'
        )
        where = "tun_mesh/monitoring/listen"
        for value in (
            "9464",
            ":9464",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "localhost:9464",
            "::1:9464",
            "[127.0.0.1]:9464x",
            "300.0.0.1:9464",
            "http://127.0.0.1:9464",
            "[::1%lo]:1",
        ):
            self.refused(
                "method: prometheus",
                f"listen: '{value}'",
                f'31: {where}: {right}, not "{value}"',
                text=ORIGINAL,
            )
        self.refused(
            "method: prometheus",
            "listen: 0.0.0.0:14567",
            f"31: {where}: must be at another port than control_api/listen_port, not "
            '"0.0.0.0:14567"',
            text=ORIGINAL,
        )

    def test_page_at_the_port_of_the_mesh(self) -> None:
        """The live page, on loopback, cannot have the mesh's port, unless that is elsewhere."""
        text = MINIMAL + "  admin: {http_port: 4567}\n"
        (line,) = self.refusal(text)
        self.assertIn("admin/http_port: must be another port than control_api/listen_port", line)
        elsewhere = "  control_api:\n    listen_address: 192.0.2.1\n"
        self.load(text.replace("  control_api:\n", elsewhere))

    def test_thresholds(self) -> None:
        """A peer must not be given up before it could have been heard from again."""
        for value in ("36", "6"):
            text = ORIGINAL.replace("reregistration_interval: 6", "reregistration_interval: 36")
            self.refused(
                "stale_threshold: 36",
                f"stale_threshold: {value}",
                "67: tun_mesh/process/timing/registrations/local/stale_threshold: must be more "
                f"than reregistration_interval 36, not {value}",
                text=text,
            )

    def test_control_characters(self) -> None:
        """A value with control characters is refused before it is used."""
        self.refused(
            "cert_file_path: cert.pem",
            'cert_file_path: "cert\\0.pem"',
            "13: tun_mesh/control_api/ssl/cert_file_path: has a control character; remove it",
        )

    def test_all_at_once(self) -> None:
        """Every mistake is reported, in the order of the file."""
        text = MINIMAL.replace("1.1", "2", 1).replace("https://bob", "bob")
        lines = self.refusal(text.replace("uid: 1000", "uid: 0").replace("/16", ""))
        self.assertEqual([line.split(":")[0] for line in lines], ["2", "10", "17", "20"])
