"""Which table a statement writes to, and how."""

from __future__ import annotations

from typing import Any

import pytest

from async_commander.database.written import Written, counted_as_upserts


class Database:
    vendor = "sqlite"


class Cursor:
    def __init__(self, rowcount: int, vendor: str) -> None:
        self.rowcount = rowcount
        self.db = Database()
        self.db.vendor = vendor


def counted(*statements: str, rowcount: int = 2, vendor: str = "postgresql", many: bool = False) -> dict[Any, int]:
    written = Written()
    for sql in statements:
        written.counted(lambda *_: None, sql, None, many, {"cursor": Cursor(rowcount, vendor), "connection": None})
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
    ],
)
@pytest.mark.parametrize("vendor", ["postgresql", "sqlite"])
def test_statements_that_write(sql: str, expected: tuple[str, str], vendor: str) -> None:
    assert list(counted(sql, vendor=vendor)) == [expected]


@pytest.mark.parametrize(
    "sql",
    ["SELECT 1", "WITH x AS (INSERT INTO s VALUES (1)) SELECT * FROM x", "CREATE TABLE t (a int)", "PRAGMA x", ""],
)
def test_statements_that_do_not(sql: str) -> None:
    assert counted(sql) == {}


@pytest.mark.parametrize(
    ("sql", "vendor", "rows"),
    [
        ("INSERT INTO t (a, b) VALUES (%s, %s), (%s, LOWER('(')), (%s, COALESCE((%s), 1)) RETURNING id", "sqlite", 3),
        ("UPDATE t SET a = 1 RETURNING id", "sqlite", 1),
        ("INSERT INTO t (a) VALUES (%s), (%s) ON DUPLICATE KEY UPDATE a = VALUES(a)", "mysql", 2),
    ],
)
def test_rows_that_the_driver_does_not_know(sql: str, vendor: str, rows: int) -> None:
    assert list(counted(sql, rowcount=0 if vendor == "sqlite" else 4, vendor=vendor).values()) == [rows]


def test_a_driver_s_count_is_the_rule() -> None:
    assert counted("INSERT INTO t (a) VALUES (%s)", rowcount=7, many=True, vendor="sqlite") == {("t", "created"): 7}
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
