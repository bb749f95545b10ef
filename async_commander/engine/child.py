"""What runs in a process of the pool: take a call from the pipe, answer it, take the next."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

from .payload import dump_error, dump_result, load_call

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

CALL: Final = struct.Struct("<Q")
"""Head of a call: length of the body."""
ANSWER: Final = struct.Struct("<BdQ")
"""Head of an answer: kind, seconds the call took, length of the body."""
OUT_OF_MEMORY: Final = 112
"""Exit code of a child whose function ran out of memory: its memory is only free again when it is gone."""
SMALL: Final = 65_536
"""Bytes up to which head and body are joined into one write."""


class Kind(IntEnum):
    """What an answer is."""

    READY = 0
    NOT_READY = 1
    RESULT = 2
    ERROR = 3


class Counter(Protocol):
    """A number in memory that is shared with the parent."""

    value: int


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a child does besides the calls; functions that can be found by name."""

    initializer: Callable[[], None] | None = None
    """Before the first call."""
    after_call: Callable[[], None] | None = None
    """After the initializer and after each call, before it is answered; what it raises is the call's error."""


def serve(sock: socket.socket, begun: Counter, hooks: Hooks) -> None:
    """Answer calls until the parent closes the pipe or is gone.

    `begun` counts the calls that were begun; it outlives a kill, and tells the parent which call was running.
    """
    ignore_signals()
    end_with_parent(sock)
    sys.stdout = sys.stderr  # the parent's stdout may be a document (--json); also, stderr is not lost at a kill
    with sock, suppress(ConnectionError):
        if _initialize(sock, hooks):
            _answer_calls(sock, begun, hooks.after_call)


def ignore_signals() -> None:
    """Ctrl-C, a closed terminal and a service's stop reach all processes: what they mean is the parent's to say."""
    ignored = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ignored)  # the parent blocks them while it starts a child


def end_with_parent(sock: socket.socket) -> None:
    """End this process when its parent is gone, however it went and whatever is running here."""
    threading.Thread(target=_watch_parent, args=(sock.fileno(),), name="parent-watch", daemon=True).start()


def _watch_parent(pipe: int) -> None:
    # Two signs, because a process that the parent forked may keep either of them open: multiprocessing's sentinel,
    # and the other end of our pipe (a poll for nothing reports that it was closed, and only that).
    watch = select.poll()
    watch.register(pipe, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and isinstance(parent.sentinel, int):
        watch.register(parent.sentinel, select.POLLIN)
    watch.poll()
    os._exit(1)


def _initialize(sock: socket.socket, hooks: Hooks) -> bool:
    try:
        if hooks.initializer is not None:
            hooks.initializer()
        if hooks.after_call is not None:
            hooks.after_call()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
        _send(sock, Kind.NOT_READY, 0.0, dump_error(error))
        return False
    _send(sock, Kind.READY, 0.0, b"")
    return True


def _answer_calls(sock: socket.socket, begun: Counter, after_call: Callable[[], None] | None) -> None:
    with sock.makefile("rb") as calls:
        while head := calls.read(CALL.size):
            (length,) = CALL.unpack(head)
            body = calls.read(length)
            if len(body) < length:
                return
            begun.value += 1
            started = time.perf_counter()
            kind, answer = _answer(body, after_call)
            _send(sock, kind, time.perf_counter() - started, answer)


def _answer(body: bytes, after_call: Callable[[], None] | None) -> tuple[Kind, bytes]:
    try:
        try:
            function, args = load_call(body)
            return Kind.RESULT, dump_result(function, function(*args))
        finally:
            if after_call is not None:
                after_call()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the call's answer
        return Kind.ERROR, dump_error(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))


def _send(sock: socket.socket, kind: Kind, seconds: float, body: bytes) -> None:
    head = ANSWER.pack(kind, seconds, len(body))
    if len(body) <= SMALL:
        sock.sendall(head + body)
    else:
        sock.sendall(head)
        sock.sendall(body)
