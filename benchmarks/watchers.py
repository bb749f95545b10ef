"""python -m benchmarks.watchers: a hundred clients watch one run, by one look for all or by a query for each.

A thread writes lines into the log of a run, as its recorder would. uvicorn, in a process of its own, sends them as
server-sent events to all clients; what it takes for that is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .databases import measured_in_a_process

CLIENTS, SECONDS, LINES_PER_SECOND = 100, 10.0, 40
BATCHES_PER_SECOND = 4
CONTENDERS = ("one look for all", "a query for each")


def main() -> None:
    """Measures on one database, and prints a line for each contender."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watchers", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--lines", type=int, default=LINES_PER_SECOND, help="written to the run's log each second")
    options = parser.parse_args()
    if "BENCHMARK_DATABASE" in os.environ:
        _measure(options)
        return
    measured_in_a_process("watchers", options.database)


def _measure(options: argparse.Namespace) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0, stdout=sys.stderr)
    from async_commander.history.lease import establish
    from async_commander.models import Run

    print(f"{options.database}: {options.clients} clients, {options.lines} lines a second, {options.seconds:g} s")
    first = 0.0
    for name in CONTENDERS:
        run = Run.objects.create(command="benchmark", identity="0", status="running")
        establish("default", run.pk)
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "benchmarks.watchers_site:application", "--port", str(port)]
        server = subprocess.Popen([*command, "--log-level", "warning"])
        try:
            received, cpu = asyncio.run(_watched(options, server.pid, port, f"/{CONTENDERS.index(name)}/{run.pk}", run))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        microseconds = cpu / max(received, 1) * 1e6
        first = first or microseconds
        print(
            f"{name:<20}{received / options.seconds:>9,.0f} events/s {cpu:>7.2f} s CPU of the server "
            f"{microseconds:>7.0f} µs an event   ×{microseconds / first:.1f}"
        )


async def _watched(options: argparse.Namespace, pid: int, port: int, path: str, run: Any) -> tuple[int, float]:
    """How many events all clients got in the time, and how many seconds of CPU the server took for that."""
    while True:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        await asyncio.sleep(0.05)
    received = 0

    async def client() -> None:
        nonlocal received
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        try:
            while part := await reader.read(1 << 20):
                received += part.count(b"\ndata: ")
        finally:
            writer.transport.abort()

    ended = threading.Event()
    writing = threading.Thread(target=_write, args=(run, options.lines, ended))
    clients = [asyncio.create_task(client()) for _ in range(options.clients)]
    await asyncio.sleep(2)
    writing.start()
    await asyncio.sleep(2)  # all of them are served by now
    before, cpu = received, _cpu_seconds(pid)
    await asyncio.sleep(options.seconds)
    figures = received - before, _cpu_seconds(pid) - cpu
    ended.set()
    writing.join()
    for one in clients:
        one.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    return figures


def _write(run: Any, lines: int, ended: threading.Event) -> None:
    from django.db import connection
    from django.utils import timezone

    from async_commander.models import Run, RunLog

    number, next_at = 0, time.monotonic()
    while not ended.is_set():
        number += (count := lines // BATCHES_PER_SECOND)
        RunLog.objects.bulk_create(
            RunLog(run=run, at=timezone.now(), level=20, logger="benchmark", message=f"line {n}")
            for n in range(number - count, number)
        )
        Run.objects.filter(pk=run.pk).update(taken=number, done=number)
        next_at += 1 / BATCHES_PER_SECOND
        ended.wait(max(0.0, next_at - time.monotonic()))
    connection.close()


def _cpu_seconds(pid: int) -> float:
    """Of one process, in user and system mode, by Linux's own count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def asked_by_each(run_id: int) -> AsyncIterator[Any]:
    """What a careful view does that looks for its own client only: no connection stays with a client that waits.

    With one for each client a server of PostgreSQL's has none left for others.
    """
    from asgiref.sync import sync_to_async
    from django.db import connections

    import async_commander as ac

    def look(place: str | None) -> list[Any]:
        try:
            return ac.run_events(run_id, place)
        finally:
            connections.close_all()

    place = None
    while True:
        async with _looks_at_once:
            events = await sync_to_async(look)(place)
        for event in events:
            yield event
            place = event.id
        await asyncio.sleep(1)


_looks_at_once = asyncio.Semaphore(10)


if __name__ == "__main__":
    main()
