"""The rules of failing: what an error does to the item that met it, or to the whole run.

error ──▶ ends the run (abort) │ is nobody's (this worker was cancelled) │ is the item's ──▶ verdict
verdict ──▶ fatal: abort │ retry: waits here, or in the ledger │ dead, skip: given up, in the ledger
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Generic

import anyio
from anyio.lowlevel import checkpoint

from .deadlines import ItemTimeout
from .failures import cancelled_for_real, ends_the_run, unwrapped
from .ports import ItemT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .books import Books
    from .limits import Limits, Retry
    from .pace import Pace
    from .ports import Ports, Ticket
    from .waiting import Waiting

_logger = logging.getLogger(__name__)


class Judge(Generic[ItemT]):
    """Has the ports judge each failed item, and carries their verdict out. `abort` ends the run with an error."""

    def __init__(
        self,
        ports: Ports[ItemT],
        *,
        books: Books[ItemT],
        waiting: Waiting[ItemT],
        limits: Limits,
        retry: Retry,
        pace: Pace | None,
        abort: Callable[[BaseException], None],
    ) -> None:
        self._ports = ports
        self._books = books
        self._waiting = waiting
        self._limits = limits
        self._retry = retry
        self._pace = pace
        self._abort = abort
        self.stopping = False
        """The run is being stopped: what would wait here goes to the ledger."""
        self.rejected: deque[tuple[Ticket[ItemT], BaseException]] = deque()
        """Tickets whose writes failed to commit when no worker had them in hand any more."""

    async def judge(self, ticket: Ticket[ItemT], error: BaseException, *, timed_out: bool = False) -> None:
        """Decide on a ticket that failed. With `timed_out` the error is but where its time ran out."""
        error = unwrapped(error)
        if ends_the_run(error):
            self._abort(error)
        elif cancelled_for_real():
            await checkpoint()  # the end of this worker; the ticket is given back
        elif ticket not in self._books:
            _logger.error("%r failed after it was settled as %s", ticket.key, ticket.state, exc_info=error)
        else:
            await self._carry_out(ticket, ItemTimeout.of(self._limits, error) if timed_out else error)

    async def judge_rejected(self) -> None:
        """Decide on the first ticket of `rejected`."""
        await self.judge(*self.rejected.popleft())

    async def postpone(self, ticket: Ticket[ItemT], delay: float, error: BaseException | None) -> None:
        """Have the ledger keep a ticket for `delay` seconds; `error` is None where it did not fail just now."""
        ticket.next_at = anyio.current_time() + delay
        await self._hand_over(ticket, self._ports.postpone(ticket, delay, error))

    async def _carry_out(self, ticket: Ticket[ItemT], error: BaseException) -> None:
        verdict = self._ports.verdict(ticket, error)
        if verdict.free:
            ticket.attempts -= 1
        elif verdict.kind == "retry" and not self._retry.again(ticket.attempts):
            verdict = replace(verdict, kind="dead", reason="exhausted")
        if verdict.kind == "fatal":
            self._abort(error)
        elif verdict.kind == "retry":
            await self._try_later(ticket, error, verdict.retry_after)
        else:
            await self._hand_over(ticket, self._ports.give_up(ticket, error, verdict))

    async def _try_later(self, ticket: Ticket[ItemT], error: BaseException, retry_after: float | None) -> None:
        delay = self._retry.delay(ticket.attempts, retry_after=retry_after)
        if retry_after and self._pace is not None and ticket.throttle is not None:
            self._pace.pause(ticket.throttle, self._retry.asked(retry_after))
        if self.stopping or self._waiting.full:
            await self.postpone(ticket, delay, error)
        else:
            ticket.next_at = anyio.current_time() + delay
            self._waiting.until(ticket.next_at, ticket)

    async def _hand_over(self, ticket: Ticket[ItemT], outcome: Awaitable[None]) -> None:
        ticket.given_up = True
        with anyio.CancelScope(shield=True):
            await outcome
        self._books.hand_over(ticket)
