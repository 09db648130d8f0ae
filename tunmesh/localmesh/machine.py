"""The requirements of a local mesh, checked before anything starts.

It must open /dev/net/tun and create network namespaces. Root may do the latter; an ordinary user
may do it in a user namespace of its own (user_namespaces(7)), where the host allows that. The
process then moves there and executes itself again: its children must inherit the capabilities that
it gained, and across execve a uid other than 0 keeps only ambient ones (capabilities(7)).
"""

from __future__ import annotations

import errno
import os
import sys

from tunmesh.errors import OperatorError
from tunmesh.host import privileges
from tunmesh.host.namespaces import Namespace, become_own_user
from tunmesh.localmesh.plan import Owner

_TUN_DEVICE = "/dev/net/tun"
NOBODY = 65534
MOVED = "TUNMESH_MESH_MOVED"


def prepare() -> Owner:
    """Make sure that this process may create tun devices and namespaces. Returns the nodes' user.

    Does not return when it first has to move: then the program starts again from the beginning.
    Raises OperatorError where the host does not allow it.
    """
    check_tun_device(_TUN_DEVICE)
    if not _may_make_namespaces():
        _move_to_own_user_namespace()
    return _owner()


def check_tun_device(path: str) -> None:
    """Raises OperatorError unless this user can open the tun device."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise OperatorError(
            f"cannot open {path} ({error.strerror}): {_remedy(path, error)}"
        ) from None


def _remedy(path: str, error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return f"give the container --device {path}, or load the kernel module: modprobe tun"
        case errno.EACCES:
            return f"uid {os.getuid()} needs: chmod 0666 {path}; or run as root"
        case errno.EPERM:
            return f"the container may not use it; give it --device {path}"
    return "load the kernel module: modprobe tun"


def _may_make_namespaces() -> bool:
    try:
        Namespace.create().close()
    except PermissionError:
        return False
    return privileges.has_net_admin()


def _move_to_own_user_namespace() -> None:
    if os.getuid() == 0:
        # In a namespace whose only uid is 0 there is no user for the nodes.
        raise OperatorError(
            "root may not make network namespaces here: CAP_SYS_ADMIN or CAP_NET_ADMIN is missing "
            "(in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN); or run as an ordinary user"
        )
    if MOVED in os.environ:
        raise OperatorError(
            "this host forbids network namespaces even in a user namespace; run as root instead"
        )
    become_own_user()
    privileges.keep_across_exec()
    os.execve(sys.executable, sys.orig_argv, {**os.environ, MOVED: "1"})  # noqa: S606


def _owner() -> Owner:
    """The current user; if that is root, whoever called sudo, or nobody."""
    if os.getuid() != 0:
        return Owner(os.getuid(), os.getgid())
    uid = int(os.environ.get("SUDO_UID", "0"))
    return Owner(uid, int(os.environ.get("SUDO_GID", str(uid)))) if uid else Owner(NOBODY, NOBODY)
