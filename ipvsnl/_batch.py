"""Send several requests in one datagram.

The kernel handles all messages of a datagram inside send(), one after the other, and goes on after one that fails. It
replies to each failure. It replies to a success only if NLM_F_ACK is set, so only the last message has it: once that
reply has come, all messages have been handled. netlink_rcv_skb() in net/netlink/af_netlink.c does all this.
"""

from ._typing import typing
from .errors import NetlinkError, netlink_error
from .genl import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, Connection, message_at, request, result

SIZE = 100  # messages: more save nothing, and if all fail, their replies fit any receive buffer

Request = tuple[int, bytes]  # a command and its attributes
Answers = tuple[dict[int, tuple[int, "typing.Optional[str]"]], "typing.Optional[NetlinkError]"]


def send(connection: Connection, family: int, requests: list[Request], doing: str) -> Answers:
    """Send requests in one datagram.

    Return the errno and the kernel's text for each request that failed, by position, and the error that kept answers
    away. With such an error it is unknown whether the other requests are done. The caller checks the process, because
    that takes a system call.
    """
    transport, count = connection.transport, len(requests)
    if connection.awaited:
        transport.drain()
    first = connection.seq + 1 if connection.seq + count < 2**32 else 1
    last = connection.seq = first + count - 1
    messages = [request(family, NLM_F_REQUEST, seq, transport.port, *each) for seq, each in enumerate(requests, first)]
    messages[-1] = request(family, NLM_F_REQUEST | NLM_F_ACK, last, transport.port, *requests[-1])
    connection.awaited = True  # before it is sent: a signal may end this at any point
    try:
        transport.send(b"".join(messages))
    except OSError as error:  # the kernel has seen none of them
        return dict.fromkeys(range(count), (error.errno or 0, None)), None
    failures: dict[int, tuple[int, typing.Optional[str]]] = {}
    while connection.awaited:
        try:
            end = transport.recv_into(connection.buffer)
        except OSError as error:
            return failures, netlink_error(error.errno or 0, doing)
        message, _ = message_at(connection.buffer, 0, end)  # each reply is a datagram
        if message.type == NLMSG_ERROR and message.port == transport.port and first <= message.seq <= last:
            errno, text = result(message)
            if errno:
                failures[message.seq - first] = errno, text
            connection.awaited = message.seq != last
    return failures, None
