"""Messages with every attribute, and the changes to them that no reader may notice.

The messages are those of tests/netlink.py, by default as Linux 6 sends them.
"""

import netlink

NARROW = tuple(range(1, 11))  # ten numbers that differ, for the 32-bit statistics
WIDE = tuple(2**40 + number for number in range(1, 11))  # and for the 64-bit ones
SERVICE = netlink.service(
    SCHED_NAME=netlink.text("sh"),
    FLAGS=netlink.u32(0x1F) + netlink.u32(0xFFFFFFFF),
    TIMEOUT=netlink.u32(300),
    NETMASK=b"\xff\xff\xff\x00",
    PE_NAME=netlink.text("sip"),
    STATS=netlink.stats(NARROW),
    STATS64=netlink.stats(WIDE, wide=True),
)
DESTINATION = netlink.destination(
    FWD_METHOD=netlink.u32(2),
    WEIGHT=netlink.s32(65535),
    U_THRESH=netlink.u32(1000),
    L_THRESH=netlink.u32(500),
    ACTIVE_CONNS=netlink.u32(3),
    INACT_CONNS=netlink.u32(4),
    PERSIST_CONNS=netlink.u32(5),
    TUN_TYPE=netlink.u8(1),
    TUN_PORT=netlink.be16(6080),
    TUN_FLAGS=netlink.u16(3),
    STATS=netlink.stats(NARROW),
    STATS64=netlink.stats(WIDE, wide=True),
)


def reversed_order(tree: netlink.Tree) -> netlink.Tree:
    return tree[::-1]


def with_unknown(tree: netlink.Tree) -> netlink.Tree:
    """Attributes of newer kernels before, among and after the known ones, one of them nested."""
    new: netlink.Tree = [(200, b"new"), (0x3FFF, [(1, b"other table")]), (16, netlink.u64(0))]
    return [new[0], *tree[:1], new[1], *tree[1:], new[2]]


def with_padding(tree: netlink.Tree) -> netlink.Tree:
    """An empty PAD attribute before each 64-bit value, as nla_align_64bit() adds them where it must."""
    padded: netlink.Tree = []
    for type, payload in tree:
        padding = [(netlink.STATS_PAD, b"")] if isinstance(payload, bytes) and len(payload) == 8 else []
        padded += [*padding, (type, payload)]
    return padded


def padded_stats(tree: netlink.Tree) -> netlink.Tree:
    ((command, attributes),) = tree
    return [
        (command, [(type, p if isinstance(p, bytes) else with_padding(p)) for type, p in attributes]),
    ]


CHANGES = {
    "in another order": lambda tree: netlink.everywhere(tree, reversed_order),
    "with unknown attributes at every level": lambda tree: netlink.everywhere(tree, with_unknown),
    "with PAD attributes": padded_stats,
    "with all of that": lambda tree: netlink.everywhere(
        netlink.everywhere(padded_stats(tree), reversed_order), with_unknown
    ),
}


def without(tree: netlink.Tree, *types: int) -> netlink.Tree:
    ((command, attributes),) = tree
    return [(command, [(type, payload) for type, payload in attributes if type not in types])]
