"""A warmed process without threads and connections, of which the victims are forked: `python -m tests.faults.template`.

Reads one JSON job a line from stdin, answers with one JSON value a line on stdout.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import django

django.setup()

import anyio._backends._asyncio  # noqa: E402, F401  what a run would import later on is imported once, here
from django.core.management import load_command_class  # noqa: E402
from django.db import connections  # noqa: E402

from async_commander.command.registry import get_command  # noqa: E402
from async_commander.downloads import client  # noqa: E402, F401
from async_commander.engine import awake  # noqa: E402
from async_commander.engine.limits import Limits  # noqa: E402
from async_commander.history.database_recorder import DatabaseRecorder  # noqa: E402
from async_commander.runner import outages  # noqa: E402
from async_commander.runner.entry import drive_from_shell, has_uvloop  # noqa: E402
from async_commander.runner.reporting import Silent  # noqa: E402
from async_commander.runner.request import RunRequest  # noqa: E402
from async_commander.runner.signals import install  # noqa: E402
from tests.faults import traps  # noqa: E402
from tests.faults.behaviour import tell  # noqa: E402

if has_uvloop():
    import uvloop  # noqa: F401


def perform(job: dict[str, Any]) -> int:
    """In the child: the run itself, as from a shell. Returns its exit code."""
    if job.get("trap"):
        traps.set_up(**job["trap"])
    if "outage_budget" in job:
        be_impatient(job["outage_budget"])
    if "line" in job:
        return type_line(job)
    command = get_command(job["command"])(**job["arguments"])
    request = RunRequest(limits=Limits(**job.get("limits", {})), **job.get("request", {}))
    stops = install()
    signal.signal(signal.SIGUSR2, tell_tasks)
    stand_ready(job)
    result = drive_from_shell(command, request, Silent(), stops=stops)
    print(json.dumps({"status": result.status, "error": result.error, "counts": result.counts}), flush=True)
    if job.get("trap"):
        traps.report()
    return result.exit_code


def type_line(job: dict[str, Any]) -> int:
    """A plain Django command, as it is typed. Returns what would be the exit code of the process."""
    name, *words = job["line"]
    command = load_command_class("tests.testapp", name)
    stand_ready(job)
    try:
        command.run_from_argv(["manage.py", name, *words])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def stand_ready(job: dict[str, Any]) -> None:
    """Say so, and wait for the others."""
    tell(job["arguments"]["journal"], "ready")
    while "barrier" in job and not Path(job["barrier"]).exists():
        time.sleep(0.0005)


def be_impatient(seconds: float) -> None:
    """Wait for the database for so long only, and notice sooner that the process was stopped."""
    outages.OUTAGE_BUDGET = seconds
    DatabaseRecorder.__init__.__kwdefaults__["outage_budget"] = seconds
    awake.PERIOD, awake.LATE = 0.02, 0.2


def tell_tasks(*_: object) -> None:
    """Write what each task of the running loop waits for."""
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


def fork(job: dict[str, Any]) -> int:
    """Fork a child that performs the job in a session of its own; its words go to the file `job["output"]`."""
    assert not [one for one in connections.all(initialized_only=True) if one.connection is not None]
    assert threading.active_count() == 1
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        _redirect(job["output"])
        faulthandler.enable()
        code = perform(job)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(output: str) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for old, new in ((null, 0), (file, 1), (file, 2)):
        os.dup2(old, new)


def reap(pid: int) -> int | None:
    """The exit code of a child, negative for a signal; None while it lives."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def main() -> None:
    """Serve until stdin ends."""
    for name in (
        "effects",
        "plain_effects",
        "recorded",
        "stages",
        "stepped",
        "killers",
        "holders",
        "counters",
        "keepers",
        "once",
        "single",
    ):
        get_command(name)
    for name in ("plain_seed", "plain_once"):
        load_command_class("tests.testapp", name)
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        answer = fork(request["fork"]) if "fork" in request else reap(request["reap"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
