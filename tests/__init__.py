"""The tests. How slow a machine is, or what else it does, fails none of them: what should happen is
waited for until it does, and only what hangs ends by the timeout below. None asserts a speed.

The same code gets the same answer in each run. What a test draws comes from a fixed seed, and the
examples of hypothesis are the same ones, until TUNMESH_EXAMPLES asks for new ones: each state
machine then tries so many of them.
"""

import os
from contextlib import suppress
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from twisted.trial import util

util.DEFAULT_TIMEOUT_DURATION = 300.0  # seconds for a test
os.umask(0o022)  # a node is another user, who reads what a test has written
# What the user says to programs is not said to those of tests.
_SAID = {"columns", "notify_socket", "tunmesh_config_path", "tunmesh_socket"}
_SAID |= {"http_proxy", "https_proxy", "all_proxy"}
for each in [each for each in os.environ if each.lower() in _SAID]:
    del os.environ[each]
IS_FIXED = "TUNMESH_EXAMPLES" not in os.environ
SLOW = [HealthCheck.too_slow]


def examples(usual: int) -> int:
    """How many of them a state machine tries."""
    return int(os.environ.get("TUNMESH_EXAMPLES", usual))


settings.register_profile(
    "any machine", deadline=None, suppress_health_check=SLOW, derandomize=IS_FIXED
)
settings.load_profile("any machine")

if IS_FIXED:
    # It also draws numbers and texts that stand in the modules of this project which are imported:
    # that depends on which tests this process has run before. Older releases do not.
    with suppress(ImportError):
        from hypothesis.internal.conjecture import providers

        patch.object(providers, "is_local_module_file", return_value=False, create=True).start()
