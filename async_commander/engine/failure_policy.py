"""The rules of failing: what an error does to the item that met it, or to the whole run.

error ──▶ ends the run (raised) │ is nobody's (this worker was cancelled) │ is the item's ──▶ verdict of the ports
verdict ──▶ fatal: raised │ retry: attempts and the host's patience decide │ dead, skip: given up, in the ledger
retry ──▶ waits here, or in the ledger │ dead: "exhausted", or "throttled" where its host answers nobody
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic

import anyio
from anyio.lowlevel import checkpoint

from .deadlines import ItemTimeout
from .failures import cancelled_for_real, ends_the_run, unwrapped
from .ports import TicketT, Verdict
from .undisturbed import to_its_end

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from .accounting import Accounting
    from .gathering import Gathering
    from .limits import Limits, Retry
    from .pace import Pace
    from .ports import Ports
    from .waiting import Waiting

_logger = logging.getLogger(__name__)

FREE_PAUSES = 10
"""So many times a host may ask for time without saying how long, and it costs the item nothing."""


class FailurePolicy(Generic[TicketT]):
    """Has the ports judge each failed item, decides whether it is tried again, and carries that out."""

    def __init__(
        self,
        ports: Ports[TicketT],
        *,
        limits: Limits,
        retry: Retry,
        pace: Pace,
        accounting: Accounting[TicketT],
        waiting: Waiting[TicketT],
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._retry = retry
        self._pace = pace
        self._accounting = accounting
        self._waiting = waiting
        self.gathering: Gathering[TicketT] | None = None
        """Where those go that failed together."""
        self.stopping = False
        """The run is being stopped: what would wait here goes to the ledger."""
        self.rejected: deque[tuple[TicketT, BaseException]] = deque()
        """Tickets whose writes failed to commit when no worker had them in hand any more."""

    async def decide(self, ticket: TicketT, error: BaseException, *, timed_out: bool = False) -> None:
        """Decide on a ticket that failed. With `timed_out` the error is but where its time ran out.

        Raises what ends the run.
        """
        error = unwrapped(error)
        if ends_the_run(error):
            raise error
        if cancelled_for_real():
            await checkpoint()  # the end of this worker; the ticket is given back
        elif ticket not in self._accounting:
            _logger.error("%r failed after it was settled as %s", ticket.key, ticket.state, exc_info=error)
        else:
            if timed_out:
                error = ItemTimeout.of(self._limits, error)
            await self._carry_out(ticket, error, self._ports.verdict(ticket, error))

    async def decide_together(
        self, tickets: Sequence[TicketT], error: BaseException, *, timed_out: bool = False
    ) -> None:
        """Decide on tickets that failed together: halves are tried until the guilty one is alone.

        Not where nobody is guilty: then all of them wait, at no cost. Raises what ends the run.
        """
        first, gathering = tickets[0], self.gathering
        if len(tickets) == 1 or gathering is None or ends_the_run(unwrapped(error)) or cancelled_for_real():
            first.batch = None
            await self.decide(first, error, timed_out=timed_out)
            return
        judged = ItemTimeout.of(self._limits, error) if timed_out else unwrapped(error)
        verdict = self._ports.verdict(first, judged)
        if verdict.kind == "fatal" or verdict.free or verdict.throttled:
            for ticket in tickets:
                ticket.batch = None
                await self._carry_out(ticket, judged, verdict)
            return
        _logger.info("%d items failed together, and are tried in halves: %r", len(tickets), judged)
        gathering.halve(tickets)

    async def decide_rejected(self) -> None:
        """Decide on the first ticket of `rejected`, and on those that it was worked on with."""
        ticket, error = self.rejected.popleft()
        if ticket.batch is None:
            await self.decide(ticket, error)
        else:
            await self.decide_together(ticket.batch, error)  # type: ignore[arg-type]  # they are all of one kind

    async def give_up_on_host(self, ticket: TicketT, host: str) -> None:
        """Give up a ticket whose host has no patience left, without trying it."""
        error = self._pace.unavailable(host)
        await self._carry_out(ticket, error, Verdict("dead", reason=error.reason))

    async def postpone(self, ticket: TicketT, delay: float) -> None:
        """Have the ledger keep a ticket for `delay` seconds."""
        ticket.next_at = anyio.current_time() + delay
        await self._hand_over(ticket, self._ports.postpone(ticket, delay))

    async def put_by(self, ticket: TicketT) -> None:
        """Have the ledger keep a ticket until it is called."""
        await self._hand_over(ticket, self._ports.postpone(ticket, None))

    async def _carry_out(self, ticket: TicketT, error: BaseException, verdict: Verdict) -> None:
        if verdict.kind == "fatal":
            raise error
        if verdict.throttled or verdict.retry_after is not None:
            verdict, error = self._with_the_hosts_patience(ticket, error, verdict)
        elif verdict.answered is not None:
            self._pace.answered(verdict.answered, since=ticket.began)
        if verdict.kind == "retry" and not verdict.free and not self._retry.again(ticket.attempts):
            verdict = replace(verdict, kind="dead", reason="exhausted")
        self._ports.failed(ticket, error, verdict)
        if verdict.free:
            ticket.attempts -= 1
        if verdict.kind != "retry":
            await self._hand_over(ticket, self._ports.give_up(ticket, error, verdict))
            return
        delay = self._retry.delay(max(ticket.attempts, ticket.throttled), retry_after=verdict.retry_after)
        if (self.stopping or self._waiting.full) and self._ports.has_ledger:
            await self.postpone(ticket, delay)
        else:
            ticket.next_at = anyio.current_time() + delay
            self._waiting.until(ticket.next_at, ticket)

    def _with_the_hosts_patience(
        self, ticket: TicketT, error: BaseException, verdict: Verdict
    ) -> tuple[Verdict, BaseException]:
        """A pause that was asked for and is obeyed costs no attempt: the host's budget bounds it, and the item's own.

        The item's own is for one that is turned away alone, while its host answers others.
        """
        pace, now = self._pace, anyio.current_time()
        host = verdict.host or ticket.throttle
        if host is not None:
            pace.throttled(host, verdict.retry_after, since=ticket.began)
            if pace.spent(host):
                unavailable = pace.unavailable(host)
                unavailable.__cause__ = error
                return Verdict("dead", reason=unavailable.reason), unavailable
        ticket.throttled += 1
        if ticket.throttled == 1:
            ticket.throttled_since = now
        if verdict.retry_after is None:
            free = ticket.throttled <= FREE_PAUSES
        else:
            obeyed = self._retry.asked(verdict.retry_after) >= verdict.retry_after
            free = obeyed and now - ticket.throttled_since <= self._retry.host_budget
        return replace(verdict, free=free), error

    async def _hand_over(self, ticket: TicketT, outcome: Coroutine[Any, Any, None]) -> None:
        ticket.given_up = True
        await to_its_end(outcome)
        self._accounting.hand_over(ticket)
