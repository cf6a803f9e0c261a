"""The errors of this package. The text of each names the next step.

They inherit from the built-in exceptions that fit (OSError, PermissionError, FileExistsError, TimeoutError,
LookupError, ValueError), so that a caller who catches those catches these. IPVSError catches everything.
"""

import errno as errnos
import os

from ._typing import typing

PRIVILEGE = "this needs CAP_NET_ADMIN in the initial user namespace: run it as root, or grant that capability"

# What helps against each errno. An errno that is not listed speaks for itself.
HINTS = {
    errnos.EPERM: PRIVILEGE,
    errnos.EACCES: PRIVILEGE,
    errnos.EBUSY: "an earlier dump still runs on this socket: ask again, and use one client for each thread",
    errnos.ENOBUFS: "the socket's receive buffer overflowed, or the kernel had no memory for the answer: ask again",
    errnos.EMSGSIZE: "a datagram did not fit the receive buffer and was cut off: ask again",
    errnos.ETIMEDOUT: "the kernel did not answer in time: ask again, or pass a longer timeout",
    errnos.EBADF: "the socket is closed, or belongs to another process: open a new client",
}


class IPVSError(Exception):
    """The base class of every error that this package raises."""


class NetlinkError(IPVSError, OSError):
    """The kernel, or the socket to it, refused a request.

    `errno` is the kernel's number and `strerror` its meaning. `ext_ack` is the text that the kernel sent with it
    (NLMSGERR_ATTR_MSG of an extended acknowledgement, netlink(7)) or None. `doing` says what was requested, `todo`
    what helps, or is None.
    """

    def __init__(
        self,
        errno: int,
        doing: str,
        ext_ack: "typing.Optional[str]" = None,
        todo: "typing.Optional[str]" = None,
    ) -> None:
        super().__init__(errno, os.strerror(errno))
        self.doing = doing
        self.ext_ack = ext_ack
        self.todo = todo or HINTS.get(errno)
        self.args = (errno, doing, ext_ack, todo)  # what pickle and copy pass to the class

    def __str__(self) -> str:
        name = errnos.errorcode.get(self.errno or 0, str(self.errno))
        parts = [f"{self.doing}: {self.strerror} ({name})"]
        if self.ext_ack:
            parts.append(f"the kernel says: {self.ext_ack}")
        if self.todo:
            parts.append(self.todo)
        return "; ".join(parts)


class PermissionDeniedError(NetlinkError, PermissionError):
    """The kernel requires CAP_NET_ADMIN in the initial user namespace. Root of another user namespace lacks it.

    A command that a family marks GENL_ADMIN_PERM is refused with EPERM (genl_rcv_msg() in net/netlink/genetlink.c).
    Entering another network namespace requires CAP_SYS_ADMIN (setns(2)).
    """


class AlreadyExistsError(NetlinkError, FileExistsError):
    """What should be added exists (EEXIST)."""


class TimedOutError(NetlinkError, TimeoutError):
    """The kernel did not answer within the timeout (ETIMEDOUT)."""


class NotFoundError(NetlinkError, LookupError):
    """What the request names does not exist. `what` says what kind of thing that is, such as "service"."""

    def __init__(
        self,
        errno: int,
        doing: str,
        ext_ack: "typing.Optional[str]" = None,
        todo: "typing.Optional[str]" = None,
        what: str = "",
    ) -> None:
        super().__init__(errno, doing, ext_ack, todo)
        self.what = what
        self.args = (*self.args, what)


class NotAvailableError(IPVSError):
    """The kernel does not have the family now: its module is not loaded, or the system is not Linux."""


class DumpInterruptedError(IPVSError):
    """Entries of a dump may be missing, because they changed during it or because the kernel's memory was short.

    `entries` is what was read, each entry once. Every one of them existed. `why` says what happened.
    """

    def __init__(
        self, entries: "list[typing.Any]", why: str = "the list changed too fast to be read as a whole"
    ) -> None:
        super().__init__(entries, why)
        self.entries = entries
        self.why = why

    def __str__(self) -> str:
        return f"{self.why} ({len(self.entries)} entries were seen): ask again"


class DecodeError(IPVSError, ValueError):
    """Bytes from the kernel or from a capture have an unexpected form. Nothing was guessed from them."""

    def __init__(self, what: str, todo: str = "the kernel may be newer than this program: try a newer one") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}; {self.todo}"


KINDS: "dict[int, type[NetlinkError]]" = {
    errnos.EPERM: PermissionDeniedError,
    errnos.EACCES: PermissionDeniedError,
    errnos.EEXIST: AlreadyExistsError,
    errnos.ETIMEDOUT: TimedOutError,
}


def netlink_error(
    errno: int, doing: str, ext_ack: "typing.Optional[str]" = None, todo: "typing.Optional[str]" = None
) -> NetlinkError:
    """Return the NetlinkError for an errno, or the subclass that fits it."""
    return KINDS.get(errno, NetlinkError)(errno, doing, ext_ack, todo)
