"""What an error means for the item that met it."""

from __future__ import annotations

import errno
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from django.core.exceptions import SynchronousOnlyOperation

from async_commander.database.outage import OutageTooLong
from async_commander.database.schema_errors import lacks_schema
from async_commander.database.sqlite import DatabaseFileGone
from async_commander.engine.failures import HookRaisedGeneratorExit, leaves
from async_commander.engine.pipeline import Verdict
from async_commander.exceptions import InvalidCommand, ItemError, RunLocked, SkipItem
from async_commander.pool.processes import PoolStartFailed
from async_commander.text.clean import plain
from async_commander.text.tracebacks import TRACEBACK_CAP, chain, traceback_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from async_commander.text.redactor import Redactor

FATAL = (RunLocked, InvalidCommand, PoolStartFailed, DatabaseFileGone, OutageTooLong)
FULL = (errno.ENOSPC, errno.EDQUOT)
KIND_LENGTH = 200
REASON_LENGTH = 20
TEXT_CAP = 2_000
"""Characters of an error's text that are kept."""
_FOREIGN = (
    "<",
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
LEAVES = 3
"""So many errors of a group are named in its text."""


def judge(error: BaseException, should_retry: Callable[[], bool]) -> Verdict:
    """Retry, give up, skip, or end the run. `should_retry` asks the command, whose default asks the error."""
    members = list(leaves(error))
    for one in members:
        # What every item would meet: a setting or a table that is wrong or missing, a disk that is full.
        if isinstance(one, FATAL) or (isinstance(one, OSError) and one.errno in FULL) or lacks_schema(one):
            return Verdict("fatal")
    statuses = (one for one in chain(error) if _is_status(one) and not _asks_for_time(one))
    answered = next((_host_of(one) for one in statuses), None)
    if all(isinstance(one, SkipItem) for one in members):
        return Verdict("skip", answered=answered)
    if isinstance(error, ItemError):
        return Verdict("dead", reason=error.reason, answered=answered)
    if should_retry():
        asking = [one for one in members if _asks_for_time(one)]
        seconds = [delay for one in asking if (delay := _asked_delay(one)) is not None]
        return Verdict(
            "retry",
            retry_after=max(seconds, default=None),
            throttled=bool(asking),
            host=_host_of(asking[0]) if asking else None,
            answered=answered,
        )
    return Verdict("dead", reason="timeout" if isinstance(error, TimeoutError) else "permanent", answered=answered)


def _asks_for_time(error: BaseException) -> TypeGuard[httpx.HTTPStatusError]:
    """By its status, or by `Retry-After` with any other."""
    if not _is_status(error):
        return False
    from async_commander.downloads.pacing import ASKS_FOR_TIME

    return error.response.status_code in ASKS_FOR_TIME or _asked_delay(error) is not None


def _is_status(error: object) -> TypeGuard[httpx.HTTPStatusError]:
    """No error is one of httpx's where nobody has loaded it: a command without downloads need not."""
    loaded = sys.modules.get("httpx")
    return loaded is not None and isinstance(error, loaded.HTTPStatusError)


def _asked_delay(error: BaseException) -> float | None:
    from async_commander.downloads.pacing import retry_after

    return retry_after(error)


def _host_of(error: httpx.HTTPStatusError) -> str:
    from async_commander.downloads.pacing import pace_key

    return pace_key(error.request.url)


def kind_of(error: BaseException) -> str:
    """The name under which errors of this kind are counted together."""
    if isinstance(error, HookRaisedGeneratorExit):
        return GeneratorExit.__name__
    name = plain(type(error).__name__[: 2 * KIND_LENGTH])[:KIND_LENGTH]
    if _is_status(error):
        return f"{name} {error.response.status_code}"
    return name


def in_a_template(kind: str) -> str:
    """The name of a kind of errors as a part of the template of a log call: one for each kind."""
    return plain(kind).replace("%", "%%")


def place_of(error: BaseException) -> str:
    """Where in the project's own code an error came up: ` (shop/parsing.py:15 in extract)`.

    Nothing for what servers answer and networks do, and where the project's code was not passed.
    """
    client = sys.modules.get("httpx")
    if isinstance(error, ItemError) or (client is not None and isinstance(error, client.HTTPError)):
        return ""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if not code.co_filename.startswith(_FOREIGN):
            place = f" ({Path(*Path(code.co_filename).parts[-3:])}:{line} in {code.co_name})"
    return place


def text_of(error: BaseException, redact: Redactor, bound: int = TEXT_CAP) -> str:
    """The error's own words, redacted, and at most so many characters."""
    return redact(_words_of(error), bound)


def _words_of(error: BaseException) -> str:
    try:
        if isinstance(error, BaseExceptionGroup):
            members = [f"{kind_of(one)}: {_words_of(one)}" for one in error.exceptions[:LEAVES]]
            return f"{error}: {'; '.join(members)}"
        # Without the line in which httpx says where the meaning of a status can be read.
        words = str(error).split("\nFor more information check: https://", maxsplit=1)[0]
        return f"{words or repr(error)}{_remedy(error)}"
    except Exception:  # noqa: BLE001 - an error that cannot even be shown is an error all the same
        return f"{type(error).__name__}, whose text cannot be shown"


def _remedy(error: BaseException) -> str:
    """For the commonest mistakes with coroutines, of which the error's own words name the trace and not the cause."""
    words = str(error)
    if isinstance(error, SynchronousOnlyOperation):
        return " In an async hook use the ORM's async methods (acreate, aget, async for …) or await self.db(function)."
    if isinstance(error, AttributeError | TypeError) and "coroutine" in words:
        return ". An `await` is missing where this value was made; a hook that awaits is an `async def`."
    if isinstance(error, TypeError) and "NoneType" in words and "await" in words:
        return ". add(), upsert(), update() and delete() of self.db queue at once, and are not awaited."
    return ""


def traceback_of(error: BaseException, redact: Redactor) -> str:
    """The traceback of an error, redacted: the logging module's own would tell secrets."""
    return redact.end(traceback_text(error), TRACEBACK_CAP)
