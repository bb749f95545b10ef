"""The work of one run: the hooks of the command's shape, from the source to the acknowledgement of the last item."""

from __future__ import annotations

from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from async_commander.command.declaration import declaration_of
from async_commander.database.surroundings import Surroundings
from async_commander.engine.leaving import CancelIgnored
from async_commander.engine.pipeline import Pipeline
from async_commander.engine.quota import Quota

from .acknowledging import Acknowledger
from .always_on import AlwaysOn
from .holding import Holding
from .hook_lanes import Kind, calls_of
from .items import ItemPorts
from .source_retry import SourceRetry
from .sources import counted, from_the_beginning, open_source
from .steps import Steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager

    from anyio.abc import TaskGroup

    from async_commander.command.hooks import Stages
    from async_commander.history.recorder import Opened

    from .in_hand import ItemTicket
    from .session import RunSession

SMALLEST_CHUNK = 16
"""Items claimed in one transaction, at least, where there are so many: with one thread a claim each would cost more."""


class Work:
    """What a command was written for, done once. `stop`, `cancel` and `abort` may be called at any time."""

    def __init__(self, session: RunSession, opened: Opened) -> None:
        self._session = session
        self._context = session.context
        self._hooks = session.hooks
        self._opened = opened
        self._scope = anyio.CancelScope()
        self._pipeline: Pipeline[ItemTicket] | None = None
        self._steps: Steps | None = None
        self._acknowledger = Acknowledger(session)
        self.value: Any = None
        """What `handle()` returned."""
        self.complete = False
        """Nothing was left undone: the source was read to its end, and all that it gave is settled."""

    async def carry_out(self) -> None:
        """Call the hooks, and commit what they queued. Raises what the run fails with; a cancel only ends it early."""
        carried = True
        self._session.recorder.within(Surroundings())
        self._acknowledger.context = copy_context()
        cancelled = False
        try:
            with self._scope:
                if not self._context.stopping:
                    carried = await self._call_hooks()
        except CancelIgnored:
            if not self._scope.cancel_called:
                raise
            cancelled = True  # though not by itself
        cancelled = cancelled or self._scope.cancelled_caught
        left_early = self._context.stopping and (cancelled or self._pipeline is None)
        self.complete = carried and not left_early
        if not cancelled:
            await self._session.commit_hook()

    def acknowledged_beside(self, tasks: TaskGroup) -> AbstractContextManager[None]:
        """For the time of the block `committed()` is called in tasks of this group."""
        return self._acknowledger.beside(tasks)

    async def settle(self) -> None:
        """Wait for what an abort left under way: it is committed or not, and the counts say which."""
        await self._session.recorder.drain()
        await self._acknowledger.drain()

    # -- how it ends early -------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin nothing more; what is in hand is finished."""
        if self._pipeline is not None:
            self._pipeline.stop()

    def pause(self) -> None:
        """Begin nothing, until `go_on()`; what is in hand is finished."""
        self._context.gate.close()

    def go_on(self) -> None:
        """See `pause()`."""
        if self._pipeline is not None:
            self._pipeline.go_on()
        else:
            self._context.gate.open()

    def change_limits(self) -> None:
        """The context has other bounds now."""
        if self._pipeline is not None:
            self._pipeline.change_limits(self._context.limits)

    def cancel(self) -> None:
        """End what is in hand."""
        if self._pipeline is not None and self._pipeline.begun:
            self._pipeline.cancel()
        else:
            self._scope.cancel()
        self._acknowledger.hurry()

    def abort(self, error: BaseException) -> None:
        """End what is in hand, and the run with this error."""
        if self._pipeline is not None and self._pipeline.begun:
            self._pipeline.abort(error)
            return
        if self._steps is not None:
            self._steps.abort(error)
        self._scope.cancel()

    # -- the shapes --------------------------------------------------------------------------------------------

    async def _call_hooks(self) -> bool:
        """Whether all was carried that was to be carried."""
        command = self._session.command
        stages, always_on = declaration_of(type(command)).stages, type(command).always_on
        if stages is None:
            options = {**self._session.request.options_of_django(), **command.options, **command.parameters}
            if not self._context.testing:
                options.pop("test", None)  # a command written for Django gets what `call_command` would give it
            handle = partial(self._hooks.call, "handle", options=options)
            if always_on:
                self.value = await AlwaysOn(self._session, "handle").calls(handle)
                return False
            with Steps.of(self._session, resumed=self._opened.resumed, leave=self._scope.cancel) as self._steps:
                self.value = await handle()
            return True
        limits = self._context.limits
        largest = stages.chunk or limits.batch_size
        quota = Quota(
            self._context.tally,
            asked=self._session.request.max_items,
            begun_with=self._opened.options.get("max_items"),
            resumed=self._opened.resumed,
            recovered=self._opened.recovered,
            closed=self._opened.source_ended,
        )
        ports = ItemPorts(
            self._session,
            self._acknowledger,
            download="download" in stages.per_item,
            quota=quota,
            cursor=self._opened.cursor,
        )
        self._session.recorder.begin_items(ports, taken_at_most=quota.run_at_most)
        self._pipeline = ports.pipeline = self._acknowledger.pipeline = Pipeline(
            ports,
            limits=limits,
            retry=self._context.retry,
            tally=self._context.tally,
            pace=self._session.pace,
            chunk=min(largest, max(2 * limits.threads, SMALLEST_CHUNK)),
            largest_chunk=largest,
            quota=quota,
            lingers=always_on,
            batches=type(command).batches if self._hooks.has("parse_and_save_many") else None,
            holder=Holding(self._session) if self._hooks.has("throttle_on") else None,
            gate=self._context.gate,
        )
        if self._context.stopping:
            self._pipeline.stop()
        if always_on:
            items = AlwaysOn(self._session, "iterate").items(partial(self._connected, stages, ports), ports)
        else:
            items = await self._counted_items(stages, ports, quota)
        carried = await self._pipeline.run(items)
        return carried and not (self._pipeline.cut and quota.narrower)

    async def _connected(self, stages: Stages, ports: ItemPorts) -> Any:
        """The source of a command that is always on: what comes before it is done anew each time."""
        payloads = [await self._hooks.call(hook) for hook in stages.once]
        return await open_source(self._hooks, *payloads, after=ports.after, shard=self._context.shard)

    async def _counted_items(self, stages: Stages, ports: ItemPorts, quota: Quota) -> AsyncIterator[Any]:
        """Those of the source; none where that was read to its end before and can be spared."""
        retried, tally = SourceRetry(self._session), self._context.tally
        if self._opened.source_ended:
            tally.total = tally.taken
        if self._opened.source_ended and not self._opened.recovered:
            ports.open_source = partial(self._source_later, stages)
            return retried.items((), ports.open_source, ports)
        opened = await self._source_of(stages, after=ports.after)
        with calls_of(Kind.SOURCE):
            source = ports.source = await retried.insist(opened)
            if not self._opened.source_ended:
                await self._count(source, quota, before=ports.place)
        return retried.items(source, opened, ports)

    async def _source_of(
        self, stages: Stages, *, after: Callable[[], Any] = from_the_beginning
    ) -> Callable[[], Awaitable[Any]]:
        """What opens the source, after the hooks that go before it."""
        with calls_of(Kind.SOURCE):
            once = [partial(self._hooks.call, hook) for hook in stages.once]
            payloads = [await SourceRetry(self._session).insist(call) for call in once]
        return partial(open_source, self._hooks, *payloads, after=after, shard=self._context.shard)

    async def _source_later(self, stages: Stages) -> Any:
        """The source of a run that does not read it: items that are rows are made as it would give them."""
        opened = await self._source_of(stages)
        with calls_of(Kind.SOURCE):
            return await SourceRetry(self._session).insist(opened)

    async def _count(self, source: Any, quota: Quota, *, before: int) -> None:
        """`before`: so many items come before those that are read now."""
        if self._context.shard is not None:
            return  # the run has counted them
        total = await self._hooks.call("total") if self._hooks.has("total") else None
        if total is None and (number := await counted(source)) is not None:
            total = before + number
        self._context.tally.total = None if total is None else max(quota.of_total(total), self._context.tally.taken)
