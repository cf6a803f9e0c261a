"""Every failure of this package is one of these, and its text tells the reader what to do next.

They inherit from the built-in exceptions that fit (OSError, PermissionError, LookupError, ValueError), so that a caller
who catches those catches ours; one who wants everything catches IPVSError.
"""

import errno as errnos
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PRIVILEGE = "this needs CAP_NET_ADMIN in the initial user namespace: run it as root, or grant that capability"

# What helps against each errno; what is not listed speaks for itself.
HINTS = {
    errnos.EPERM: PRIVILEGE,
    errnos.EACCES: PRIVILEGE,
    errnos.EBUSY: "an earlier dump still runs on this socket: ask again, and use one client for each thread",
    errnos.ENOBUFS: "the socket's receive buffer overflowed, or the kernel had no memory for the answer: ask again",
    errnos.EMSGSIZE: "a datagram did not fit the receive buffer and was cut off: please report the kernel's version",
    errnos.ETIMEDOUT: "the kernel did not answer in time: ask again, or pass a longer timeout",
    errnos.ESRCH: "services() and ipvsadm -Ln list those that there are",
    errnos.EBADF: "the socket is closed, or is another process's: open a new client",
}


class IPVSError(Exception):
    """The root of every error that this package raises."""


class NetlinkError(IPVSError, OSError):
    """The kernel, or the socket to it, refused.

    `errno` is the kernel's own number, `strerror` its meaning, `ext_ack` the text that the kernel sent with it
    (NLMSGERR_ATTR_MSG of an extended acknowledgement, netlink(7)) or None, `doing` what was being asked, `todo` what
    helps or None.
    """

    def __init__(self, errno: int, doing: str, ext_ack: "str | None" = None, todo: "str | None" = None) -> None:
        super().__init__(errno, os.strerror(errno))
        self.doing = doing
        self.ext_ack = ext_ack
        self.todo = todo or HINTS.get(errno)
        self.args = (errno, doing, ext_ack, todo)  # what pickle and copy call the class with again

    def __str__(self) -> str:
        name = errnos.errorcode.get(self.errno or 0, str(self.errno))
        parts = [f"{self.doing}: {self.strerror} ({name})"]
        if self.ext_ack:
            parts.append(f"the kernel says: {self.ext_ack}")
        if self.todo:
            parts.append(self.todo)
        return "; ".join(parts)


class PermissionDeniedError(NetlinkError, PermissionError):
    """The kernel wants CAP_NET_ADMIN in the initial user namespace; root of a user namespace is not enough. To enter
    another network namespace it wants CAP_SYS_ADMIN (setns(2)).

    IPVS marks every command GENL_ADMIN_PERM (net/netfilter/ipvs/ip_vs_ctl.c), and genl_rcv_msg() answers EPERM.
    """


class NotFoundError(NetlinkError, LookupError):
    """There is no such virtual service; the kernel answers ESRCH (ip_vs_genl_get_cmd())."""


class NotAvailableError(IPVSError):
    """This kernel has no IPVS family now: the module ip_vs is not loaded, or this is not Linux."""


class DumpInterruptedError(IPVSError):
    """A long list changed so much while it was read that nobody can tell whether an entry was left out (windows.py).

    `entries` is what was read, each entry once: all of it is true, but it may lack some.
    """

    def __init__(self, entries: "list[Any]") -> None:
        super().__init__(entries)
        self.entries = entries

    def __str__(self) -> str:
        return f"the list changed too fast to be read as a whole ({len(self.entries)} entries were seen): ask again"


class DecodeError(IPVSError, ValueError):
    """Bytes from the kernel, or from a capture, that are not what they should be; nothing was guessed from them."""

    def __init__(self, what: str, todo: str = "keep the bytes (see --record FILE) and report them, please") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}; {self.todo}"


def netlink_error(errno: int, doing: str, ext_ack: "str | None" = None, todo: "str | None" = None) -> NetlinkError:
    """The NetlinkError, or the subclass of it, that an errno calls for."""
    kind = PermissionDeniedError if errno in (errnos.EPERM, errnos.EACCES) else NetlinkError
    return kind(errno, doing, ext_ack, todo)
