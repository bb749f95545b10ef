"""The parent's end of one pool process: its start, its calls, its end."""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import spawn
from typing import TYPE_CHECKING, Final

from .child import HEAD, OUT_OF_MEMORY, PIPE_CLOSED, SIGNALS, SMALL, Kind
from .payload import load_error

if TYPE_CHECKING:
    from .child import Hooks

START_LIMIT: Final = 60.0
"""Seconds that a child may take until it is ready."""
DEATH_GRACE: Final = 1.0
"""Seconds that a child may live on after it closed its pipe."""
LAST_WAIT: Final = 5.0
"""Seconds that a killed child may take to be gone before its exit code is asked for."""
LOOK_AGAIN: Final = 0.5
"""Seconds after which a child is looked at, where the system cannot wait for a process and a pipe at once."""
PROGRAM: Final = (
    "import sys; parent = int(sys.argv[1]); sys.path[:] = sys.argv[2:]; "
    "from async_commander.pool.child import main; main(parent)"
)


class ChildLost(Exception):
    """The child is gone, or what came from it was no answer."""

    def __init__(self, why: str = "", *, begun: bool = True) -> None:
        super().__init__(why)
        self.why = why
        """Empty where the child's end says it."""
        self.begun = begun
        """It may have begun the call: it had received all of it."""


class Child:
    """One process. The thread that serves it may wait here; others `kill()` and `wake()` it, under the pool's lock."""

    def __init__(self) -> None:
        self._number = int.from_bytes(os.urandom(6), "big")  # what else a function may write is no answer
        self._until = time.monotonic() + START_LIMIT
        self._ear = self._bell = self._pidfd = -1
        self._sock, theirs = socket.socketpair()
        try:
            with theirs:
                self._ear, self._bell = os.pipe()
                self._process = _spawn(theirs)
        except BaseException:
            self._close()
            raise
        # The pipe alone does not show the child's end: what a function has forked may hold its other end open.
        with suppress(AttributeError, OSError):  # this is not Linux, or it is gone
            self._pidfd = os.pidfd_open(self.pid)
        self._sock.setblocking(False)
        os.set_blocking(self._bell, False)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def set_up(self, hooks: Hooks) -> None:
        """Wait until it is ready. Raises ChildLost, and what its hooks or their pickling raise."""
        kind, answer = self._ask(Kind.SETUP, pickle.dumps((sys.argv, hooks.initializer, hooks.after_call)))
        if kind is Kind.NOT_READY:
            raise load_error(answer, "the initializer")
        self._until = math.inf

    def call(self, payload: bytes) -> tuple[Kind, bytes | bytearray]:
        """Have one call carried out. Raises ChildLost."""
        return self._ask(Kind.CALL, payload)

    def rest(self) -> None:
        """Wait for `wake()`. Raises ChildLost."""
        self._wait(self._ear, select.POLLIN)
        os.read(self._ear, SMALL)

    def wake(self) -> None:
        """Have the thread that rests look for work."""
        with suppress(BlockingIOError):
            os.write(self._bell, b"!")

    def kill(self) -> None:
        """End the process at once, and what its functions have started, which is in its process group."""
        if self._process.returncode is None:  # else the number may be somebody else's by now
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.kill()

    def bury(self) -> str:
        """Wait for its end, and say how it came."""
        late = not self._gone(DEATH_GRACE)
        self.kill()  # it is not waited for yet, so that its process group has its number still
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WAIT)
        self._close()
        code = self._process.returncode
        if late or code == PIPE_CLOSED:
            return "closed the pipe to its parent"
        if code == OUT_OF_MEMORY:
            return "ran out of memory"
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        known = {int(one): one.name for one in signal.Signals}
        return f"was killed by {known.get(-code, f'signal {-code}')}"

    def leave_to_parent(self) -> None:
        """In a process that the parent has forked: the child is not ours to wait for."""
        self._process.returncode = 0

    def _close(self) -> None:
        self._sock.close()
        for descriptor in (self._ear, self._bell, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)

    def _ask(self, kind: Kind, body: bytes) -> tuple[Kind, bytes | bytearray]:
        self._number += 1
        head = HEAD.pack(self._number, kind, len(body))
        for part in [head + body] if len(body) <= SMALL else [head, body]:
            rest = memoryview(part)
            while rest:
                try:
                    rest = rest[self._sock.send(rest) :]
                except BlockingIOError:
                    self._wait(self._sock.fileno(), select.POLLOUT)
                except OSError as error:
                    raise ChildLost(begun=False) from error
        self._wait(self._sock.fileno(), select.POLLIN)
        number, found, length = HEAD.unpack(self._read(HEAD.size))
        if number != self._number or found > Kind.ERROR:
            raise ChildLost("wrote to the pipe to its parent")
        return Kind(found), self._read(length)

    def _read(self, length: int) -> bytearray:
        try:
            body = bytearray(length)
        except (MemoryError, OverflowError) as error:
            raise ChildLost(f"sent {length} bytes, for which there is no memory here") from error
        rest = memoryview(body)
        while rest:
            try:
                count = self._sock.recv_into(rest)
            except BlockingIOError:
                self._wait(self._sock.fileno(), select.POLLIN)
            except OSError as error:  # it is gone, and has left some of the call unread
                raise ChildLost(begun=False) from error
            else:
                if not count:
                    raise ChildLost
                rest = rest[count:]
        return body

    def _wait(self, descriptor: int, event: int) -> None:
        """Until the descriptor is ready. Raises ChildLost once the process is gone, or too late to be set up."""
        watch = select.poll()
        watch.register(descriptor, event)
        patience = self._until - time.monotonic()
        if self._pidfd >= 0:
            watch.register(self._pidfd, select.POLLIN)
        else:
            patience = min(patience, LOOK_AGAIN)
        while not (ready := watch.poll(None if patience == math.inf else max(0.0, 1000 * patience))):
            if time.monotonic() >= self._until:
                raise ChildLost(f"took longer than {START_LIMIT:.0f} s")
            if self._process.poll() is not None:
                break
        # What a child wrote before its end is read first; it is lost when there is nothing more to read.
        if descriptor not in dict(ready):
            raise ChildLost(begun=event == select.POLLIN)

    def _gone(self, seconds: float) -> bool:
        """Wait for the end of the process, at most so long."""
        if self._pidfd >= 0:
            watch = select.poll()
            watch.register(self._pidfd, select.POLLIN)
            return bool(watch.poll(1000 * seconds))
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None


def _spawn(pipe: socket.socket) -> subprocess.Popen[bytes]:
    """Start a process as multiprocessing's spawn does, which refuses it in a daemonic process such as Celery's.

    It does not run the parent's script again, is the first of a process group, and is born with the signals blocked,
    until it has taken them.
    """
    command = spawn.get_command_line()
    paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - functions may change the folder
    out = subprocess.DEVNULL
    with suppress(OSError):  # there is no stderr
        os.fstat(2)
        out = 2
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [*command[: command.index("-c")], "-c", PROGRAM, str(os.getpid()), *paths],
            stdin=pipe.fileno(),
            stdout=out,
            stderr=out,
            process_group=0,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
