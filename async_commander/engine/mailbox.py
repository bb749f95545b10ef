"""Wakes tasks of an event loop from other threads, many with one call."""

from __future__ import annotations

import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from anyio.lowlevel import RunVar, current_token

if TYPE_CHECKING:
    import anyio


class Mailbox:
    """Sets events of one event loop from any thread.

    A call into a running loop costs a system call and a wake-up; events that are put while one is under way share it.
    """

    def __init__(self) -> None:
        self._letters: deque[anyio.Event] = deque()
        self._called = False
        self._loop: weakref.ref[Any] = weakref.ref(current_token().native_token)

    def put(self, event: anyio.Event) -> None:
        """Have `event` set on its loop, soon. Any thread; an event of a loop that has ended is dropped."""
        self._letters.append(event)
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                self._call_loop()

    def _call_loop(self) -> None:
        loop = self._loop()
        if loop is None:
            return
        call = loop.run_sync_soon if hasattr(loop, "run_sync_soon") else loop.call_soon_threadsafe  # trio, asyncio
        call(self._deliver)

    def _deliver(self) -> None:
        self._called = False  # before the emptying: a letter that comes now makes one call too many, never one too few
        while self._letters:
            self._letters.popleft().set()


_mailbox: Final[RunVar[Mailbox]] = RunVar("async_commander_mailbox")


def current_mailbox() -> Mailbox:
    """The mailbox of the running event loop."""
    try:
        return _mailbox.get()
    except LookupError:
        _mailbox.set(mailbox := Mailbox())
        return mailbox
