"""`typing` and `ipaddress` for annotations, imported when an annotation is first evaluated.

Only typing.get_type_hints() evaluates annotations. The imports would add a tenth to each start of the program.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress as ipaddress
    import typing as typing
else:

    class _Lazy:
        def __init__(self, module):
            self._module = module

        def __getattr__(self, name):
            return getattr(__import__(self._module), name)

    ipaddress, typing = _Lazy("ipaddress"), _Lazy("typing")
