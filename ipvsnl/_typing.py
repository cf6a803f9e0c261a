"""Names for annotations, and modules that are imported when they are first used.

Annotations with these names are quoted, so only typing.get_type_hints() evaluates them. A replay needs no socket. Each
of these imports would add a tenth to the start of the program. Type checkers take `typing.TYPE_CHECKING` for true.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress as ipaddress
    import socket as socket
    import typing as typing
    from typing import Protocol as Protocol

    T = typing.TypeVar("T")
else:

    class _Lazy:
        TYPE_CHECKING = False

        def __init__(self, module):
            self._module = module

        def __getattr__(self, name):
            return getattr(__import__(self._module), name)

    ipaddress, socket, typing = _Lazy("ipaddress"), _Lazy("socket"), _Lazy("typing")
    Protocol = T = object
