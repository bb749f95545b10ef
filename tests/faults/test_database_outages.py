"""P7: a database that is away is waited out. Nothing is lost, nothing doubled, nobody dead, no operator needed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

import async_commander as ac
from async_commander.models import RunItem
from tests.faults.counts import chance, count
from tests.faults.servers import Postgres, Proxy, absence, postgres_of_its_own, wait_until_ready
from tests.settings import postgres as settings_of_postgres
from tests.testapp.models import Effect

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(absence()), reason=absence() or "there is a server"),
]


@pytest.fixture(scope="module")
def server(django_db_setup: Any, django_db_blocker: Any) -> Iterator[Postgres]:
    """With the tables of the suite; the suite's own database is put aside."""
    pytest.importorskip("psycopg")
    with postgres_of_its_own() as server, django_db_blocker.unblock(), default_at(server.port):
        call_command("migrate", verbosity=0)
        yield server


@pytest.fixture
def proxy(server: Postgres, django_db_blocker: Any) -> Iterator[Proxy]:
    proxy = Proxy(server.port, chance())
    with django_db_blocker.unblock(), default_at(proxy.port):
        yield proxy
        server.execute("TRUNCATE testapp_effect, async_commander_run, async_commander_lease CASCADE")
    proxy.close()


@contextmanager
def default_at(port: int) -> Iterator[None]:
    """The connections of this process that are opened from here on go there."""
    settings = connections.settings
    before = settings["default"]
    ours = {**settings_of_postgres(), "HOST": "127.0.0.1", "PORT": str(port), "NAME": "postgres", "PASSWORD": ""}
    settings["default"] = {**before, "OPTIONS": {}, **ours}
    _forget_connection()
    try:
        yield
    finally:
        _forget_connection()
        settings["default"] = before


def _forget_connection() -> None:
    connections["default"].close()
    del connections["default"]


class Effects(ac.IterateDownloadCommand[int, int]):
    """Half of the effects by queued rows, half by ORM calls, until the faults are over."""

    limits = ac.Limits(threads=8, db_lanes=3, batch_size=20)
    retry = ac.Retry(attempts=2, initial=0.01, maximum=0.1)

    def __init__(self, over: Callable[[], bool], at_least: int = 100) -> None:
        super().__init__()
        self.over, self.at_least, self.given = over, at_least, 0

    async def iterate(self):
        number = 0
        while not self.over() or number < self.at_least:
            yield number
            number += 1
            self.given = max(self.given, number)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        if item % 2:
            await Effect.objects.acreate(key=f"{item}/a", run="x")
        self.db.add(Effect(key=f"{item}/b", run="x"))


def run_beside(faults: Callable[[], None], **limits: Any) -> None:
    """A run for as long as the faults last; then what the database says."""
    failure: list[BaseException] = []

    def inject() -> None:
        try:
            faults()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=inject)
    command = Effects(over=lambda: not thread.is_alive())
    thread.start()
    try:
        result = ac.run(command, **limits)
    finally:
        thread.join()
    if failure:
        raise failure[0]
    check(result, command.given)


def check(result: ac.RunResult, given: int) -> None:
    assert result.status is ac.RunStatus.SUCCEEDED
    assert (result.counts["done"], result.counts["dead"], result.counts["retry"]) == (given, 0, 0)
    expected = Counter(f"{n}/b" for n in range(given)) + Counter(f"{n}/a" for n in range(1, given, 2))
    found = Counter(Effect.objects.values_list("key", flat=True))
    assert (expected - found, found - expected) == (Counter(), Counter())
    attempts = Counter(RunItem.objects.filter(run_id=result.run_id).values_list("attempts", flat=True))
    assert attempts == {1: given}


def terminate(server: Postgres, random: Random) -> bool:
    """One connection of the run, whatever it does."""
    pids = server.execute(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return bool(pids) and bool(server.execute("SELECT pg_terminate_backend(%s)", random.choice(pids)[0]))


def test_connections_that_an_administrator_ends_cost_nothing(server: Postgres, proxy: Proxy) -> None:
    random, times = chance(), count("P7_TERMINATED")

    def faults() -> None:
        ended = 0
        while ended < times:
            time.sleep(random.uniform(0.0, 0.05))
            ended += terminate(server, random)

    run_beside(faults)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_restarted_is_waited_for(server: Postgres, proxy: Proxy, mode: str) -> None:
    random, times = chance(), count("P7_RESTARTS")

    def faults() -> None:
        for _ in range(times):
            time.sleep(random.uniform(0.2, 0.6))
            server.stop(mode)
            time.sleep(random.uniform(0.0, 2.0))
            server.start()
            wait_until_ready(server)

    run_beside(faults)


@pytest.mark.parametrize("more", [0, 1, 3])
def test_a_commit_whose_answer_is_lost_is_looked_up_though_the_next_connections_die_too(
    server: Postgres, proxy: Proxy, more: int
) -> None:
    proxy.connections_after_commit = more
    proxy.commit_share = 0.3
    times = count("P7_CUT_COMMITS")

    def faults() -> None:
        time.sleep(0.2)
        proxy.commits_to_cut = times
        end = time.monotonic() + 600
        while proxy.cut_commits < times:
            assert time.monotonic() < end, f"{proxy.cut_commits} of {times} commits were cut"
            time.sleep(0.01)

    began = time.monotonic()
    run_beside(faults)
    assert proxy.cut_commits == times
    print(
        f"P7: {proxy.cut_commits} commits and {proxy.cut_connections} connections cut, {time.monotonic() - began:.1f} s"
    )


def test_a_standby_that_is_promoted_after_a_while_is_waited_for(server: Postgres, proxy: Proxy) -> None:
    def faults() -> None:
        time.sleep(0.3)
        server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        server.execute("SELECT pg_reload_conf()")
        time.sleep(2)
        server.execute("ALTER SYSTEM RESET default_transaction_read_only")
        server.execute("SELECT pg_reload_conf()")
        time.sleep(0.2)

    run_beside(faults)


def test_statements_that_are_cancelled_cost_nothing(server: Postgres, proxy: Proxy) -> None:
    random, times = chance(), count("P7_TERMINATED")

    def faults() -> None:
        cancelled = 0
        while cancelled < times:
            time.sleep(random.uniform(0.0, 0.02))
            rows = server.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                "WHERE state = 'active' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            cancelled += len(rows)

    run_beside(faults)


def test_a_server_without_room_for_connections_is_waited_for(server: Postgres, proxy: Proxy) -> None:
    import psycopg

    def faults() -> None:
        time.sleep(0.2)
        others = []
        try:
            for _ in range(60):
                others.append(psycopg.connect(server.address))
        except psycopg.OperationalError:
            pass
        proxy.cut_all()
        time.sleep(1.5)
        for one in others:
            one.close()

    run_beside(faults)


def test_an_address_that_refuses_for_a_while_is_tried_again(server: Postgres, proxy: Proxy) -> None:
    def faults() -> None:
        time.sleep(0.2)
        proxy.refusing = True
        proxy.cut_all()
        time.sleep(1.5)
        proxy.refusing = False

    run_beside(faults)


def test_a_hook_of_the_run_as_a_whole_waits_for_a_connection(server: Postgres, proxy: Proxy) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> int:
            await Effect.objects.acreate(key="before", run="x")
            proxy.refusing = True
            proxy.cut_all()
            threading.Timer(1.0, proxy.accept_again).start()
            await Effect.objects.acreate(key="after", run="x")
            return await Effect.objects.acount()

    assert ac.run(Command()).value == 2
