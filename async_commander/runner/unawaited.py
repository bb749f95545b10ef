"""Finds the `await` that an author forgot: a coroutine that a hook makes, and that nobody ever runs."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from async_commander.command.hooks import place_of
from async_commander.exceptions import InvalidCommand
from async_commander.text.errors import readable


class Watch:
    """Set as `watching` for one call of a hook: which coroutines it has dropped that were never awaited.

    Tasks and threads that the call leaves behind are watched no longer than it.
    """

    # Most watches find nothing: on the class these cost a call nothing.
    names: Sequence[str] = ()
    over = False

    def complaint(self, command: type, hook: str) -> InvalidCommand:
        """The error that says so, with the remedy."""
        return InvalidCommand(
            f"{place_of(command, hook)} made {' and '.join(dict.fromkeys(self.names))} and did not await it: nothing "
            f"was done. Write `await …` in an `async def` hook; in a plain `def` call what is synchronous, such as "
            f"save() for asave()"
        )


class NothingUnawaited(Watch):
    """For one call of a hook: InvalidCommand where it drops a coroutine. What the hook raises itself goes first."""

    def __init__(self, command: type, hook: str) -> None:
        self._command = command
        self._hook = hook

    def __enter__(self) -> None:
        self._token = watching.set(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        self.over = True
        watching.reset(self._token)
        if error is not None and (fit := readable(error)) is not error:
            raise fit from None
        if self.names and kind is None:
            raise self.complaint(self._command, self._hook)


watching: ContextVar[Watch | None] = ContextVar("async_commander_unawaited", default=None)
_collecting: set[int] = set()
"""Threads in which the garbage collector works: what it finds may be anybody's."""


def install() -> None:
    """Make the interpreter report here which coroutines were never awaited. For good, and once: where no hook runs, and
    for what the collector finds later, all stays as it was.

    The interpreter calls this function of `warnings`, which has no public name, whatever the filters are; the public
    hook, `warnings.showwarning`, hears of each line of code once, and of none where warnings are errors.
    """
    warn = getattr(warnings, "_warn_unawaited_coroutine", None)
    if warn is None or getattr(warn, "is_ours", False):
        return

    def told(coroutine: Any) -> None:
        watch = watching.get()
        if watch is None or watch.over or threading.get_ident() in _collecting:
            warn(coroutine)
        else:
            watch.names = [*watch.names, f"the coroutine {coroutine.__qualname__}()"]

    def collecting(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            _collecting.add(threading.get_ident())
        else:
            _collecting.discard(threading.get_ident())

    told.is_ours = True  # type: ignore[attr-defined]  # functions carry any attribute
    warnings._warn_unawaited_coroutine = told  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    gc.callbacks.append(collecting)


install()
