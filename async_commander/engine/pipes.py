"""The thread that reads the pipes of a pool's children, and writes what a pipe did not take at once."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from .child import SMALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .childlink import Answer, ChildLink

SCRATCH: Final = 262_144
"""Bytes that are read at once."""
NEVER: Final = float("inf")


class PipeOwner(Protocol):
    """Whoever has the children: called on the pipe thread, which waits for none of it."""

    def heard(self, link: ChildLink, answers: Sequence[Answer]) -> None:
        """Answers came."""

    def nap(self) -> float:
        """Seconds for which the children have work enough, so that their answers may pile up in the pipes."""

    def lost(self, link: ChildLink) -> None:
        """The child is gone, or closed its pipe."""

    def flush(self, link: ChildLink) -> bool:
        """Write on; True while something is left."""

    def look_after(self, now: float) -> float:
        """Do what is due; the answer is when to come again, on the monotonic clock."""

    def clear_away(self) -> None:
        """The last call of all: end the children and wait for their end."""

    def broke(self, error: BaseException) -> None:
        """The thread cannot go on."""


class PipeThread:
    """Waits for all pipes of one pool. Its methods may be called from any thread; they never wait."""

    def __init__(self, owner: PipeOwner) -> None:
        self._owner = owner
        self._selector = selectors.DefaultSelector()
        self._ear, self._bell = socket.socketpair()
        self._ear.setblocking(False)
        self._bell.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._arrived: deque[ChildLink] = deque()
        self._writing: deque[ChildLink] = deque()
        self._alarm = NEVER
        self._changed = False
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="process-pool", daemon=True)
        self._thread.start()

    def watch(self, link: ChildLink) -> None:
        """Read this child's pipe from now on."""
        self._arrived.append(link)
        self.look_again()

    def write(self, link: ChildLink) -> None:
        """Write the rest, as soon as the pipe takes it."""
        self._writing.append(link)
        self.look_again()

    def look_again(self) -> None:
        """Have the owner asked anew what is due."""
        self._changed = True
        self._ring()

    def stop(self) -> None:
        """End the thread, after its owner cleared away."""
        self._stopped = True
        self._ring()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the thread's end, in seconds."""
        self._thread.join(timeout)

    def leave_to_parent(self) -> None:
        """In a forked process: close what was inherited, so that it does not keep the parent's children alive."""
        for thing in (self._selector, self._ear, self._bell):
            thing.close()

    def _ring(self) -> None:
        with suppress(OSError):  # full: it is awake anyhow; closed: nobody listens any more
            self._bell.send(b"!")

    def _run(self) -> None:
        try:
            self._listen(memoryview(bytearray(SCRATCH)))
        except BaseException as error:
            self._owner.broke(error)
            raise
        finally:
            self._owner.clear_away()
            self.leave_to_parent()

    def _listen(self, scratch: memoryview) -> None:
        while not self._stopped:
            if nap := self._owner.nap():
                time.sleep(nap)
            for key, events in self._selector.select(self._patience()):
                if key.data is None:
                    self._ear.recv(SMALL)
                else:
                    self._serve(key.data, events, scratch)
            if self._changed or (self._alarm < NEVER and time.monotonic() >= self._alarm):
                self._catch_up()

    def _patience(self) -> float | None:
        return None if self._alarm == NEVER else max(0.0, self._alarm - time.monotonic())

    def _serve(self, link: ChildLink, events: int, scratch: memoryview) -> None:
        if events & selectors.EVENT_WRITE and not self._owner.flush(link):
            self._selector.modify(link.sock, selectors.EVENT_READ, link)
        if events & selectors.EVENT_READ:
            self._read(link, scratch)

    def _read(self, link: ChildLink, scratch: memoryview) -> None:
        answers = link.receive(scratch)
        if answers is None:
            self._selector.unregister(link.sock)
            self._owner.lost(link)
            return
        if answers:
            self._owner.heard(link, answers)

    def _catch_up(self) -> None:
        self._changed = False
        while self._arrived:
            link = self._arrived.popleft()
            self._selector.register(link.sock, selectors.EVENT_READ, link)
        while self._writing:
            link = self._writing.popleft()
            with suppress(KeyError, ValueError):  # it is lost already
                self._selector.modify(link.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, link)
        self._alarm = self._owner.look_after(time.monotonic())
