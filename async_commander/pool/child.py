"""What runs in a process of the pool: take a call from the pipe, answer it, take the next."""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from .payload import dump_error, dump_result, load

HEAD: Final = struct.Struct("<QBQ")
"""Head of a message: the number of the call that it is or answers, its kind, the length of its body."""
SMALL: Final = 65_536
"""Bytes up to which head and body are joined into one write."""
OUT_OF_MEMORY: Final = 112
"""Exit code of a child whose function ran out of memory: its memory is only free again when it is gone."""
PIPE_CLOSED: Final = 113
"""Exit code of a child whose function closed the pipe that its answer had to go through."""
SIGNALS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""Those that reach a whole process group, or a whole service."""


class Kind(IntEnum):
    """What a message is."""

    SETUP = 0
    READY = 1
    NOT_READY = 2
    CALL = 3
    RESULT = 4
    ERROR = 5


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a child does besides the calls; functions that can be found by name."""

    initializer: Callable[[], None] | None = None
    """Before the first call."""
    after_call: Callable[[], None] | None = None
    """After the initializer and after each call, before it is answered; what it raises is the call's error."""


def main(parent: int) -> NoReturn:
    """Answer calls until the parent closes the pipe or is gone. The pipe comes as standard input."""
    take_signals()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # not in the terminal's foreground, it may print there all the same
    os.register_at_fork(after_in_child=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL))
    pipe = ChildPipe()
    threading.Thread(target=end_with_parent, args=(parent,), name="parent-watch", daemon=True).start()
    sys.stdout = sys.stderr  # file descriptor 1 leads there as well: the parent's stdout may be a document (--json)
    with suppress(ConnectionError):
        serve(pipe)
    os._exit(0)  # a return would wait for the threads that functions left behind


def serve(pipe: ChildPipe) -> None:
    """Set this process up, then answer one call after the other. Raises ConnectionError at the end."""
    number, body = pipe.receive()
    try:
        sys.argv, initializer, after_call = load(body)
        for hook in (initializer, after_call):
            if hook is not None:
                hook()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent shows it
        pipe.send(number, Kind.NOT_READY, dump_error(error))
        return
    pipe.send(number, Kind.READY, b"")
    context, home = copy_context(), Path()
    with suppress(OSError):  # it was removed
        home = Path.cwd()
    while True:
        number, body = pipe.receive()
        kind, answer = context.copy().run(_answer, body, after_call)
        # Take back what one function may have done to the process, and the next one would suffer from.
        signal.setitimer(signal.ITIMER_REAL, 0)
        if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        take_signals()
        with suppress(OSError):
            os.chdir(home)
        pipe.send(number, kind, answer)


def _answer(body: bytes, after_call: Callable[[], None] | None) -> tuple[Kind, bytes]:
    us = os.getpid()
    try:
        try:
            function, args = load(body)
            return Kind.RESULT, dump_result(function, function(*args))
        finally:
            if os.getpid() != us:  # the function forked, and this is the copy: neither pipe nor connections are its own
                os._exit(0)
            if after_call is not None:
                after_call()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the call's answer
        return Kind.ERROR, dump_error(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))


class ChildPipe:
    """The child's end of its pipe. What a function executes does not inherit it."""

    def __init__(self) -> None:
        self._sock = socket.socket(fileno=os.dup(0))  # unlike file descriptor 0, the copy is closed at exec
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - not a path of anybody's
            os.dup2(nothing.fileno(), 0)
        self._reader = self._sock.makefile("rb")
        self._status = os.fstat(self._sock.fileno())

    def receive(self) -> tuple[int, bytes]:
        """The number and the body of the next message. Raises ConnectionError at the end."""
        head = self._reader.read(HEAD.size)
        if len(head) == HEAD.size:
            number, _, length = HEAD.unpack(head)
            if len(body := self._reader.read(length)) == length:
                return number, body
        raise ConnectionError("the parent closed the pipe")

    def send(self, number: int, kind: Kind, body: bytes) -> None:
        """Send one message. Raises ConnectionError; ends the process where the pipe was closed in it."""
        head = HEAD.pack(number, kind, len(body))
        try:
            if not os.path.samestat(os.fstat(self._sock.fileno()), self._status):
                os._exit(PIPE_CLOSED)  # something that the function opened has its number now: not ours to write to
            if len(body) <= SMALL:
                self._sock.sendall(head + body)
            else:
                self._sock.sendall(head)
                self._sock.sendall(body)
        except ConnectionError:
            raise
        except OSError:
            os._exit(PIPE_CLOSED)


def take_signals() -> None:
    """Ctrl-C, a closed terminal and a service's stop reach all processes: what they mean is the parent's to say.

    SIGTERM has a handler: what functions execute would inherit SIG_IGN, and `Popen.terminate()` would end nothing.
    """
    for number in SIGNALS:
        handler = _go_on if number == signal.SIGTERM else signal.SIG_IGN
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
            signal.siginterrupt(number, False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _go_on(number: int, frame: FrameType | None) -> None:
    """Handle a signal by doing nothing."""


def end_with_parent(parent: int) -> None:
    """End this process, and what its functions have started, when its parent is gone, whatever is running here."""
    # Not by the end of the pipe: a process that the parent has forked may hold the other end open.
    watch, patience = select.poll(), 1_000
    # Its number may be another process's by the time that it is opened: getppid() in the loop tells.
    with suppress(AttributeError, OSError):  # this is not Linux, or the parent is gone
        watch.register(os.pidfd_open(parent), select.POLLIN)
        patience = 60_000
    while os.getppid() == parent and not watch.poll(patience):
        pass
    with suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
