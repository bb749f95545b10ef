"""What functions may do to the process that they run in, and to what they share it with."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from tests.unit.pool.pool_work import note

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def fork_and_return(answer: str) -> str:
    """Both processes come back."""
    os.fork()
    return answer


def fork_and_raise() -> NoReturn:
    os.fork()
    raise ValueError("both")


def fork_and_die(path: str, *, own_session: bool) -> NoReturn:
    """Leave a process behind that lives on, and holds open all that was open."""
    pid = os.fork()
    if pid == 0:
        if own_session:
            os.setsid()
        note(path, str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while str(pid) not in Path(path).read_text().split() if Path(path).exists() else True:
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def start_helper_and_spin(path: str) -> NoReturn:
    helper = subprocess.Popen(["sleep", "60"])
    note(path, str(helper.pid))
    while True:
        pass


def sockets() -> list[int]:
    names = [path.name for path in Path("/proc/self/fd").iterdir() if path.exists() or path.is_symlink()]
    return [int(name) for name in names if (Path("/proc/self/fd") / name).readlink().name.startswith("socket:")]


def write_to_the_pipe() -> str:
    for number in sockets():
        os.write(number, b"\0" * 17 + b"nonsense" * 10)
    return "answer"


def close_all(path: str) -> str:
    """What daemonisers do; what is opened then has the old numbers."""
    os.closerange(0, 256)
    files = [Path(f"{path}.{number}").open("wb") for number in range(20)]  # noqa: SIM115
    return str(len(files))


def close_standard_files() -> str:
    for number in range(3):
        os.close(number)
    return "closed"


def leave_a_thread() -> int:
    threading.Thread(target=time.sleep, args=(600,)).start()
    return os.getpid()


def leave_alarms_and_handlers() -> int:
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    return os.getpid()


def sleep_and_signal_self() -> int:
    time.sleep(0.05)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), number)
    return os.getpid()


def change_folder(path: str) -> str:
    os.chdir(path)
    return str(Path.cwd())


def folder() -> str:
    return str(Path.cwd())


def enter_tenant() -> str:
    before = tenant.get()
    tenant.set("ours")
    return before


def print_everywhere() -> None:
    print("by print", flush=True)
    os.write(1, b"by number\n")
    subprocess.run(["echo", "by echo"], check=True)


def square(number: int) -> int:
    return number * number


def use_multiprocessing(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(square, range(4))


def terminate_a_program() -> int:
    with subprocess.Popen(["sleep", "60"]) as program:
        program.terminate()
        return program.wait(10)


class KilledWhileSent:
    """Kills the process that sends it, in the middle."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.page = b"x" * (64 << 20)

    def __reduce__(self) -> Any:
        if not Path(self.path).exists():
            Path(self.path).touch()
            threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return bytes, (self.page,)


def large_answer_once_killed(path: str) -> KilledWhileSent:
    return KilledWhileSent(path)


class EndsItsReader:
    """Loading it raises SystemExit, but not where it was made."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["home"] != os.getpid():
            sys.exit("over there")


def end_the_reader() -> EndsItsReader:
    return EndsItsReader()


def stop_iteration() -> NoReturn:
    raise StopIteration("no more")


def crowd(folder: str) -> int:
    """How many of these run now."""
    mine = Path(folder) / str(os.getpid())
    mine.touch()
    time.sleep(0.02)
    found = len(list(Path(folder).iterdir()))
    mine.unlink()
    return found
