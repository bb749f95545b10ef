"""Whether `option_defaults` of a class gives shared options values that they can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from async_commander.engine.limits import Bounds, Limits
from async_commander.exceptions import InvalidCommand

from .arguments import label_of
from .values import is_seconds, is_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import AsyncCommand


def check_option_defaults(cls: type[AsyncCommand]) -> None:
    """InvalidCommand, naming class and option, for the first value that does not fit. The names are known ones."""
    for name, value in cls.option_defaults.items():
        if problem := _problem(name, value):
            raise InvalidCommand(
                f"{label_of(cls)}: option_defaults gives {name!r} a value that does not fit: {problem}"
            )


def _problem(name: str, value: Any) -> str:
    if name in Bounds.__annotations__:
        return _problem_of_bound(name, value)
    allowed, fits = _ALLOWED[name]
    return "" if fits(value) else f"found {value!r:.80}, allowed: {allowed}"


def _problem_of_bound(name: str, value: Any) -> str:
    bounds: Any = {name: value}
    try:
        Limits(**bounds)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


_PROGRESS = ("auto", "bar", "plain", "none")
_YES_OR_NO: tuple[str, Callable[[Any], bool]] = ("True or False", lambda value: isinstance(value, bool))
_ALLOWED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "max_items": ("a whole number from 1", is_whole),
    "resume_run": ("the number of a run", is_whole),
    "grace": ("a number of seconds, not below 0", is_seconds),
    "database": ("an alias of DATABASES, as a text", lambda value: isinstance(value, str)),
    "progress": (f"one of {', '.join(_PROGRESS)}", lambda value: value in _PROGRESS),
    **dict.fromkeys(("resume", "yes", "force", "json"), _YES_OR_NO),
}
