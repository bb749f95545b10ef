"""One run of what is no async command, a plain Django command or a function: recorded from its start to its end.

It runs where it is called, on the caller's thread and connections; only its record is kept beside it.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError, router

from async_commander.database.dry_runs import rehearsed
from async_commander.database.rehearsal import Figures, Rehearsal
from async_commander.engine.undisturbed import to_its_end
from async_commander.exceptions import InvalidCommand
from async_commander.history.exclusive import OnceMet
from async_commander.history.keeper import Keeper
from async_commander.history.recorder import Opening
from async_commander.history.telling import tell, tell_finished
from async_commander.history.tracking import NAME_LENGTH, kept_values, plain_identity, redactor_of_values
from async_commander.models import Run
from async_commander.results import RunResult, RunStatus
from async_commander.signals import run_started
from async_commander.text.redactor import Redactor, Tail
from async_commander.text.values import kept_value

from .caller import as_served
from .ending import ending_of_call
from .output import OUTPUT_CAP
from .plan import login_of, missing_tables
from .request import RunRequest
from .signals import OpenRun, StopRequests, open_run, stopped_by_signals

T = TypeVar("T")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPlan:
    """All that is settled about a run before it begins."""

    alias: str
    opening: Opening
    redact: Redactor = field(repr=False)
    output: Tail
    """What it writes."""
    provenance: bool = False
    """Whether objects of all models are recorded."""
    sender: Any = None
    """Of its signals: the command's class, or the function."""


def plan_of(
    name: str,
    given: Mapping[str, Any],
    *,
    options: Mapping[str, Any] | None = None,
    trigger: str = "call",
    run_once: bool = False,
    single_instance: bool = False,
    wait: bool = False,
    force: bool = False,
    dry_run: bool = False,
    provenance: bool = False,
    sender: Any = None,
) -> PlainPlan:
    """The plan of one run under this name. Its arguments, `given`, are kept with it, and no part of its identity."""
    if len(name) > NAME_LENGTH:
        raise InvalidCommand(f"{name!r:.80}: a name has at most {NAME_LENGTH} characters")
    alias, around, redact = router.db_for_write(Run), open_run.get(), redactor_of_values(given)
    asked = as_served(RunRequest(trigger=trigger))
    return PlainPlan(
        alias=alias,
        redact=redact,
        output=Tail(OUTPUT_CAP, redact),
        provenance=provenance,
        sender=sender,
        opening=Opening(
            command=name,
            identity=plain_identity(name),
            parameters=kept_values(given, redact),
            options=kept_values(options or {}, redact),
            trigger=asked.trigger,
            user=asked.user or login_of(trigger),
            dry_run=dry_run,
            once=run_once,
            single=single_instance,
            wait=wait,
            force=force,
            parent=around.row if around is not None and around.alias == alias else None,
        ),
    )


class PlainRun:
    """One run, from before it begins to after its end."""

    def __init__(self, plan: PlainPlan) -> None:
        self._plan = plan
        self._keeper: Keeper | None = None
        self._value: Any = None
        self._failure: BaseException | None = None
        self._rehearsal: Rehearsal | None = None
        self.run_id: int | None = None
        self._began = time.monotonic()

    def carry_out(self, body: Callable[[], T], say: Say) -> T:
        """Run the body and return what it returns; what it raises is recorded, and raised.

        Raises RunLocked and OnceMet before there is a run.
        """
        plan = self._plan
        with stopped_by_signals():
            try:
                self._begin(say)
                with self._open(), rehearsed(plan.alias) if plan.opening.dry_run else nullcontext() as self._rehearsal:
                    self._value = value = body()
            except BaseException as error:
                self._failure = error
                raise
            finally:
                self._end()
                self._tell()
        return value

    async def carry_out_async(self, body: Callable[[], Awaitable[T]], say: Say) -> T:
        """The same on a running event loop. A cancel is recorded as an interruption."""
        try:
            await sync_to_async(self._begin)(say)
            with self._open():
                self._value = value = await body()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            await to_its_end(sync_to_async(self._end)())
            await to_its_end(sync_to_async(self._tell)())
        return value

    @property
    def would(self) -> Figures:
        """What it would have written, were it no dry run."""
        return {} if self._rehearsal is None else self._rehearsal.would_write()

    def _begin(self, say: Say) -> None:
        self._keeper = keeper = Keeper(self._plan.alias)  # on the thread whose connection may have to be shared
        try:
            self.run_id = keeper.begin(self._plan.opening, say)
        except DatabaseError as error:
            if remedy := missing_tables(error, self._plan.alias):
                raise remedy from error
            raise
        opening = self._plan.opening
        if not opening.dry_run:
            facts = {"run_id": self.run_id, "command": opening.command, "parameters": opening.parameters}
            tell(run_started, self._plan.sender, **facts, resumed=False, testing=False)

    def _tell(self) -> None:
        """Of its end, once that is committed; also where it was skipped, for it has happened."""
        opening, redact, skipped = self._plan.opening, self._plan.redact, isinstance(self._failure, OnceMet)
        if self.run_id is None and not skipped:
            return
        ending = ending_of_call(self._failure, redact)
        result = RunResult(
            run_id=self.run_id,
            command=opening.command,
            status=RunStatus.SKIPPED if skipped else ending.status,
            value=self._value,
            duration=time.monotonic() - self._began,
            error="" if skipped else ending.error,
            reason=str(self._failure) if skipped else "",
            complete=self._failure is None,
            failure=None if skipped else self._failure,
            dry_run=opening.dry_run,
        )
        tell_finished(self._plan.sender, result)

    def row(self) -> Run:
        """Its row, read anew."""
        return Run.objects.using(self._plan.alias).get(pk=self.run_id or 0)

    @contextmanager
    def _open(self) -> Iterator[None]:
        """For the block, runs that are begun in it have this one as their parent, and what is written is recorded."""
        assert self._keeper is not None  # noqa: S101 - the run has begun
        token = open_run.set(OpenRun(StopRequests(), self._plan.alias, self.run_id))
        try:
            with self._keeper.recorded(everything=self._plan.provenance, dry_run=self._plan.opening.dry_run):
                yield
        finally:
            open_run.reset(token)

    def _end(self) -> None:
        redact, text = self._plan.redact, self._plan.output.text()
        value, _ = kept_value(self._value, redact)
        if self._keeper is not None:
            ending = replace(ending_of_call(self._failure, redact), value=value, would=self.would, output=text)
            self._keeper.close(ending)


def awaited(value: Any) -> Any:
    """What a function came to: where it returns a coroutine, what that comes to. A generator would never be run."""
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        raise InvalidCommand(
            f"{value.__qualname__}() has a `yield` in it: it made a generator, and nothing of it was run. Use return, "
            "or iterate over it in another function."
        )
    if not inspect.isawaitable(value):
        return value
    try:
        return async_to_sync(_result)(value)
    except RuntimeError:
        if not (inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED):
            raise
        value.close()
        raise InvalidCommand(
            f"{value.__qualname__}() is a coroutine, and an event loop runs here, which it cannot be run in from "
            "synchronous code: `await sync_to_async(call_command)(…)`."
        ) from None


async def _result(value: Awaitable[T]) -> T:
    return await value
