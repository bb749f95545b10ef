"""The parent's end of one pool process: its start, its pipe, its calls in order."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final, Literal

from .child import ANSWER, CALL, OUT_OF_MEMORY, SMALL, Counter, Hooks, Kind, serve
from .payload import load_error, load_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.process import BaseProcess

    from .jobs import Job

StartMethod = Literal["forkserver", "spawn"]

LAST_WAIT: Final = 5.0
"""Seconds that a killed child may take to be gone before its exit code is asked for."""

FIRST_PAUSE: Final = 0.1
BROKEN_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds between starts: after the second failure, after a failure that the callers were told, after many."""

_start_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child sent back, still as bytes."""

    kind: Kind
    seconds: float
    body: bytes | bytearray


@dataclass(slots=True, eq=False)
class ChildLink:
    """One child. All is done under the pool's lock, but for `start`, `receive` (the pool's thread) and `bury`."""

    process: BaseProcess
    sock: socket.socket
    begun: Counter
    born: float
    ready: bool = False
    start_error: BaseException | None = None
    """What its initializer raised."""
    jobs: deque[Job] = field(default_factory=deque)
    """Sent and not answered, in order; the first one is, or will next be, running."""
    answered: int = 0
    _outgoing: deque[memoryview] = field(default_factory=deque)
    _incoming: Frames = field(init=False)

    def __post_init__(self) -> None:
        self._incoming = Frames()

    @classmethod
    def start(cls, hooks: Hooks, method: StartMethod) -> ChildLink:
        """Start a child; it says itself when it is ready. Blocks for some milliseconds: never on an event loop."""
        context = (
            multiprocessing.get_context("spawn") if method == "spawn" else multiprocessing.get_context("forkserver")
        )
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            begun = context.RawValue("Q", 0)
            process = context.Process(target=serve, args=(theirs, begun, hooks), name="async_commander", daemon=True)
            with _start_lock, _main_left_alone(), _signals_blocked(method):
                process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, begun, time.monotonic())

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self.process.pid or 0

    @property
    def supply(self) -> float:
        """Seconds of work that it has at least, besides what it runs."""
        return sum(job.at_least for job in self.jobs) - self.jobs[0].at_least if len(self.jobs) > 1 else 0.0

    @property
    def runs_abandoned(self) -> bool:
        """True while what it runs has no caller any more."""
        return bool(self.jobs) and not self.jobs[0].awaited

    def give(self, jobs: Sequence[Job]) -> None:
        """Send jobs in one write; what the pipe does not take now waits for `flush`."""
        parts: list[bytes] = []
        for job in jobs:
            job.sent = True
            parts += (CALL.pack(len(job.payload)), job.payload)
        self.jobs.extend(jobs)
        if len(jobs) > 1 or len(parts[1]) <= SMALL:
            parts = [b"".join(parts)]
        self._outgoing.extend(memoryview(part) for part in parts)
        self.flush()

    def flush(self) -> None:
        """Write as much as the pipe takes without waiting."""
        while self._outgoing:
            part = self._outgoing[0]
            try:
                sent = self.sock.send(part)
            except BlockingIOError:
                return
            except OSError:
                self._outgoing.clear()  # it is dead or dying; the reading side notices, and tells what was begun
                return
            if sent < len(part):
                self._outgoing[0] = part[sent:]
            else:
                self._outgoing.popleft()

    @property
    def wants_to_write(self) -> bool:
        """True while something is left for `flush`."""
        return bool(self._outgoing)

    def receive(self, scratch: memoryview) -> list[Answer] | None:
        """The answers that are there now; None when the child is gone. `scratch` is reading space."""
        try:
            return self._incoming.read(self.sock, scratch)
        except BlockingIOError:
            return []
        except OSError:
            return None

    def take_answered(self) -> Job:
        """The job that the next answer belongs to."""
        self.answered += 1
        return self.jobs.popleft()

    def take_unanswered(self) -> tuple[Job | None, list[Job]]:
        """After its death: the job that was running, if one was, and those that were not begun."""
        jobs = list(self.jobs)
        self.jobs.clear()
        for job in jobs:
            job.sent = False
        if jobs and self.begun.value > self.answered:
            return jobs[0], jobs[1:]
        return None, jobs

    def kill(self) -> None:
        """End the child at once."""
        with suppress(ValueError):  # it is buried
            self.process.kill()

    def dismiss(self) -> None:
        """Tell the child that no more calls will come; it ends when it has answered those it has."""
        with suppress(OSError):  # it is dead or dying
            self.sock.shutdown(socket.SHUT_WR)

    def bury(self, grace: float) -> str:
        """Wait for its end, at most `grace` seconds before it is killed, and tell how it came. Blocks."""
        if not wait([self.process.sentinel], grace):
            self.kill()
            wait([self.process.sentinel], LAST_WAIT)
        with _start_lock:  # a start collects the exit codes of all children: not while we collect this one
            self.process.join()
            end = _end_in_words(self.process.exitcode)
            with suppress(ValueError):
                self.process.close()
        self.sock.close()
        return end


def give_outcome(job: Job, answer: Answer) -> None:
    """Unpack the answer for whoever waits for the job."""
    try:
        if answer.kind is Kind.RESULT:
            job.end(result=load_result(answer.body, job.name))
        else:
            job.end(error=load_error(answer.body, job.name))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the outcome
        job.end(error=error)


class StartPace:
    """When children may be started: at once, but more and more slowly while one start after the other fails."""

    def __init__(self) -> None:
        self.failures = 0
        self.not_before = 0.0

    def failed(self, now: float) -> None:
        """A child died before it was ready."""
        self.failures += 1
        self.not_before = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.failures - 2)) * (self.failures > 1)

    def broke(self, now: float) -> None:
        """The callers were told that nothing can be started: for a while, do not even try."""
        self.not_before = now + min(LONGEST_PAUSE, BROKEN_PAUSE * 2 ** (self.failures - 1))

    def succeeded(self) -> None:
        """A child is ready."""
        self.failures = 0
        self.not_before = 0.0


class Frames:
    """Cuts a stream into answers. A large body is read straight to its place."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = Kind.READY
        self._seconds = 0.0
        self._body: bytearray | None = None
        self._filled = 0

    def read(self, sock: socket.socket, scratch: memoryview) -> list[Answer]:
        """One read. Raises BlockingIOError when there is nothing, ConnectionError at the end."""
        if self._body is not None:
            return self._read_body(sock, self._body)
        count = sock.recv_into(scratch)
        if not count:
            raise ConnectionError("the child closed its pipe")
        return list(self._cut(self._rest + scratch[:count] if self._rest else bytes(scratch[:count])))

    def _read_body(self, sock: socket.socket, body: bytearray) -> list[Answer]:
        count = sock.recv_into(memoryview(body)[self._filled :])
        if not count:
            raise ConnectionError("the child closed its pipe in the middle of an answer")
        self._filled += count
        if self._filled < len(body):
            return []
        self._body = None
        return [Answer(self._kind, self._seconds, body)]

    def _cut(self, data: bytes) -> Iterator[Answer]:
        start = 0
        while len(data) - start >= ANSWER.size:
            kind, seconds, length = ANSWER.unpack_from(data, start)
            end = start + ANSWER.size + length
            if end > len(data):
                self._begin_body(Kind(kind), seconds, length, data[start + ANSWER.size :])
                self._rest = b""
                return
            yield Answer(Kind(kind), seconds, data[start + ANSWER.size : end])
            start = end
        self._rest = data[start:]

    def _begin_body(self, kind: Kind, seconds: float, length: int, beginning: bytes) -> None:
        self._kind, self._seconds = kind, seconds
        self._body = bytearray(length)
        self._body[: len(beginning)] = beginning
        self._filled = len(beginning)


@contextmanager
def _main_left_alone() -> Iterator[None]:
    """Keep multiprocessing from running the parent's script in the child.

    It would, so that functions of the script can be found there: a script without a main guard would do all its work
    again. A module that is called __main__ by its own spec is what it never runs. The script's file and its place in
    sys.modules stay as they are: other threads may be using them.
    """
    main = sys.modules["__main__"]
    before = getattr(main, "__spec__", None)
    main.__spec__ = ModuleSpec("__main__", None)
    try:
        yield
    finally:
        main.__spec__ = before


@contextmanager
def _signals_blocked(method: StartMethod) -> Iterator[None]:
    """Give the child a signal mask to be born with, until it ignores the signals itself.

    Not for forkserver: the server would keep the mask, and hand it to the children of others.
    """
    if method != "spawn" or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # otherwise it is started on the way, and unblocks what we block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_in_words(code: int | None) -> str:
    if code == OUT_OF_MEMORY:
        return "ran out of memory"
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
