"""`committed()`: called beside the work, once for each item, after its commit."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio

from async_commander.engine.failures import calm, cancelled_for_real, ends_the_run, is_cancellation, native_task
from async_commander.engine.stepping import InContext
from async_commander.exceptions import AsyncCommanderError

from .hook_lanes import Kind, calls_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.abc import TaskGroup

    from async_commander.engine.pipeline import Pipeline

    from .in_hand import ItemTicket
    from .session import RunSession

AT_ONCE = 8
"""Items whose `committed()` may be under way at once."""


class Acknowledger:
    """Has each item that is put settled after its `committed()`, where the command has one.

    So an item counts as done, and makes room for another one, when it is acknowledged. What no item may survive ends
    the run before the item is settled, and nothing is raised in here.
    """

    def __init__(self, session: RunSession) -> None:
        self._session = session
        self._hooks = session.hooks
        self.pipeline: Pipeline[ItemTicket]
        self.context = copy_context()
        """In copies of which `committed()` is called: that of the run's hooks, as `lifespan()` left it."""
        self.wanted = self._hooks.has("committed") and not session.context.dry_run
        """There is one to be called, and something is committed."""
        self._hurried = False
        self._unsettled = 0
        self._all_settled = anyio.Event()
        self._under_way: set[anyio.CancelScope] = set()
        self._put, self._tickets = anyio.create_memory_object_stream[Any](float("inf"))

    @contextmanager
    def beside(self, tasks: TaskGroup) -> Iterator[None]:
        """Acknowledge in tasks of this group, which is cancelled at the block's end."""
        with self._put, self._tickets:
            for _ in range(AT_ONCE if self.wanted else 0):
                tasks.start_soon(self._acknowledge_all)
            yield

    def put(self, ticket: ItemTicket) -> None:
        """This one is committed."""
        self._unsettled += 1
        self._put.send_nowait(ticket)

    def hurry(self) -> None:
        """Cancel what is under way, and what comes: the items are committed all the same."""
        self._hurried = True
        for scope in self._under_way:
            scope.cancel()

    async def drain(self) -> None:
        """See all that was put settled, without waiting for what their `committed()` waits for."""
        self.hurry()
        if self._unsettled:
            self._all_settled = anyio.Event()
            await self._all_settled.wait()

    async def _acknowledge_all(self) -> None:
        async for ticket in self._tickets:
            scope = anyio.CancelScope()
            if self._hurried:
                scope.cancel()
            self._under_way.add(scope)
            try:
                with scope:
                    await InContext(self.context.copy(), self._call(ticket))
                if scope.cancelled_caught:
                    self._session.acknowledging_failed(
                        ticket.label, AsyncCommanderError("cancelled: the run was asked to end at once.")
                    )
            except BaseException as error:  # the item is committed, whatever comes of this
                if isinstance(error, GeneratorExit) or (is_cancellation(error) and cancelled_for_real()):
                    raise
                if ends_the_run(error):
                    self.pipeline.abort(error)
                else:
                    self._session.acknowledging_failed(ticket.label, error)
                    await calm(native_task())
            finally:
                self._under_way.discard(scope)
            self.pipeline.settled([ticket])
            self._unsettled -= 1
            if not self._unsettled:
                self._all_settled.set()

    async def _call(self, ticket: ItemTicket) -> None:
        with calls_of(Kind.BESIDE):
            async with self._session.rows_of_its_own():
                await self._hooks.call("committed", ticket.item, ticket.return_value)
