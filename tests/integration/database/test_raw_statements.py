"""A dry run of statements that were written by hand."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from async_commander.database.dry_runs import rehearsed
from async_commander.database.outage import EndedByItself
from tests.testapp.models import Author, Tag

pytestmark = pytest.mark.django_db(transaction=True)
INSERT = "INSERT INTO testapp_tag (name) VALUES"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="where several statements are sent in one go")
@pytest.mark.parametrize(
    "sql",
    [
        rf"{INSERT} (E'a\'b;'); COMMIT; BEGIN; SELECT ''",
        f"{INSERT} ('a'); /* it's */ COMMIT; SELECT 'x'",
        f"{INSERT} ('a'); SELECT 1 AS \"it's\"; COMMIT; SELECT 1 AS \"it's\"",
        "/* a /* b */ c */ COMMIT",
        b"COMMIT",
    ],
)
def test_a_commit_cannot_hide(sql: Any) -> None:
    with pytest.raises(EndedByItself), rehearsed("default"), connection.cursor() as cursor:
        cursor.execute(f"{INSERT} ('first')")
        cursor.execute(sql)
    assert not Tag.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="where several statements are sent in one go")
def test_what_is_quoted_is_no_commit() -> None:
    with rehearsed("default"), connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN NULL; END $$; {INSERT} ('; COMMIT'), (E'\\'; COMMIT') -- ; COMMIT")
    assert not Tag.objects.exists()


@pytest.fixture
def three() -> list[Tag]:
    return [Tag.objects.create(name=name) for name in "abc"]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("read", ["all", "one", "none"])
@pytest.mark.parametrize(
    ("sql", "would"),
    [
        ("UPDATE testapp_tag SET name = name || 'x' RETURNING id", {"updated": 3}),
        ("UPDATE testapp_tag SET name = 'x' WHERE name = 'x' RETURNING id", {}),
        ("DELETE FROM testapp_tag WHERE name < 'c' RETURNING id", {"deleted": 2}),
        (f"{INSERT} ('a'), ('b') ON CONFLICT DO NOTHING RETURNING id", {}),
        (f"{INSERT} ('a'), ('d'), ('e') ON CONFLICT DO NOTHING RETURNING id", {"created": 2}),
        ("WITH x AS (SELECT 'd' AS d) INSERT INTO testapp_tag (name) SELECT d FROM x RETURNING id", {"created": 1}),
        ("WITH x AS (SELECT 'a' AS d) DELETE FROM testapp_tag WHERE name IN (SELECT d FROM x)", {"deleted": 1}),
    ],
)
def test_rows_that_are_returned(sql: str, would: dict[str, int], read: str) -> None:
    with rehearsed("default") as rehearsal:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            if cursor.description is not None and read != "none":
                cursor.fetchall() if read == "all" else cursor.fetchone()
        Author.objects.create(name="another")
    assert rehearsal.would_write().get("testapp.Tag", {}) == would
    assert rehearsal.would_write()["testapp.Author"] == {"created": 1}


def test_rows_that_are_read_while_others_are_written(three: list[Tag]) -> None:
    """One cursor is left open to the end, another one is used again before all was read."""
    with rehearsed("default") as rehearsal, transaction.atomic(), closing(connection.cursor()) as cursor:
        cursor.execute("UPDATE testapp_tag SET name = name || 'x' RETURNING id")
        cursor.fetchone()
        with connection.cursor() as other:
            other.execute("INSERT INTO testapp_author (name) VALUES ('d'), ('e')")
        cursor.execute("DELETE FROM testapp_tag WHERE name = 'ax' RETURNING id")
        cursor.execute(f"{INSERT} ('f'), ('g') RETURNING id")
    assert rehearsal.would_write() == {
        "testapp.Author": {"created": 2},
        "testapp.Tag": {"created": 2, "updated": len(three), "deleted": 1},
    }


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the syntax of SQLite")
@pytest.mark.usefixtures("three")
def test_rows_of_triggers_are_not_counted() -> None:
    with rehearsed("default") as rehearsal, connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TRIGGER more AFTER DELETE ON testapp_tag BEGIN"
            " INSERT INTO testapp_author (name) VALUES ('a' || OLD.id), ('b' || OLD.id); END"
        )
        cursor.execute("DELETE FROM testapp_tag RETURNING id").fetchall()
        cursor.execute("WITH x AS (SELECT 1) DELETE FROM testapp_author WHERE name LIKE 'a%%'", [])
    assert rehearsal.would_write() == {"testapp.Author": {"deleted": 3}, "testapp.Tag": {"deleted": 3}}


def test_references_of_a_with_are_checked() -> None:
    sql = "WITH x AS (SELECT 7 AS n) INSERT INTO testapp_book (title, author_id) SELECT 'a', n FROM x"
    with pytest.raises(IntegrityError), rehearsed("default"), connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's COPY")
def test_rows_that_the_server_copies(tmp_path: Path) -> None:
    with rehearsed("default") as rehearsal, connection.cursor() as cursor:
        cursor.execute("COPY testapp_tag (name) FROM PROGRAM 'printf \"a\\\\nb\\\\n\"'")
    assert rehearsal.would_write() == {"testapp.Tag": {"created": 2}}


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("closes", [True, False])
def test_what_was_written_before_the_connection_was_closed(closes: bool) -> None:
    with rehearsed("default") as rehearsal:
        cursor = connection.cursor()
        cursor.execute("UPDATE testapp_tag SET name = name || 'x' RETURNING id")
        if closes:
            cursor.fetchone()
            cursor.close()
        else:
            cursor.fetchall()
        connection.close()
        Author.objects.create(name="a")
        connection.close()
    assert rehearsal.would_write() == {"testapp.Author": {"created": 1}, "testapp.Tag": {"updated": 3}}


@pytest.mark.skipif(
    connection.vendor == "sqlite" and sys.version_info >= (3, 12), reason="Python's sqlite3 refuses them since 3.12"
)
def test_many_rows_that_are_returned_to_nobody() -> None:
    with rehearsed("default") as rehearsal, connection.cursor() as cursor:
        cursor.executemany(f"{INSERT} (%s) RETURNING id", [["a"], ["b"]])
    assert rehearsal.would_write() == {"testapp.Tag": {"created": 2}}
