"""A dataclass decorator that starts fast and needs nothing.

`dataclasses` from the standard library imports inspect, ast, dis and tokenize: that alone takes longer than a dump of a
small director, in a program that is started anew for each dump; and minimal Pythons (Debian's python3.11-minimal) do
not have it. What the model needs of it is little: slots, an __init__, a __repr__, equality by value. This makes just
those, and a class made here is a real dataclass to whoever asks: `dataclasses.fields`, `asdict`, `replace` and
`is_dataclass` work on it, and type checkers see the standard decorator.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Fields:
    """`__dataclass_fields__`, made by the standard library when somebody first asks for it."""

    def __get__(self, instance: object, owner: type) -> "Any":
        import dataclasses

        owner = next(each for each in owner.__mro__ if vars(each).get("__dataclass_fields__") is self)
        twin: Any = dataclasses.make_dataclass(owner.__name__, owner.__annotations__.items())
        for name in ("__dataclass_params__", "__dataclass_fields__"):
            setattr(owner, name, getattr(twin, name))
        return twin.__dataclass_fields__


def _dataclass(cls: type) -> type:
    names = tuple(cls.__annotations__)
    methods: dict[str, Any] = {}
    # Compiled, as dataclasses itself does it; the names come from the class statement, not from outside.
    exec(f"def __init__(self, {', '.join(names)}): {'; '.join(f'self.{name} = {name}' for name in names)}", {}, methods)
    members = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    members.update(methods, __slots__=names, __match_args__=names, __hash__=None, __dataclass_fields__=_Fields())
    members.update(__eq__=_eq, __repr__=_repr, __replace__=_replace)
    return type(cls.__name__, cls.__bases__, members)


def _eq(self: "Any", other: "Any") -> "Any":
    if other.__class__ is not self.__class__:
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)


def _replace(self: "Any", **changes: object) -> "Any":
    values = {name: getattr(self, name) for name in self.__slots__}
    return self.__class__(**{**values, **changes})


def _repr(self: "Any") -> str:
    values = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__slots__])
    return f"{self.__class__.__qualname__}({values})"


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass

__all__ = ["dataclass"]
