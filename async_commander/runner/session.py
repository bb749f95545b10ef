"""What hangs on a command while its run is open."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import django

from async_commander.command.identity import item_label, key_uuid
from async_commander.command.items import item_to_json
from async_commander.command.shapes import At, ItemCommand
from async_commander.conf import get_settings
from async_commander.database.connections import close_all_of_process
from async_commander.database.dry_runs import RehearsedCall
from async_commander.database.unit import Unit, current_unit
from async_commander.engine.leased_pace import LeasedPace
from async_commander.engine.pace import Pace
from async_commander.exceptions import AsyncCommanderError, InvalidCommand
from async_commander.history.log_capture import OWN_LOGGER
from async_commander.pool.child import Hooks
from async_commander.pool.processes import Share, shared_pool
from async_commander.results import UNDELETED, Followed

from .in_hand import OpenSteps, in_hand, steps_open
from .outages import Outages
from .output import Output
from .questions import Questions
from .verdicts import kind_of, text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import httpx
    from django.core.management.base import OutputWrapper
    from django.core.management.color import Style

    from async_commander.cache.keeper import Keeper
    from async_commander.command.base import AsyncCommand
    from async_commander.database.lanes import LanePool
    from async_commander.downloads.fetching import Fetched
    from async_commander.engine.context import RunContext
    from async_commander.history.figures import Figures
    from async_commander.history.recorder import Recorder, Rows
    from async_commander.models import Run
    from async_commander.text.redactor import Redactor

    from .calling import HookCaller
    from .reporting import Reporter
    from .request import RunRequest
    from .telling import Teller

logger = logging.getLogger("async_commander.run")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class RunSession:
    """One open run: the resources of `command.session.Session`, and what the runner's own parts share."""

    def __init__(
        self,
        command: AsyncCommand,
        request: RunRequest,
        context: RunContext,
        *,
        identity: str,
        lanes: LanePool,
        recorder: Recorder,
        hooks: HookCaller,
        figures: Figures,
        reporter: Reporter,
        teller: Teller,
        redact: Redactor,
        kept: Keeper | None = None,
    ) -> None:
        self.command = command
        self.request = request
        self.context = context
        self.identity = identity
        self.lanes = lanes
        self.recorder = recorder
        self.hooks = hooks
        self.figures = figures
        self.reporter = reporter
        self.teller = teller
        self.redact = redact
        self.log = logging.getLogger(f"{OWN_LOGGER}.{context.command}")
        self.output = Output(request, redact)
        self.values: list[Any] = []
        self.outages = Outages(context.retry.maximum)
        kind = Pace if context.shard is None else LeasedPace
        self.pace = kind(context.limits.per_host, context.limits.per_second, context.retry)
        self.steps: OpenSteps | None = None
        """Of a plain command, while its `handle()` is at work."""
        self.undeleted: Counter[str] | None = Counter() if command.deletes and not request.delete else None
        """Rows by model that `self.db.delete()` was given and that stay, for want of `--delete`."""
        self.questions = Questions(
            request, context, recorder=recorder, reporter=reporter, output=self.output, redact=redact
        )
        self._run_unit = Unit(lanes.alias, committer=recorder)
        self._kept = kept
        self._client: Any = None
        self._share: Share | None = None
        self._rows: Rows

    # -- for the author ----------------------------------------------------------------------------------------

    @property
    def http(self) -> httpx.AsyncClient:
        """See Session."""
        if self._client is None:
            raise AsyncCommanderError(
                "self.http is not open here: the http_client() of this command is opened after the beginning of "
                "lifespan(), so that it can use what is set there, and closed before its end. Use self.http from the "
                "hooks between them."
            )
        client: httpx.AsyncClient = self._client
        return client

    async def fetch(
        self, url: httpx.URL | str, *, headers: Mapping[str, str] | None, extensions: Mapping[str, Any] | None
    ) -> Fetched:
        """See Session."""
        from async_commander.downloads.client import Client
        from async_commander.downloads.fetching import fetched

        client = self.http
        if isinstance(client, Client):
            return await client.fetch(url, headers=headers, extensions=extensions)
        if not hasattr(client, "get"):
            raise InvalidCommand(
                f"self.fetch() asks the client that http_client() brought, and {type(client).__name__} has no get(): "
                "use that client itself."
            )
        return fetched(await client.get(url, headers=headers, extensions=extensions))

    def http_client(self) -> httpx.AsyncClient:
        """See Session."""
        from async_commander.downloads.client import open_client

        limits = self.context.limits
        return open_client(
            threads=limits.threads,
            max_body=limits.max_body_bytes,
            pace=self.pace,
            internal_hosts=get_settings().internal_hosts,
        )

    @property
    def kept(self) -> Keeper:
        """See Session."""
        assert self._kept is not None  # noqa: S101 - a command with cached methods has it
        return self._kept

    @property
    def db(self) -> Unit:
        """See Session."""
        unit = current_unit.get()
        return self._run_unit if unit is None or unit.left_behind else unit

    async def cpu(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """See Session."""
        processes = self.context.limits.processes
        pool = shared_pool(processes, Hooks(django.setup, close_all_of_process))
        if self._share is None or self._share.pool is not pool:
            self._share = pool.share(processes)
        began, failed = time.monotonic(), True
        rehearsal = self.lanes.rehearsal
        try:
            if rehearsal is None:
                result = await self._share.run(function, *args)
            else:
                call: Any = RehearsedCall(function)
                result, written = await self._share.run(call, *args)
                rehearsal.add(written)
            failed = False
        finally:
            self.figures.took("cpu", began, time.monotonic(), failed=failed)
        return result

    @property
    def stdout(self) -> OutputWrapper:
        """See Session."""
        return self.output.stdout

    @property
    def stderr(self) -> OutputWrapper:
        """See Session."""
        return self.output.stderr

    @property
    def style(self) -> Style:
        """See Session."""
        return self.output.style

    @property
    def force(self) -> bool:
        """See Session."""
        return self.request.force

    @property
    def delete(self) -> bool:
        """See Session."""
        return self.request.delete

    @property
    def previous(self) -> Run | None:
        """See Session."""
        return self._rows.previous

    @property
    def record(self) -> Run:
        """See Session."""
        if self._rows.record is None:
            raise AsyncCommanderError("This run is not recorded in a database: it has no row.")
        return self._rows.record

    @property
    def idempotency_key(self) -> str:
        """See Session."""
        ticket = in_hand.get()
        text = f"{self.identity}:{ticket.key}" if ticket is not None else f"{self.identity}:run:{self.context.run_id}"
        text = f"test:{text}" if self.context.testing else text  # a trial must not use up the key of the real run
        text = f"dry:{text}" if self.context.dry_run else text
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    async def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """See Session."""
        if not self.recorder.keeps_items or type(self.command).always_on:
            raise InvalidCommand(
                f"self.step({name!r}) keeps what it comes to for a resume, and this command has none (always_on, or "
                "keep_history = False): call the function itself."
            )
        if self.steps is None or self.steps is not steps_open.get():
            raise InvalidCommand(
                f"self.step({name!r}) belongs to handle(), and to the tasks that it starts and waits for. What an item "
                "does is kept with the item; what belongs to no step is done where it stands."
            )
        return await self.steps.step(name, function, args)

    async def confirm(self, text: str) -> bool:
        """See Session."""
        return self.request.yes or await self.questions.ask(text)

    def progress(self, done: int, total: int | None = None) -> None:
        """See Session."""
        if isinstance(self.command, ItemCommand):
            raise InvalidCommand("self.progress() is for handle(): the items of this command count themselves.")
        numbers = [done] if total is None else [done, total]
        whole = all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**63 for one in numbers)
        if not whole or (total is not None and done > total):
            raise InvalidCommand(
                f"self.progress({done!r}, {total!r}): allowed are whole numbers from 0, and no more done than there "
                "are in total (nor than a database counts, 2**63); leave `total` out where it is not known."
            )
        tally = self.context.tally
        tally.taken = tally.done = done
        tally.total = tally.total if total is None else total

    def follow(self, *items: Any) -> None:
        """See Session."""
        ticket = in_hand.get()
        if ticket is None:
            raise InvalidCommand("self.follow() belongs to an item: call it in download() or parse_and_save().")
        if not self.recorder.keeps_items:
            raise InvalidCommand(
                "self.follow() stores items in the ledger, and this command keeps none (always_on, or keep_history = "
                "False): send the items to where iterate() reads from."
            )
        if any(isinstance(item, At) for item in items):
            raise InvalidCommand("self.follow(ac.At(…)): a cursor is the source's; give the item itself.")
        for item in items:
            text = self.hooks.decide("item_key", item)
            one = Followed(key_uuid(text), item_label(item, self.redact), item_to_json(item))
            ticket.followed, ticket.brought_up = [*ticket.followed, one], [*ticket.brought_up, item]

    # -- for the runner ----------------------------------------------------------------------------------------

    async def fetch_rows(self) -> None:
        """Read the rows behind `record` and `previous`."""
        self._rows = await self.recorder.rows()

    async def close_cache(self) -> None:
        """Give back what is held for cached methods."""
        if self._kept is not None:
            await self._kept.aclose()

    def change_limits(self) -> None:
        """The context has other bounds: so have all who share them."""
        limits = self.context.limits
        self.pace.change(limits.per_host, limits.per_second)
        self.hooks.resize(limits.threads)
        resize = getattr(self._client, "resize", None)  # an author's own client is as large as he made it
        if callable(resize):
            resize(limits.threads)

    def open_http(self, client: Any) -> None:
        """From now on `self.http` is this client; None closes the door."""
        self._client = client

    async def commit_hook(self) -> None:
        """Write what a hook of the run as a whole has queued."""
        await self._run_unit.flush()

    def stays(self, unit: Unit) -> None:
        """An item, or a step, is done: what it was to delete without `--delete` is not deleted."""
        if self.undeleted is not None:
            self.undeleted.update(label for label, _ in unit.undeleted)

    def would(self) -> dict[str, dict[str, int]]:
        """What was not written: all of it in a dry run, deletions without `--delete`."""
        would = {} if self.lanes.rehearsal is None else self.lanes.rehearsal.would_write()
        for label, rows in sorted((self.undeleted or {}).items()):
            would.setdefault(label, {})[UNDELETED] = rows
        return would

    def drop_hook(self) -> None:
        """Forget what a hook of the run as a whole has queued: it failed."""
        self._run_unit.requests.clear()

    @asynccontextmanager
    async def rows_of_its_own(self) -> AsyncIterator[None]:
        """For a hook beside others: what it queues is written at the end of the block, and dropped where that fails."""
        unit = Unit(self.lanes.alias, committer=self.recorder)
        with closing(unit):
            token = current_unit.set(unit)
            try:
                yield
            finally:
                current_unit.reset(token)
            await unit.flush()

    def acknowledging_failed(self, label: str, error: BaseException) -> None:
        """Tell that `committed()` failed for an item, which is done all the same."""
        self.figures.failed(f"{kind_of(error)} in committed()", text_of(error, self.redact), label)
        self.log_failure("committed() failed for %s, which is done all the same", error, label)

    def log_failure(self, template: str, error: BaseException, *arguments: object) -> None:
        """Log what is not the run's own failure, with its traceback."""
        logger.error(template, *arguments, exc_info=error)
