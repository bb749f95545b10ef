"""Signals of a run, sent on its event loop; and mail. Where nobody listens, that costs a run a look."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import anyio
from asgiref.sync import ThreadSensitiveContext, sync_to_async

from async_commander.engine.leaving import CancelIgnored, Leavable
from async_commander.history.telling import PATIENCE, Aside, is_mailed, mail
from async_commander.results import ItemState, RunStatus
from async_commander.signals import item_failed, run_finished, run_started

from .in_hand import ItemTicket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.dispatch import Signal

    from async_commander.database.unit import Unit
    from async_commander.history.recorder import Opened
    from async_commander.results import RunResult

    from .plan import Plan

logger = logging.getLogger("async_commander.run")

_OF_AN_ITEM = ("label", "reason", "error_kind", "error", "attempts")


class Teller:
    """Reports one run to who listens. A receiver that does not return is left, and that is logged."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sender = type(plan.command)
        self._dry = plan.opening.dry_run
        self._is_shard = plan.opening.carries is not None
        """Whether the run as a whole is reported elsewhere."""
        self.run_id: int | str | None = None
        self.wants_items = not self._dry and item_failed.has_listeners(self._sender)
        """Whether anybody wants to know of items that are given up."""
        self._dead: deque[dict[str, Any]] = deque()
        self._news = asyncio.Event()

    async def started(self, opened: Opened) -> None:
        """The run is open."""
        self.run_id, self._is_shard = opened.run_id, opened.shard is not None
        if self._is_shard:
            return
        opening = self._plan.opening
        await self._send(run_started, parameters=opening.parameters, resumed=opened.resumed, testing=opening.testing)

    async def finished(self, result: RunResult) -> None:
        """The run is over; the items that were given up are all reported first."""
        self.run_id = result.run_id
        await self._tell_items()
        if self._is_shard or result.status is RunStatus.QUEUED:  # then it goes on with another worker
            return
        await self._send(run_finished, result=result)
        if self._dry or self._plan.opening.testing or not is_mailed(self._sender, result):
            return
        if self._plan.shared:
            await sync_to_async(mail)(result)
            return
        mailed = asyncio.wrap_future(Aside().submit(mail, result))
        if not (await asyncio.wait([mailed], timeout=PATIENCE))[0]:
            logger.error("The mail to ADMINS was not sent within %g s, and is not waited for.", PATIENCE)

    def settled(self, units: Sequence[Unit]) -> None:
        """These are committed: the dead among them are to be reported."""
        if not self.wants_items:
            return
        for unit in units:
            outcome, ticket = unit.outcome, unit.ticket
            if outcome is not None and isinstance(ticket, ItemTicket) and outcome.state is ItemState.DEAD:
                facts = {name: getattr(outcome, name) for name in _OF_AN_ITEM}
                self._dead.append({"item": ticket.item, **facts})
                self._news.set()

    async def tell_items(self) -> None:
        """A task beside the run: reports items that were given up, one after another."""
        while self.wants_items:
            await self._news.wait()
            self._news.clear()
            await self._tell_items()

    async def _tell_items(self) -> None:
        while self._dead and self.wants_items:
            if not await self._send(item_failed, **self._dead.popleft()):
                self.wants_items = False
                logger.error("Nobody is told any more of items of this run that are given up.")

    async def _send(self, signal: Signal, **facts: Any) -> bool:
        """False where a receiver did not return in time."""
        if self._dry or not signal.has_listeners(self._sender):
            return True
        facts = {"run_id": self.run_id, "command": self._plan.name, **facts}
        call = Leavable(signal.asend_robust(sender=self._sender, **facts), "a receiver", on_thread=True)
        timer = asyncio.get_running_loop().call_later(PATIENCE, call.leave)
        try:
            # Inside the caller's transaction on its thread: nobody else sees what the run has committed there.
            aside = nullcontext() if self._plan.shared else ThreadSensitiveContext(executor=Aside())
            async with aside:
                with anyio.CancelScope(shield=True):  # the run's end waits for who listens
                    await call
        except CancelIgnored:
            logger.error("A receiver of a signal did not return within %g s, and was left.", PATIENCE)  # noqa: TRY400 - the traceback is ours
            return False
        finally:
            timer.cancel()
        return True
