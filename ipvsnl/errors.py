"""The errors of this package. The text of each names the next step.

All are an IPVSError. They also inherit from the built-in exceptions that fit: OSError, PermissionError,
FileExistsError, TimeoutError, LookupError, ValueError.
"""

import errno as errnos
import os

from ._typing import typing

PRIVILEGE = "this needs CAP_NET_ADMIN in the initial user namespace: run it as root, or grant that capability"

# What helps against an errno. The other errnos need no explanation.
REMEDIES = {
    errnos.EPERM: PRIVILEGE,
    errnos.EACCES: PRIVILEGE,
    errnos.EBUSY: "an earlier dump still runs on this socket: try again, and use one client for each thread",
    errnos.ENOBUFS: "the socket's receive buffer overflowed, or the kernel had no memory for the reply: try again",
    errnos.EMSGSIZE: "a datagram was longer than the receive buffer, and its rest is lost: try again",
    errnos.ETIMEDOUT: "the kernel did not reply in time: try again, or pass a longer timeout",
    errnos.EBADF: "the socket is closed, or belongs to another process: open a new client",
}


class IPVSError(Exception):
    """The base class of every error that this package raises."""


class NetlinkError(IPVSError, OSError):
    """The kernel, or the socket to it, refused a request.

    `errno` is the kernel's number, and `strerror` its meaning. `ext_ack` is the kernel's text from an extended
    acknowledgement (NLMSGERR_ATTR_MSG, netlink(7)), or None. `doing` says what failed, and `todo` what helps, or None.
    `what` is the kind of entry that was not found, such as "service", else None.
    """

    def __init__(
        self,
        errno: int,
        doing: str,
        ext_ack: "typing.Optional[str]" = None,
        todo: "typing.Optional[str]" = None,
        what: "typing.Optional[str]" = None,
    ) -> None:
        super().__init__(errno, os.strerror(errno))
        self.doing = doing
        self.ext_ack = ext_ack
        self.todo = todo or REMEDIES.get(errno)
        self.what = what
        self.args = (errno, doing, ext_ack, todo, what)  # pickle and copy pass them to the class

    def __str__(self) -> str:
        name = errnos.errorcode.get(self.errno or 0, str(self.errno))
        parts = [f"{self.doing}: {self.strerror} ({name})"]
        if self.ext_ack:
            parts.append(f"the kernel says: {self.ext_ack}")
        if self.todo:
            parts.append(self.todo)
        return "; ".join(parts)


class PermissionDeniedError(NetlinkError, PermissionError):
    """The caller lacks CAP_NET_ADMIN in the initial user namespace, as root of another user namespace does.

    The kernel refuses a command marked GENL_ADMIN_PERM with EPERM (genl_rcv_msg() in net/netlink/genetlink.c).
    Entering another network namespace requires CAP_SYS_ADMIN (setns(2)).
    """


class AlreadyExistsError(NetlinkError, FileExistsError):
    """The entry to add exists already (EEXIST)."""


class TimedOutError(NetlinkError, TimeoutError):
    """The kernel did not reply within the timeout (ETIMEDOUT)."""


class NotFoundError(NetlinkError, LookupError):
    """What the request names does not exist."""

    what: str


class NotAvailableError(IPVSError):
    """The kernel lacks the family now: its module is not loaded, or the system is not Linux."""


class DumpInterruptedError(IPVSError):
    """A dump may lack entries, because they changed during it or because the kernel's memory was short.

    `entries` has each entry that was read, once. `why` says what happened.
    """

    def __init__(
        self, entries: "list[typing.Any]", why: str = "the entries changed too fast for a complete dump"
    ) -> None:
        super().__init__(entries, why)
        self.entries = entries
        self.why = why

    def __str__(self) -> str:
        return f"{self.why} ({len(self.entries)} entries were read): try again"


class DecodeError(IPVSError, ValueError):
    """Bytes from the kernel or from a capture have an unexpected form."""

    def __init__(self, what: str, todo: str = "the kernel may be newer than this program: try a newer one") -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what}; {self.todo}"


SUBCLASSES: "dict[int, type[NetlinkError]]" = {
    errnos.EPERM: PermissionDeniedError,
    errnos.EACCES: PermissionDeniedError,
    errnos.EEXIST: AlreadyExistsError,
    errnos.ETIMEDOUT: TimedOutError,
}


def netlink_error(
    errno: int, doing: str, ext_ack: "typing.Optional[str]" = None, todo: "typing.Optional[str]" = None
) -> NetlinkError:
    """Return a NetlinkError, of the subclass that fits the errno."""
    return SUBCLASSES.get(errno, NetlinkError)(errno, doing, ext_ack, todo)
