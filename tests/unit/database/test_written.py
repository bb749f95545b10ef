"""Which table a statement writes to, and how."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from async_commander.database.written import Written, counted_as_upserts, table_of, writing


def counted(*statements: str, rowcount: int = 2, vendor: str = "postgresql", many: bool = False) -> dict[Any, int]:
    written, connection = Written(), SimpleNamespace(vendor=vendor, connection=None)
    for sql in statements:
        cursor = SimpleNamespace(rowcount=rowcount, db=connection)
        written.counted(lambda *_: None, sql, None, many, {"cursor": cursor, "connection": connection})
    return dict(written.counts)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ('INSERT INTO "shop_page" ("url") VALUES (%s)', ("shop_page", "created")),
        ('INSERT INTO "shop_page" ("url") SELECT * FROM UNNEST(%s) RETURNING "id"', ("shop_page", "created")),
        ("insert into shop_page (url) values ('UPDATE x')", ("shop_page", "created")),
        ("INSERT OR IGNORE INTO `shop_page` VALUES (1)", ("shop_page", "created")),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING", ("t", "created")),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a)\nDO UPDATE SET a = EXCLUDED.a", ("t", "upserted")),
        ("INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = 2", ("t", "upserted")),
        ("INSERT OR REPLACE INTO t VALUES (1)", ("t", "upserted")),
        ("REPLACE INTO t VALUES (1)", ("t", "upserted")),
        ("MERGE INTO t USING s ON (true) WHEN MATCHED THEN DELETE", ("t", "upserted")),
        ("  -- a note\n /* and another */ UPDATE ONLY public.t SET a = 1", ("t", "updated")),
        ('UPDATE "odd name" SET a = 1', ("odd name", "updated")),
        ("DELETE FROM t WHERE id IN (SELECT id FROM s)", ("t", "deleted")),
        ("WITH old AS (DELETE FROM s RETURNING *) INSERT INTO t SELECT * FROM old", ("t", "created")),
        ("WITH x AS (SELECT ')' FROM s) UPDATE t SET a = 1", ("t", "updated")),
        ('WITH x AS (SELECT E\'\\\')\' /* ) */ FROM "(") INSERT INTO "odd name" SELECT 1', ("odd name", "created")),
        ("COPY t FROM '/a.csv'", ("t", "created")),
        ("COPY shop.\"t\" (a, b) FROM PROGRAM 'cat'", ("t", "created")),
    ],
)
def test_statements_that_write(sql: str, expected: tuple[str, str]) -> None:
    assert list(counted(sql)) == [expected]


@pytest.mark.parametrize(
    "sql", ["WITH x AS (SELECT 1) REPLACE INTO [t] SELECT 1", "WITH [update (] AS (SELECT 1) DELETE FROM `t`"]
)
def test_a_with_on_sqlite(sql: str) -> None:
    found = writing(sql, "sqlite")
    assert found is not None
    assert table_of(found) == "t"


def test_a_deep_with_is_read_once() -> None:
    began = time.perf_counter()
    assert writing(f"WITH x AS {'(' * 50_000}{')' * 50_000} INSERT INTO t SELECT 1") is not None
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "WITH x AS (INSERT INTO s VALUES (1)) SELECT * FROM x",
        "CREATE TABLE t (a int)",
        "PRAGMA x",
        "",
        "COPY t TO '/a.csv'",
        "COPY (SELECT 1 FROM t) TO STDOUT",
    ],
)
def test_statements_that_do_not(sql: str) -> None:
    assert counted(sql) == {}


def test_mysql_counts_a_row_that_was_overwritten_twice() -> None:
    sql = "INSERT INTO t (a, b) VALUES (%s, LOWER('(')), (%s, COALESCE((%s), 1)) ON DUPLICATE KEY UPDATE a = VALUES(a)"
    assert counted(sql, rowcount=4, vendor="mysql") == {("t", "upserted"): 2}


def test_a_driver_s_count_is_the_rule() -> None:
    assert counted("INSERT INTO t (a) VALUES (%s)", rowcount=7, many=True) == {("t", "created"): 7}
    assert counted("DELETE FROM t", rowcount=0) == {}
    assert counted("TRUNCATE t", rowcount=-1) == {}


def test_what_a_savepoint_takes_back_is_not_counted() -> None:
    statements = (
        "DELETE FROM t",
        'SAVEPOINT "a"',
        "DELETE FROM t",
        'SAVEPOINT "b"',
        "UPDATE t SET a = 1",
        'RELEASE SAVEPOINT "b"',
        'ROLLBACK TO SAVEPOINT "a"',
        "UPDATE t SET a = 1",
    )
    assert counted(*statements) == {("t", "deleted"): 2, ("t", "updated"): 2}


def test_an_upsert_may_be_two_statements() -> None:
    with counted_as_upserts():
        assert counted("UPDATE t SET a = 1", "INSERT INTO t VALUES (1)") == {("t", "upserted"): 4}
