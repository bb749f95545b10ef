"""What is asked of a run from outside while it is at work: its end, a pause, other bounds, an answer."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from async_commander.command.shapes import ItemCommand
from async_commander.engine.awake import awake
from async_commander.engine.limits import BOUNDS
from async_commander.history.recorder import Orders
from async_commander.results import items_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from async_commander.results import Asked

    from .session import RunSession
    from .sharded import ShardedWork
    from .signals import StopRequests
    from .work import Work


class Steering:
    """Does as the orders of one run say, and tells its terminal whose they are. All of it is on the event loop."""

    def __init__(self, session: RunSession, work: Work | ShardedWork, stops: StopRequests) -> None:
        self._session = session
        self._context = session.context
        self._work = work
        self._stops = stops
        self._orders = self._newest = Orders()
        self._news = anyio.Event()
        self._changed = anyio.Event()
        """Set, and replaced, when it is to be asked anew when the time is up."""
        self._paused_at: float | None = None
        self._stood_still = 0.0
        """Seconds of pauses that are over."""

    def hear(self, orders: Orders) -> None:
        """These are the orders from now on. Called from anywhere on the event loop, and so carried out by a task."""
        self._newest = orders
        self._news.set()

    async def steer(self) -> None:
        """Do as is said, until cancelled. A task beside the run."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            self._follow(self._newest)

    def _follow(self, orders: Orders) -> None:
        """Do what these say differently; all else goes on as it was."""
        before, self._orders = self._orders, orders
        if orders.cancel is not None and before.cancel is None:
            self._session.reporter.message(f"It ends, as was asked for{orders.cancel.who}.", logging.WARNING)
            self._stops.ask()
        if orders.limits != before.limits:
            self._change_limits({name: one for name, one in orders.limits.items() if one != before.limits.get(name)})
        pause = orders.pause
        if pause is None and before.pause is not None:  # a shard whose run was resumed: a pause is not
            pause = replace(before.pause, to=False, by="")
        if pause is not None and pause != before.pause and not self._context.stopping:
            (self._pause if pause.to else self._go_on)(pause)
        if orders.answer is not None:
            self._session.questions.answered(orders.answer)

    def _pause(self, asked: Asked) -> None:
        if self._paused_at is None:
            self._paused_at = awake.time()
            self._work.pause()
            self._ask_anew()
        if self._context.shard is not None:
            return  # the run says so for all of them
        reporter = self._session.reporter
        has_items = isinstance(self._session.command, ItemCommand)
        in_hand = f", with {items_in_words(self._context.tally.in_flight)} in hand" if has_items else ""
        told = f"Paused{asked.who}{in_hand}. `aruns resume {self._context.run_id}` lets it go on."
        reporter.message(told, logging.WARNING)
        reporter.stage(f"paused{asked.who}")

    def _go_on(self, asked: Asked) -> None:
        if self._paused_at is None:
            return
        stood_still, self._paused_at = awake.time() - self._paused_at, None
        self._stood_still += stood_still
        self._work.go_on()
        self._ask_anew()
        if self._context.shard is not None:
            return
        told = f"It goes on, as was asked for{asked.who}, after a pause of {stood_still:.0f} s."
        self._session.reporter.message(told)
        self._session.reporter.stage("")

    def _change_limits(self, changed: Mapping[str, Asked]) -> None:
        known = {name: one for name, one in changed.items() if name in BOUNDS and not BOUNDS[name].fixed}
        before = self._context.limits
        self._context.limits = before.replace(**{name: one.to for name, one in known.items()})
        self._session.change_limits()
        self._work.change_limits()
        self._ask_anew()
        for name, one in known.items():
            if getattr(before, name) != one.to and self._context.shard is None:
                told = f"{name} is {one.to} from now on (it was {getattr(before, name)}), as was asked for{one.who}."
                self._session.reporter.message(told)

    def _ask_anew(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def time_is_up(self) -> None:
        """Return when the run has worked for as long as its time-out: what it was paused for does not count."""
        began = awake.time()
        while True:
            timeout, changed = self._context.limits.timeout, self._changed
            left = math.inf
            if timeout is not None and self._paused_at is None:
                left = timeout - (awake.time() - began - self._stood_still)
            if left <= 0:
                return
            with anyio.move_on_after(left):
                await changed.wait()
