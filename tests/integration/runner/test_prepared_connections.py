"""Each connection of a run is prepared: a schema, a role, a tenant. The run's own rows stay where they belong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django.test import override_settings

import async_commander as ac
from async_commander.models import RunLog
from tests.testapp.models import Tag

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(60)
ITEMS = [f"item {number}" for number in range(8)]


def execute(sql: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def tenant(transactional_db: None) -> Iterator[str]:
    """A schema with a table of tags of its own, and a role that may use nothing but that."""
    if connection.vendor != "postgresql":
        pytest.skip("needs schemas and roles")
    execute("DROP SCHEMA IF EXISTS tenant_a CASCADE")
    execute("CREATE SCHEMA tenant_a")
    execute("CREATE TABLE tenant_a.testapp_tag (LIKE public.testapp_tag INCLUDING ALL)")
    execute("DROP ROLE IF EXISTS ac_tenant_a")
    execute("CREATE ROLE ac_tenant_a")
    execute("GRANT USAGE ON SCHEMA tenant_a TO ac_tenant_a")
    execute("GRANT ALL ON tenant_a.testapp_tag TO ac_tenant_a")
    execute("ALTER TABLE tenant_a.testapp_tag ENABLE ROW LEVEL SECURITY")
    execute("CREATE POLICY mine ON tenant_a.testapp_tag USING (name NOT LIKE 'hidden%')")
    yield "tenant_a"
    execute("DROP SCHEMA tenant_a CASCADE")
    execute("DROP ROLE ac_tenant_a")


def names(schema: str) -> list[str]:
    return [row[0] for row in execute(f"SELECT name FROM {schema}.testapp_tag ORDER BY name")]


def use_schema(to_prepare: Any) -> None:
    with to_prepare.cursor() as cursor:
        cursor.execute("SET search_path TO tenant_a")


def use_role(to_prepare: Any) -> None:
    use_schema(to_prepare)
    with to_prepare.cursor() as cursor:
        cursor.execute("SET ROLE ac_tenant_a")


class Saves(ac.IterateDownloadCommand[str, str]):
    """In every way in which a hook meets a database."""

    provenance = True
    limits = ac.Limits(threads=3, db_lanes=2, batch_size=3)
    retry = ac.Retry(attempts=1, initial=0.001, maximum=0.01)

    def iterate(self):
        Tag.objects.get_or_create(name="iterate")
        yield from ITEMS

    def download(self, item: str) -> str:
        Tag.objects.get_or_create(name=f"download {item}")
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.log.info("%s", item)
        if item in ITEMS[:4]:
            await Tag.objects.acreate(name=f"call {item}")
        self.db.add(Tag(name=f"queue {item}"))

    async def cleanup(self) -> None:
        self.db.add(Tag(name="cleanup"))


class Prepared(Saves):
    def prepare_connection(self, connection: Any) -> None:
        use_schema(connection)


class PreparedByRole(Saves):
    def prepare_connection(self, connection: Any) -> None:
        use_role(connection)


EXPECTED = sorted(
    ["iterate", "cleanup"]
    + [f"download {item}" for item in ITEMS]
    + [f"call {item}" for item in ITEMS[:4]]
    + [f"queue {item}" for item in ITEMS]
)


def assert_in_tenant(result: ac.RunResult) -> None:
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, len(ITEMS))
    assert (names("tenant_a"), names("public")) == (EXPECTED, [])
    assert len(items_of(result)) == len(ITEMS)
    assert RunLog.objects.filter(run_id=result.run_id).count() >= len(ITEMS)
    told = dict(row_of(result).object_logs.values_list("object_id", "action"))
    assert told == dict.fromkeys((str(key) for (key,) in execute("SELECT id FROM tenant_a.testapp_tag")), "created")


@pytest.mark.parametrize("command", [Prepared, PreparedByRole])
def test_all_rows_of_a_run_go_where_its_connections_were_prepared_for(tenant: str, command: type[Saves]) -> None:
    assert_in_tenant(ac.run(command()))


def test_a_connection_that_was_lost_is_prepared_again(tenant: str) -> None:
    class Command(PreparedByRole):
        def download(self, item: str) -> str:
            with connections["default"].temporary_connection() as cursor:
                cursor.execute("RESET ROLE")
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )
            connections["default"].close()
            return super().download(item)

    connections["default"].close()
    assert_in_tenant(ac.run(Command()))


def test_the_setting_prepares_the_connections_of_commands_without_a_hook(tenant: str) -> None:
    with override_settings(ASYNC_COMMANDER={"PREPARE_CONNECTION": f"{__name__}.use_role"}):
        assert_in_tenant(ac.run(Saves()))


def test_a_setting_that_names_nothing_is_refused(transactional_db: None) -> None:
    with (
        override_settings(ASYNC_COMMANDER={"PREPARE_CONNECTION": "nowhere.at_all"}),
        pytest.raises(ac.InvalidCommand, match=r"PREPARE_CONNECTION.*nowhere"),
    ):
        ac.run(Saves())


def test_what_was_set_is_set_for_nobody_else_in_a_pool(tenant: str) -> None:
    pytest.importorskip("psycopg_pool")
    options = connections.settings["default"]["OPTIONS"]
    before = dict(options)
    connections["default"].close()
    del connections["default"]
    options["pool"] = {"min_size": 1, "max_size": 8}
    try:
        result = ac.run(PreparedByRole())
        pool = connections["default"].pool
        held = [pool.getconn() for _ in range(8)]
        seen = {
            one.execute("SELECT current_setting('search_path'), current_setting('role')").fetchone() for one in held
        }
        for one in held:
            pool.putconn(one)
        assert seen == {('"$user", public', "none")}
    finally:
        connections["default"].close()
        connections["default"].close_pool()
        options.clear()
        options.update(before)
        del connections["default"]
    assert_in_tenant(result)


def test_the_lanes_work_for_the_tenant_of_the_caller(tenant: str) -> None:
    settings = connections.settings
    before = settings["default"]
    connections["default"].close()
    del connections["default"]
    settings["default"] = {**before, "ENGINE": "tests.tenants"}
    try:
        connections["default"].set_schema("tenant_a")
        result = ac.run(Saves())
        assert connections["default"].schema_name == "tenant_a"
    finally:
        connections["default"].close()
        settings["default"] = before
        del connections["default"]
    assert_in_tenant(result)


def test_inside_of_a_test_the_callers_connection_is_prepared_and_set_back(db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("needs schemas")
    execute("CREATE SCHEMA tenant_a")
    execute("CREATE TABLE tenant_a.testapp_tag (LIKE public.testapp_tag INCLUDING ALL)")
    before = execute("SHOW search_path")
    assert_in_tenant(ac.run(Prepared()))
    assert execute("SHOW search_path") == before


def test_each_connection_of_a_run_is_prepared_on_its_thread(run: Any) -> None:
    seen: list[tuple[str, bool]] = []

    class Command(Saves):
        def prepare_connection(self, connection: Any) -> None:
            seen.append((connection.alias, connection.connection is not None))
            assert connections[connection.alias] is connection

    assert run(Command()).status is ac.RunStatus.SUCCEEDED
    assert set(seen) == {("default", True)}
    assert len(seen) >= 1


def test_a_hook_that_fails_ends_the_run_before_it_begins(run: Any) -> None:
    class Command(Saves):
        def prepare_connection(self, connection: Any) -> None:
            raise LookupError("no such tenant")

    with pytest.raises(ac.InvalidCommand, match=r"prepare_connection\(\) failed.*LookupError: no such tenant"):
        run(Command())
    assert not Tag.objects.exists()


def test_a_hook_that_is_a_coroutine_is_refused() -> None:
    class Command(Saves):
        async def prepare_connection(self, connection: Any) -> None: ...

    with pytest.raises(ac.InvalidCommand, match=r"prepare_connection\(\) is `async def`; allowed: `def`"):
        Command()
