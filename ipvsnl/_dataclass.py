"""A dataclass decorator that starts fast and imports nothing.

To import `dataclasses` takes longer than a small dump, because it imports inspect, ast, dis and tokenize. Debian's
python3.11-minimal lacks it. This decorator adds slots, an __init__, a __repr__ and equality by value. The last fields
may have defaults, which must be immutable; dataclasses.fields() does not show them. The functions of `dataclasses`
accept its classes, and type checkers see the standard decorator.
"""

from ._typing import typing


class _Fields:
    """A `__dataclass_fields__` that `dataclasses` makes when it is first read.

    Several threads may make it at the same time, with equal results.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner = owner

    def __get__(self, instance: object, subclass: type) -> "typing.Any":
        import dataclasses

        owner = self._owner
        twin: typing.Any = dataclasses.make_dataclass(owner.__name__, owner.__annotations__.items())
        for name in ("__dataclass_params__", "__dataclass_fields__"):
            setattr(owner, name, getattr(twin, name))
        return twin.__dataclass_fields__


def _dataclass(cls: type) -> type:
    names = tuple(cls.__annotations__)
    methods: dict[str, typing.Any] = {}
    # `dataclasses` does the same. The names come from the class statement, not from outside.
    exec(f"def __init__(self, {', '.join(names)}): {'; '.join(f'self.{name} = {name}' for name in names)}", {}, methods)
    own = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    methods["__init__"].__defaults__ = tuple([own.pop(name) for name in names if name in own])
    members = {"__hash__": None, **own, **methods, "__dataclass_fields__": _Fields()}
    members.update(__slots__=names, __match_args__=names, __eq__=_eq, __repr__=_repr, __replace__=_replace)
    return type(cls.__name__, cls.__bases__, members)


def _eq(self: "typing.Any", other: "typing.Any") -> "typing.Any":
    if other.__class__ is not self.__class__:
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)


def _replace(self: "typing.Any", **changes: object) -> "typing.Any":
    import dataclasses

    return dataclasses.replace(self, **changes)


def _repr(self: "typing.Any") -> str:
    values = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__slots__])
    return f"{self.__class__.__qualname__}({values})"


if typing.TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass

__all__ = ["dataclass"]
