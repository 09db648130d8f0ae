"""What processes of tests begin as: users with some capabilities, or in user namespaces."""

from __future__ import annotations

# Python for the beginning of a script. It needs ctypes, os, sys, libc, OperatorError and
# host.namespaces. `capset` leaves exactly the named capabilities, by their numbers in
# linux/capability.h: 6 SETGID, 7 SETUID, 12 NET_ADMIN.
STARTS = """
def capset(*capabilities):
    mask = sum(1 << capability for capability in capabilities)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    assert libc.capset(header, (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)) == 0

def become(uid, *capabilities):
    libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    capset(*capabilities)
    libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self is ours, as after an execve

def own_user_namespace():
    try:
        namespaces.become_own_user()
    except OperatorError as error:
        print("SKIP", error)
        sys.exit()
"""
