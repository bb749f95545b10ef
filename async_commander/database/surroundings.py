"""What code of Django finds around it: context variables, the language, the time zone."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.utils import timezone, translation

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Surroundings:
    """Those of the code that makes this, to be carried to another thread.

    Each call gets a copy: what it sets is gone at its end. Language and time zone are carried beside the context
    variables: asgiref, where Django keeps them, shows them to the thread only that set them.
    """

    __slots__ = ("_context", "_language", "_time_zone")

    def __init__(self) -> None:
        self._context = copy_context()
        self._language = translation.get_language()
        self._time_zone = timezone.get_current_timezone()

    def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function as if it were called there; in any thread, and in several at once."""
        return self._context.copy().run(self._run, function, *args, **kwargs)

    def _run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        with translation.override(self._language), timezone.override(self._time_zone):
            return function(*args, **kwargs)
