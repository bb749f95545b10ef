"""Runs in requests: many at once, clients that leave at any moment, servers that are told to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from async_commander.models import Run
from tests.acceptance.servers import ServerProcess, events_in
from tests.faults.counts import LEVEL, chance, count
from tests.testapp.models import Effect

AT_ONCE = 20
LEAVE = 0.3
GRACE = 10.0
ENDLESS = "items=1000000&pause=0.05"
PING_MS = 50.0

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[ServerProcess] = []

    def begin(kind: str) -> ServerProcess:
        name = str(connection.settings_dict["NAME"])
        connection.close()
        environment = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "FAULTS_DATABASE": name}
        application = f"tests.acceptance.served.requests:{'wsgi' if kind == 'wsgi' else 'application'}"
        servers.append(ServerProcess(kind, application, environment=environment))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


def connections_of(server: ServerProcess) -> int:
    """To the database: on PostgreSQL as the server counts them, on SQLite the files that the process has open."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])
    links = []
    for one in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            links.append(str(one.readlink()))
    return links.count(str(connection.settings_dict["NAME"]))


async def pings(server: ServerProcess, ended: asyncio.Event) -> list[float]:
    """How long each answer took, in milliseconds."""
    took = []
    while not ended.is_set():
        began = time.perf_counter()
        await server.get("/ping")
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    return sorted(took)


def p99(took: list[float]) -> float:
    return took[int(0.99 * len(took))] if took else 0.0


def assert_true_rows(allowed: set[str]) -> None:
    runs = list(Run.objects.all())
    assert {run.status for run in runs} <= allowed
    for run in runs:
        assert run.accounts
        assert run.claimed == 0
        assert run.done == Effect.objects.filter(key__startswith=f"{run.pk}-").count()
    assert sum(run.done for run in runs) == Effect.objects.count()


def settled(what: Any, seconds: float = 60) -> None:
    """Wait until this holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_clients_leave_at_any_moment_and_each_run_ends_in_order(serve: Any) -> None:
    randomly, server, requests = chance(), serve("uvicorn"), count("P18_REQUESTS")

    async def all_of_them() -> tuple[list[tuple[str, bytes]], list[float], list[float]]:
        room, idle, busy = asyncio.Semaphore(AT_ONCE), asyncio.Event(), asyncio.Event()
        await server.get("/run")  # all is imported
        alone = asyncio.create_task(pings(server, idle))
        await asyncio.sleep(2)
        idle.set()

        async def one(path: str, leave_after: float | None) -> tuple[str, bytes]:
            async with room:
                answer = await server.get(path, leave_after=leave_after)
            return ("left" if leave_after is not None else path, answer)

        beside = asyncio.create_task(pings(server, busy))
        asked = []
        for _ in range(requests):
            leave_after = randomly.uniform(0, LEAVE) if randomly.random() < 0.3 else None
            asked.append(one(randomly.choice(["/run", "/stream"]), leave_after))
        answers = await asyncio.gather(*asked)
        busy.set()
        return answers, await alone, await beside

    tasks = int(asyncio.run(server.get("/ping")).rpartition(b"\n")[2])
    before = connections_of(server)
    answers, alone, beside = asyncio.run(all_of_them())
    settled(lambda: not Run.objects.filter(status__in=["queued", "running"]).exists())
    assert_true_rows({"partial", "interrupted"})
    whole = [(path, answer) for path, answer in answers if path != "left"]
    for path, answer in whole:
        status = (
            events_in(answer)[-1]["status"] if path == "/stream" else answer.partition(b'"status": "')[2][:7].decode()
        )
        assert status == "partial", answer
    assert Run.objects.filter(status="partial").count() >= len(whole) + 1
    assert len(whole) < requests
    settled(lambda: connections_of(server) <= before)
    settled(lambda: int(asyncio.run(server.get("/ping")).rpartition(b"\n")[2]) <= tasks)
    print(f"ping p99: {p99(alone):.1f} ms alone, {p99(beside):.1f} ms beside {requests} requests ({len(beside)} pings)")
    if LEVEL != "pr":
        assert p99(beside) < PING_MS + 3 * p99(alone)


@pytest.mark.parametrize("kind", ["uvicorn", "granian"])
def test_a_server_that_is_told_to_stop_ends_within_grace_with_true_rows(serve: Any, kind: str) -> None:
    server = serve(kind)

    async def open_requests() -> list[bytes]:
        left = await server.get(f"/stream?{ENDLESS}", leave_at=b"event: progress")
        ended = events_in(left)[0]["run_id"]
        asked = [asyncio.create_task(server.get(f"{path}?{ENDLESS}")) for path in ["/stream", "/run"] * 5]
        while len(at_work := json.loads((await server.get("/at-work")).rpartition(b"\r\n")[2])) < len(asked):
            await asyncio.sleep(0.05)
        for run_id in [ended, at_work[0]] * 5:
            begun = asyncio.Event()
            asked.append(asyncio.create_task(server.get(f"/watch/{run_id}", begun=begun)))
            await begun.wait()
        took = await asyncio.to_thread(server.stop, signal.SIGTERM, 60)
        assert took < GRACE
        return await asyncio.gather(*asked)

    answers = asyncio.run(open_requests())
    assert_true_rows({"interrupted"})
    streams = [events_in(answer)[-1] for answer in answers[:10:2]]
    assert [(last["event"], last["status"]) for last in streams] == [("finished", "interrupted")] * 5
    assert all(b'"status": "interrupted"' in answer for answer in answers[1:10:2])
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers[10:])


def test_under_wsgi_a_run_is_waited_for_and_asked_about(serve: Any) -> None:
    server = serve("wsgi")
    answer = asyncio.run(server.get("/run-plainly"))
    assert b'"status": "partial"' in answer
    run = Run.objects.get()
    assert_true_rows({"partial"})
    assert b'"event": "finished"' in asyncio.run(server.get(f"/news/{run.pk}"))
    assert events_in(asyncio.run(server.get(f"/watch/{run.pk}")))[-1]["status"] == "partial"
    settled(lambda: connections_of(server) == 0)
