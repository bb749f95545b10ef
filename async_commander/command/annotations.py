"""What the annotations of a class mean: read as a dataclass reads them, wherever their names were defined."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from async_commander.exceptions import InvalidCommand

if TYPE_CHECKING:
    from types import FrameType

_CLASS_VAR = re.compile(r"[\s'\"]*(\w+\s*\.\s*)*ClassVar\b")
_local_names: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotated attribute: its type, what `Annotated` adds to it, and the class that says so."""

    name: str
    type: Any
    extras: tuple[Any, ...]
    owner: type


def annotations_of(cls: type) -> dict[str, Annotation]:
    """The public annotated attributes of a class and its bases, base first; no `ClassVar`s.

    Of the classes of this package there are only those that a shape names in `_own_arguments`.
    The type variables of a generic base are filled in. A `ClassVar` in a subclass takes an attribute of a base away.
    InvalidCommand where a name in an annotation is unknown at run time.
    """
    found: dict[str, Annotation] = {}
    for owner in reversed(cls.__mro__):
        ours = is_ours(owner)
        try:
            annotations = inspect.get_annotations(owner)
        except NameError as error:
            raise _unknown(owner, "an annotation", error) from error
        for name, annotation in annotations.items():
            if name.startswith("_") or (ours and name not in vars(owner).get("_own_arguments", ())):
                continue
            if isinstance(annotation, str) and _CLASS_VAR.match(annotation):
                hint: Any = ClassVar
            else:
                hint = _evaluated(owner, name, annotation)
            if hint is ClassVar or get_origin(hint) is ClassVar:
                found.pop(name, None)
                continue
            extras: tuple[Any, ...] = ()
            if get_origin(hint) is Annotated:
                hint, *rest = get_args(hint)
                extras = tuple(rest)
            found[name] = Annotation(name, _filled(hint, owner, cls), extras, owner)
    return found


def is_ours(cls: type) -> bool:
    """Whether a class belongs to this package: its attributes are no arguments."""
    return cls is object or cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def remember_locals(cls: type, frame: FrameType | None) -> None:
    """Keep the local names that the string annotations of a class inside a function use, while they can be seen."""
    wanted: set[str] = set()
    if "<locals>" in cls.__qualname__:
        for annotation in vars(cls).get("__annotations__", {}).values():
            with suppress(SyntaxError):  # which is named where the class is read
                tree = ast.parse(annotation if isinstance(annotation, str) else "", mode="exec")
                wanted |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    function = cls.__qualname__.rpartition(".<locals>.")[0]
    while wanted and frame is not None and frame.f_code.co_qualname != function:
        frame = frame.f_back
    if wanted and frame is not None:
        _local_names[cls] = {name: frame.f_locals[name] for name in wanted.intersection(frame.f_locals)}


def _evaluated(owner: type, name: str, annotation: Any) -> Any:
    """One annotation as an object; a class made for it keeps one bad annotation from hiding the others."""
    holder = type("holder", (), {"__annotations__": {name: annotation}})
    module = sys.modules.get(owner.__module__)
    try:
        return get_type_hints(holder, vars(module) if module else {}, _namespace(owner), include_extras=True)[name]
    except NameError as error:
        raise _unknown(owner, f"`{name}: {annotation}`", error) from error
    except Exception as error:  # whatever the text of an annotation does when it is read
        raise InvalidCommand(f"{label_of(owner)}: `{name}: {annotation}` is no type: {error}") from error


def _namespace(owner: type) -> dict[str, Any]:
    """Names that an annotation sees before those of its module: type parameters, locals, classes inside the class."""
    parameters = {parameter.__name__: parameter for parameter in getattr(owner, "__type_params__", ())}
    inner = {name: value for name, value in vars(owner).items() if isinstance(value, type)}
    return {**parameters, **_local_names.get(owner, {}), **inner}


def _unknown(owner: type, what: str, error: NameError) -> InvalidCommand:
    return InvalidCommand(
        f"{label_of(owner)}: {what} uses a name that is unknown at run time ({error}); import it outside of "
        f"`if TYPE_CHECKING:`, or write ClassVar[…] if this is no argument"
    )


def _filled(hint: Any, owner: type, cls: type) -> Any:
    """The hint with the type variables of `owner` replaced by what `cls` fills in for them."""
    if isinstance(hint, TypeVar):
        return _value_of(hint, owner, cls)
    variables = getattr(hint, "__parameters__", ()) if get_origin(hint) else ()
    return hint[tuple(_value_of(each, owner, cls) for each in variables)] if variables else hint


def _value_of(variable: Any, owner: type, cls: type) -> Any:
    for heir in cls.__mro__:
        for base in vars(heir).get("__orig_bases__", ()):
            if get_origin(base) is owner:
                filled = dict(zip(owner.__parameters__, get_args(base), strict=False))
                return _filled(filled.get(variable, variable), heir, cls)
    return variable


def label_of(cls: type) -> str:
    """A class in messages: module and name."""
    return f"{cls.__module__}.{cls.__qualname__}"
