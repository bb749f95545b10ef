"""The example from nothing to its end: a fresh database, a slow run, a fast one, and what they found."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from async_commander.models import Run

HERE = Path(__file__).resolve().parent
DATABASE = Path(os.environ.setdefault("LIBRARY_DATABASE", str(HERE / "library.sqlite3")))
PATIENCE = 30
"""Seconds that a process has to end after it was asked to."""
ENDED_WELL = (0, 128 + signal.SIGINT)
"""Exit codes of a command that succeeded, or was interrupted by Ctrl-C."""


def main() -> None:
    """Runs the command with one download at a time for some seconds, then with fifty to the end, and compares."""
    options = _options()
    _set_up()
    _prepare_database()
    _say("Rendering the standard library's documentation with pydoc (kept for the next time) ...")
    with _pages(options) as url:
        os.environ["LIBRARY_URL"] = url
        _say(f"Serving it on {url}, {options.latency * 1000:.0f} ms before each answer, {options.faults:.0%} faults.")
        _fetch(1, seconds=options.seconds)
        _fetch(50)
    if not _report(latency=options.latency):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, help="so many modules only (default: all of the standard library)")
    parser.add_argument("--seconds", type=float, default=5, help="for the slow run (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.25, help="seconds before each answer (default: %(default)s)")
    parser.add_argument("--faults", type=float, default=0.02, help="share of answers (default: %(default)s)")
    return parser.parse_args()


def _set_up() -> None:
    """This process looks into the database, too."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
    sys.path.insert(0, str(HERE))
    import django

    django.setup()


def _prepare_database() -> None:
    """A fresh database with a user for the admin."""
    for file in DATABASE.parent.glob(f"{DATABASE.name}*"):
        file.unlink()
    _manage("migrate", "--verbosity", "0")
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = "demo"
    _manage("createsuperuser", "--noinput", "--username", "demo", "--email", "demo@example.org", "--verbosity", "0")


@contextmanager
def _pages(options: argparse.Namespace) -> Iterator[str]:
    """The page server in a process of its own, on a free port; it is ended with the block.

    It and the processes that render its pages are a group of their own: Ctrl-C at the terminal is not for them.
    """
    arguments = ["--port", "0", "--latency", str(options.latency), "--faults", str(options.faults)]
    if options.pages:
        arguments += ["--pages", str(options.pages)]
    command = [sys.executable, "-m", "docserver", *arguments]
    with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True, start_new_session=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip() or _fail("the page server did not start")
        finally:
            _end(server, signal.SIGTERM, os.killpg)


def _fetch(threads: int, *, seconds: float | None = None) -> None:
    """One run of the command; so many seconds after its first page it gets what Ctrl-C sends, and ends in order."""
    arguments = ["manage.py", "arun", "scrapers_fetch", "--threads", str(threads)]
    _say(f"$ {' '.join(arguments)}" + (f"      (Ctrl-C after {seconds:g} s)" if seconds else ""))
    run = subprocess.Popen([sys.executable, *arguments], cwd=HERE)
    try:
        if seconds is not None:
            _wait_for_first_page(run)
        run.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        _end(run, signal.SIGINT)
    if run.returncode not in ENDED_WELL:
        _fail(f"the command ended with exit code {run.returncode}")


def _wait_for_first_page(process: subprocess.Popen[bytes]) -> None:
    """Starting a process takes its time, which is not the run's."""
    from async_commander.models import Run

    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline and not Run.objects.filter(done__gt=0).exists():
        time.sleep(0.1)


def _end(
    process: subprocess.Popen[str] | subprocess.Popen[bytes],
    sent: signal.Signals,
    send: Callable[[int, int], None] = os.kill,
) -> None:
    """Asks the process, or its group, to end and waits; ends it by force if it has not ended in time."""
    if process.poll() is None:
        send(process.pid, sent)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        _fail(f"process {process.pid} did not end within {PATIENCE} seconds")


def _manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=HERE, check=True)


def _report(*, latency: float) -> bool:
    """Shows what the database holds after both runs; True if they ended as they should."""
    from async_commander.models import Run

    slow, fast = Run.objects.filter(command="scrapers_fetch").order_by("pk")
    _say("Both runs, as their rows in the database have it:")
    print(f"  {'threads':>7}  {'status':<12}{'pages':>6}{'seconds':>9}{'pages/s':>9}")
    for threads, run in ((1, slow), (50, fast)):
        print(f"  {threads:>7}  {run.status:<12}{run.done:>6}{_seconds(run):>9.1f}{_rate(run):>9.1f}")
    if slow.done:
        print(f"  {_rate(fast) / _rate(slow):.0f} times as fast, {latency * 1000:.0f} ms of latency per page included.")
    _show_tables()
    _show_doors(fast)
    return fast.status == "succeeded" and slow.status in {"interrupted", "succeeded"}


def _seconds(run: Run) -> float:
    return ((run.finished or run.started) - run.started).total_seconds()


def _rate(run: Run) -> float:
    """Pages per second, or 0 for a run that has not ended."""
    return run.done / (_seconds(run) or float("inf"))


def _show_tables() -> None:
    from django.db.models import Count

    from library.models import Link, Module, Symbol

    kinds = Symbol.objects.values_list("kind").annotate(count=Count("pk")).order_by("-count")
    _say(
        f"{Module.objects.count()} modules, {Link.objects.count()} links, symbols: "
        + ", ".join(f"{count} {kind}" for kind, count in kinds)
    )
    print("  The ten most linked-to modules:")
    popular = Link.objects.values_list("target").annotate(count=Count("pk")).order_by("-count", "target")
    for target, count in popular[:10]:
        print(f"  {count:>7}  {target}")


def _show_doors(run: Run) -> None:
    python = os.path.relpath(sys.executable)
    manage = f"{python} {os.path.relpath(HERE / 'manage.py')}"
    _say("See for yourself:")
    print(f"  {manage} aruns show {run.pk}")
    print(f"  {manage} runserver      and open http://127.0.0.1:8000/admin/async_commander/run/")
    print("                          as the user demo, password demo")


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


def _fail(text: str) -> NoReturn:
    sys.exit(f"demo: {text}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
