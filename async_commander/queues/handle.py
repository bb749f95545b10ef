"""A run that somebody else carries, followed by its row. Nothing here needs models before a run is asked about."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from async_commander.database.connections import beside_loop

if TYPE_CHECKING:
    from async_commander.results import RunResult, RunStatus


@dataclass(slots=True)
class RunHandle:
    """What `ac.dispatch()` and `ac.adispatch()` return: the number of a run, and the alias of where its row is.

    Each coroutine method has a synchronous twin whose name ends in `_sync`. All of them read the row: a handle can be
    made anywhere from the number, `RunHandle(12)`, and it outlives the process that sent the run.
    """

    run_id: int
    database: str = "default"
    is_committed: bool = field(default=True, compare=False)
    """False as long as the row belongs to the transaction in which the run was sent."""

    async def result(self, timeout: float | None = None) -> RunResult:
        """How the run ended, once it has. Returns and raises what `ac.arun()` does.

        `value` is what the row keeps of it, as JSON has it; `values` are kept nowhere. Raises RunFailed also for a run
        that has crashed; TimeoutError after `timeout` seconds, and then the run goes on; InvalidCommand where there is
        no such run, or not any more.
        """
        from .reading import naps_while_waiting

        deadline = None if timeout is None else time.monotonic() + timeout
        for nap in naps_while_waiting():
            if (result := await beside_loop(self._ended)) is not None:
                return result
            await anyio.sleep(self._nap(nap, deadline))
        raise AssertionError("the naps have no end")

    def result_sync(self, timeout: float | None = None) -> RunResult:
        """The same from synchronous code."""
        from .reading import naps_while_waiting

        deadline = None if timeout is None else time.monotonic() + timeout
        for nap in naps_while_waiting():
            if (result := self._ended()) is not None:
                return result
            time.sleep(self._nap(nap, deadline))
        raise AssertionError("the naps have no end")

    async def status(self) -> RunStatus:
        """Its status now. InvalidCommand where there is no such run, or not any more."""
        return await beside_loop(self.status_sync)

    def status_sync(self) -> RunStatus:
        """The same from synchronous code."""
        from .reading import status_of

        return status_of(self.run_id, self.database)

    async def cancel(self, *, user: str = "") -> bool:
        """Ask for its end; `user` is who asks, for its log. One that waits in its queue ends at once as *interrupted*.

        True where it had not ended before. One that is at work hears of it within seconds: `result()` waits for it.
        """
        return await beside_loop(self.cancel_sync, user=user)

    def cancel_sync(self, *, user: str = "") -> bool:
        """The same from synchronous code."""
        from async_commander.history.orders import Cancelled, cancel_run

        return cancel_run(self.run_id, user=user, using=self.database) in (Cancelled.ASKED, Cancelled.NOT_BEGUN)

    def _nap(self, nap: float, deadline: float | None) -> float:
        left = nap if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"Run {self.run_id} has not ended in time. It goes on.")
        return min(nap, left)

    def _ended(self) -> RunResult | None:
        from .reading import ended

        return ended(self.run_id, self.database, is_committed=self.is_committed)
