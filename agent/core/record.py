"""Records: frozen values with slots, compared field by field, as `@dataclass(frozen=True, slots=True)` makes them.

`dataclass` writes source text for each class and compiles it, 0.2 ms for six functions that stay. With sixty classes
that is a tenth of a start. Records share their methods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn, TypeVar, cast, dataclass_transform

T = TypeVar("T")

R = TypeVar("R", bound="Record")


class _Factory(NamedTuple):
    """The default of a field that is made anew for each record."""

    make: Callable[[], Any]


def field(*, default_factory: Callable[[], T]) -> T:
    """A field whose default is made anew for each record, such as a dict."""
    return cast(T, _Factory(default_factory))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class _Slots(type):
    """Turns the annotations of a class into slots, in their order, and what stands behind them into defaults."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Slots:
        if any(getattr(base, "__match_args__", ()) for base in bases):
            raise TypeError(f"{name} cannot be derived from a record: let it have one as a field")
        fields = _fields(namespace) if bases else ()
        namespace["_defaults"] = {field: namespace.pop(field) for field in fields if field in namespace}
        namespace["__slots__"] = namespace["__match_args__"] = fields
        made = super().__new__(cls, name, bases, namespace)
        made._setters = tuple(made.__dict__[field].__set__ for field in fields)
        made._values = attrgetter(*fields) if fields else (lambda _: ())
        return made

    _defaults: Mapping[str, Any]
    _setters: tuple[Callable[[Any, Any], None], ...]
    _values: Callable[[Any], Any]
    __match_args__: tuple[str, ...]


def _fields(namespace: Mapping[str, Any]) -> tuple[str, ...]:
    """The annotated names of a class body, in their order."""
    if "__annotations__" not in namespace and sys.version_info >= (3, 14):
        # Without `from __future__ import annotations` they are a function there. As text nothing of them is looked up.
        import annotationlib

        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        form = annotationlib.Format.STRING
        return tuple(annotationlib.call_annotate_function(annotate, form)) if annotate else ()
    return tuple(namespace.get("__annotations__", ()))


class Record(metaclass=_Slots):
    """The base of all records: ``class Point(Record): x: int; y: int = 0``."""

    def __init__(self, *values: Any, **named: Any) -> None:
        cls = type(self)
        if named or len(values) != len(cls._setters):
            values = _complete(cls, values, named)
        for put, value in zip(cls._setters, values, strict=True):
            put(self, value)

    def __eq__(self, other: object) -> bool:
        cls = type(self)
        return bool(cls._values(self) == cls._values(other)) if type(other) is cls else NotImplemented

    def __hash__(self) -> int:
        return hash(type(self)._values(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__match_args__)
        return f"{type(self).__qualname__}({shown})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__}.{name} cannot be set: a record does not change; see replace")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__qualname__}.{name} cannot be deleted: a record does not change")


def replace(record: R, **changes: Any) -> R:
    """The same record but for these fields. Raises TypeError for one that it does not have."""
    values = [changes.pop(name) if name in changes else getattr(record, name) for name in type(record).__match_args__]
    return type(record)(*values, **changes)


def _complete(cls: type[Record], values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
    """All values of a record in their order, of which some were given by name and some are defaults."""
    complete = list(values)
    for name in cls.__match_args__[len(values) :]:
        if name in named:
            complete.append(named.pop(name))
        elif name in cls._defaults:
            default = cls._defaults[name]
            complete.append(default.make() if type(default) is _Factory else default)
        else:
            raise TypeError(f"{cls.__qualname__} needs {name}")
    if named or len(complete) != len(cls.__match_args__):
        raise TypeError(f"{cls.__qualname__} takes {', '.join(cls.__match_args__) or 'nothing'}, each once")
    return tuple(complete)
