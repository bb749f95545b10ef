"""One at a time in this process: who asks for a result that is on its way waits for it, in any thread or loop."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from async_commander.engine.threads import fit_for_a_future

from .codecs import Packed

Landing = Future[Packed | None]
"""What came of a flight: a result; None where whoever led it was cancelled, and somebody else is to lead the next."""


class Flight:
    """A result on its way, and those who wait for it."""

    def __init__(self, flights: Flights, place: Hashable) -> None:
        self._flights = flights
        self._place = place
        self.waiting: list[Landing] = []

    def land(self, packed: Packed) -> None:
        """Everybody has the result."""
        for waiter in self._flights.over(self._place):
            with suppress(InvalidStateError):  # who was cancelled waits no more
                waiter.set_result(packed)

    def fail(self, error: Exception) -> None:
        """Everybody has the error, which is not kept."""
        for waiter in self._flights.over(self._place):
            with suppress(InvalidStateError):
                waiter.set_exception(fit_for_a_future(error))

    def hand_over(self) -> None:
        """Nobody has anything: one of them has to begin anew."""
        for waiter in self._flights.over(self._place):
            with suppress(InvalidStateError):
                waiter.set_result(None)


class Flights:
    """What is on its way."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._under_way: dict[Hashable, Flight] = {}

    def join(self, place: Hashable) -> Flight | Landing:
        """A new flight, which the caller leads and has to end; or, where there is one, what is to be waited for."""
        with self._mutex:
            flight = self._under_way.get(place)
            if flight is None:
                flight = self._under_way[place] = Flight(self, place)
                return flight
            waiter: Landing = Future()
            flight.waiting.append(waiter)
            return waiter

    def over(self, place: Hashable) -> list[Landing]:
        """For a flight that ends: who waits for it. Who comes from now on begins a new one."""
        with self._mutex:
            return self._under_way.pop(place).waiting


flights = Flights()
"""Those of this process, for all of its runs."""
