"""Who may read IPVS: whoever has CAP_NET_ADMIN in the initial user namespace, and nobody else.

Each test changes a child process, which then calls the library and the command line: no file need be readable for it.
"""

from __future__ import annotations

import pytest
from director import VIP, configure, ipvsnl
from linux import CAP_NET_ADMIN, become_nobody, effective_capabilities, enter_user_namespace, in_child

from ipvsnl import Client, PermissionDeniedError, dump

RULES = f"-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r 192.0.2.1:80 -m\n"
DENIED = "needs CAP_NET_ADMIN in the initial user namespace"


def read_as_nobody(*capabilities: int) -> int:
    become_nobody(*capabilities)
    return len(dump())


def read_as_root_of_a_namespace(and_network: bool) -> int:
    enter_user_namespace(and_network=and_network)
    assert effective_capabilities() & 1 << CAP_NET_ADMIN
    return len(dump())


def call_as_nobody(*capabilities: int) -> tuple[int, str, str]:
    become_nobody(*capabilities)
    return ipvsnl()


def call_as_root_of_a_namespace(and_network: bool) -> tuple[int, str, str]:
    enter_user_namespace(and_network=and_network)
    return ipvsnl()


@pytest.fixture(autouse=True)
def rules(namespace: None) -> None:
    configure(RULES)


def test_an_unprivileged_user_is_denied() -> None:
    with pytest.raises(PermissionDeniedError, match=DENIED):
        in_child(read_as_nobody)


def test_the_command_line_tells_an_unprivileged_user_what_is_needed() -> None:
    status, out, err = in_child(call_as_nobody)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert DENIED in err


@pytest.mark.parametrize("and_network", [False, True], ids=["user namespace", "user and network namespace"])
def test_root_of_a_user_namespace_is_denied(and_network: bool) -> None:
    """It has CAP_NET_ADMIN, and even over the network namespace, but it is not the machine's."""
    with pytest.raises(PermissionDeniedError, match=DENIED):
        in_child(lambda: read_as_root_of_a_namespace(and_network))
    status, out, err = in_child(lambda: call_as_root_of_a_namespace(and_network))
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_the_capability_alone_is_enough() -> None:
    def read() -> tuple[int, int]:
        return read_as_nobody(CAP_NET_ADMIN), effective_capabilities()

    assert in_child(read) == (1, 1 << CAP_NET_ADMIN)
    status, out, err = in_child(lambda: call_as_nobody(CAP_NET_ADMIN))
    assert (status, err) == (0, "")
    assert out.startswith("ipvs_virtual_server,")


def test_every_question_needs_it() -> None:
    """Opening a client does not: the list of families is for everyone."""

    def ask() -> None:
        become_nobody()
        with Client() as client:
            for question in (client.services, client.info, client.timeouts, client.daemons):
                with pytest.raises(PermissionDeniedError):
                    question()
            with pytest.raises(PermissionDeniedError):
                client.service("tcp", VIP, 80)

    in_child(ask)
