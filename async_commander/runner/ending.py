"""How a run ended: its status, in which there is no room for doubt, and its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from async_commander.database.missing import lacks_schema
from async_commander.engine.results import RunStatus
from async_commander.exceptions import AsyncCommanderError
from async_commander.history.recorder import Ending

from .verdicts import kind_of, text_of, traceback_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from async_commander.engine.results import Tally


def ending_of(
    failure: BaseException | None,
    *,
    complete: bool,
    timed_out: float | None,
    tally: Tally,
    redact: Callable[[str], str],
) -> Ending:
    """What is to be recorded and reported of a run that ends now, but for its value and output.

    `complete`: nothing was left undone. `timed_out`: the time-out in seconds, where it was passed.
    """
    return Ending(
        status=_status(failure, complete=complete, timed_out=timed_out, tally=tally),
        error=_words(failure, timed_out, redact),
        traceback="" if failure is None else traceback_of(failure, redact),
    )


def _status(failure: BaseException | None, *, complete: bool, timed_out: float | None, tally: Tally) -> RunStatus:
    """`succeeded` only where nothing is left: no item dead, waiting or claimed."""
    if failure is not None or timed_out is not None:
        return RunStatus.FAILED
    if not complete or tally.retry or tally.claimed:
        return RunStatus.INTERRUPTED
    return RunStatus.PARTIAL if tally.dead else RunStatus.SUCCEEDED


def _words(failure: BaseException | None, timed_out: float | None, redact: Callable[[str], str]) -> str:
    """Why the run failed, in one line; empty where it did not."""
    if failure is not None:
        text = text_of(failure, redact)
        if lacks_schema(failure):
            text = text.rstrip(".")
            text += ". The database lacks what the models have: run `manage.py migrate` first, then resume."
        return text if isinstance(failure, AsyncCommanderError) else f"{kind_of(failure)}: {text}"
    if timed_out is not None:
        return f"The run passed its time-out of {timed_out:g} s and was stopped in order."
    return ""
