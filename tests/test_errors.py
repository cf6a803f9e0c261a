"""The errors: each is also a built-in exception that fits, and its text names the next step."""

import copy
import errno
import pickle
import re
from pathlib import Path

import pytest

import ipvsnl
from ipvsnl import errors
from ipvsnl.errors import TimedOutError, netlink_error

EVERY_ERROR = [
    netlink_error(errno.EINVAL, "asking", "too odd"),
    netlink_error(errno.EPERM, "asking"),
    netlink_error(errno.EEXIST, "adding"),
    netlink_error(errno.ETIMEDOUT, "asking"),
    ipvsnl.NotFoundError(errno.ESRCH, "there is no such service", None, "list them", "service"),
    ipvsnl.DumpInterruptedError([1, 2]),
    ipvsnl.NotAvailableError("this kernel has no IPVS now"),
    ipvsnl.DecodeError("a message of 3 bytes", "record it again"),
]


@pytest.mark.parametrize(
    ("kind", "ancestors"),
    [
        (ipvsnl.NetlinkError, [OSError]),
        (ipvsnl.PermissionDeniedError, [ipvsnl.NetlinkError, PermissionError]),
        (ipvsnl.NotFoundError, [ipvsnl.NetlinkError, LookupError]),
        (ipvsnl.AlreadyExistsError, [ipvsnl.NetlinkError, FileExistsError]),
        (TimedOutError, [ipvsnl.NetlinkError, TimeoutError]),
        (ipvsnl.NotAvailableError, []),
        (ipvsnl.DecodeError, [ValueError]),
    ],
)
def test_every_error_is_an_ipvs_error_and_a_built_in_one(kind: type, ancestors: "list[type]") -> None:
    assert all(issubclass(kind, ancestor) for ancestor in [ipvsnl.IPVSError, *ancestors])


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EPERM, ipvsnl.PermissionDeniedError),
        (errno.EACCES, ipvsnl.PermissionDeniedError),
        (errno.EEXIST, ipvsnl.AlreadyExistsError),
        (errno.ETIMEDOUT, TimedOutError),
        (errno.EINVAL, ipvsnl.NetlinkError),
        (errno.ESRCH, ipvsnl.NetlinkError),
    ],
)
def test_an_errno_has_its_class(number: int, kind: type) -> None:
    assert type(netlink_error(number, "asking")) is kind


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EPERM, "CAP_NET_ADMIN"),
        (errno.EACCES, "CAP_NET_ADMIN"),
        (errno.EBUSY, "one client for each thread"),
        (errno.ENOBUFS, "try again"),
        (errno.ETIMEDOUT, "longer timeout"),
        (errno.EBADF, "open a new client"),
        (errno.EMSGSIZE, "try again"),
    ],
)
def test_an_errno_that_has_a_remedy_names_it(number: int, advice: str) -> None:
    assert advice in str(netlink_error(number, "asking"))


def test_a_netlink_error_names_the_request_the_errno_and_the_kernels_text() -> None:
    text = str(netlink_error(errno.EINVAL, "dumping the services", "attribute type 9 has an invalid length"))
    assert text == (
        "dumping the services: Invalid argument (EINVAL); the kernel says: attribute type 9 has an invalid length"
    )


def test_a_netlink_error_has_the_fields_of_an_os_error() -> None:
    error = netlink_error(errno.EPERM, "asking")
    assert (error.errno, error.strerror) == (errno.EPERM, "Operation not permitted")


def test_an_errno_that_nobody_knows_is_its_number() -> None:
    assert "(524)" in str(netlink_error(524, "asking"))


def test_a_decode_error_says_what_and_what_to_do() -> None:
    assert str(ipvsnl.DecodeError("a message of 3 bytes", "record it again")) == "a message of 3 bytes; record it again"


def test_a_decode_error_without_advice_of_its_own_suggests_a_newer_version() -> None:
    assert str(ipvsnl.DecodeError("a message of 3 bytes")).endswith("try a newer one")


def test_an_error_about_what_is_not_there_says_what_kind_of_thing_that_is() -> None:
    assert ipvsnl.NotFoundError(errno.ENOENT, "asking", what="scheduler").what == "scheduler"


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_errors_have_one_line(error: Exception) -> None:
    assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_errors_can_be_copied_and_sent_to_other_processes(error: Exception, again) -> None:  # type: ignore[no-untyped-def]
    twin = again(error)
    assert type(twin) is type(error) and str(twin) == str(error)
    assert getattr(twin, "errno", None) == getattr(error, "errno", None)
    assert vars(twin) == vars(error)


def test_everything_that_the_package_offers_is_there() -> None:
    assert all(hasattr(ipvsnl, name) for name in ipvsnl.__all__)


def test_errors_of_the_generic_layer_name_neither_ipvs_nor_an_option() -> None:
    text = Path(errors.__file__).read_text()
    assert re.findall(r"(?i)ip_?vs(?!nl)|director|virtual|real server|--[a-z]", text.replace("IPVSError", "")) == []
    assert "report" not in text
