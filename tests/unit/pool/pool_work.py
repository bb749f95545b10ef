"""What the pool's tests run in child processes."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn


class Unreadable(Exception):
    """Can be pickled, and cannot be unpickled: its __init__ wants more than args has."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")


class Unwritable(Exception):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("holds a lambda")
        self.hold = lambda: None


class Wordless(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class OnlyAtHome:
    """Can be loaded in one process only: where it was not, loading fails."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["home"] != os.getpid():
            raise ValueError("not at home")


def add(left: int, right: int) -> int:
    return left + right


def echo(value: Any) -> Any:
    return value


def make(size: int) -> bytes:
    return b"x" * size


def double_page(page: bytes) -> bytes:
    return page + page


async def wait() -> None:
    pass


def a_coroutine() -> Any:
    return wait()


def a_generator() -> Any:
    return (number for number in range(3))


def a_stranger() -> OnlyAtHome:
    return OnlyAtHome()


_ERRORS: dict[str, BaseException] = {
    "plain": ValueError("no page", 404),
    "unreadable": Unreadable(4, "no page"),
    "unwritable": Unwritable(),
    "wordless": Wordless(),
    "cancelled": asyncio.CancelledError("not yours"),
    "interrupt": KeyboardInterrupt(),
    "exit": SystemExit(3),
}


def fail(kind: str) -> NoReturn:
    raise _ERRORS[kind]


def recurse() -> NoReturn:
    recurse()


def pid() -> int:
    return os.getpid()


def shout(text: str) -> None:
    print(text)


def signal_self() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return len(blocked)


def main_file() -> str | None:
    return getattr(sys.modules["__main__"], "__file__", None)


def note(path: str, text: str = "x") -> None:
    """One line, written at once, so that it outlives a kill."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def note_and_wait(path: str, gate: str) -> int:
    """Tell that it runs; run until the gate is there."""
    note(path, str(os.getpid()))
    while not Path(gate).exists():
        time.sleep(0.002)
    return os.getpid()


def note_and_spin(path: str) -> NoReturn:
    """Tell that it runs; never end."""
    note(path, str(os.getpid()))
    while True:
        pass


def note_and_die(path: str) -> NoReturn:
    note(path, str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_if(path: str, number: int, deadly: int) -> int:
    note(path, str(number))
    if number == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(path: str, number: int) -> int:
    """Die at the first time."""
    first = not Path(path).exists()
    note(path, str(number))
    if first:
        os._exit(7)
    return number


def take_memory() -> int:
    """More than there may be."""
    resource.setrlimit(resource.RLIMIT_AS, (400 << 20, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return len(bytearray(4 << 30))


def start_well(path: str) -> None:
    note(path, str(os.getpid()))


def raise_later(path: str) -> None:
    if Path(path).exists():
        raise LookupError("not clean")
    note(path, str(os.getpid()))


def start_badly(path: str) -> NoReturn:
    note(path, str(os.getpid()))
    raise LookupError("no settings")


def start_if(path: str) -> None:
    if not Path(path).exists():
        raise LookupError("not ready")


def start_deadly(path: str) -> NoReturn:
    note(path, str(os.getpid()))
    os._exit(9)
