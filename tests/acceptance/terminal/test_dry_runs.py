"""`--dry-run` as a person types it, and as a person ends it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any


def rows_of(manage: Any) -> tuple[int, list[Any]]:
    """How many rows were jotted down, and the run: its status, whether it is dry, and what it would have written."""
    with sqlite3.connect(manage.database) as database:
        (jotted,) = database.execute("SELECT COUNT(*) FROM django_content_type WHERE app_label = 'jot'").fetchone()
        (items,) = database.execute("SELECT COUNT(*) FROM async_commander_runitem").fetchone()
        runs = database.execute("SELECT status, dry_run, would FROM async_commander_run ORDER BY id").fetchall()
    database.close()
    return jotted + items, list(runs[-1]) if runs else []


def test_the_summary_says_what_would_have_been_written(manage: Any) -> None:
    ended = manage("arun jot --dry-run")
    assert ended.code == 0, ended.err
    told = [line.strip() for line in ended.err.splitlines()]
    assert any(line.endswith("dry run") for line in told)
    place = told.index("nothing was kept; it would")
    assert told[place + 1] == "contenttypes.ContentType  create 6  upsert 5"
    assert rows_of(manage) == (0, ["succeeded", 1, '{"contenttypes.ContentType": {"created": 6, "upserted": 5}}'])
    page = manage("aruns 1").out
    assert "Run 1  jot  succeeded (dry)" in page
    assert "contenttypes.ContentType  create 6  upsert 5" in page


def test_programs_get_the_same_figures(manage: Any) -> None:
    document = json.loads(manage("arun jot --until 2 --dry-run --json").out)
    would = {"contenttypes.ContentType": {"created": 3, "upserted": 2}}
    assert (document["dry_run"], document["would"], document["counts"]["done"]) == (True, would, 2)
    assert "dry_run" not in json.loads(manage("arun jot --until 2 --json").out)
    assert rows_of(manage)[0] == 5 + 2


def test_a_dry_run_that_is_interrupted_keeps_nothing(manage: Any) -> None:
    ended = manage.interrupted("arun jot --dry-run --grace 0.1", "stuck", STUCK="yes")
    assert ended.code == 130
    jotted, (status, dry, would) = rows_of(manage)
    assert (jotted, status, dry) == (0, "interrupted", 1)
    assert json.loads(would) == {"contenttypes.ContentType": {"created": 4, "upserted": 3}}
    assert "resume" not in ended.err
    assert "Run 1 is a dry run" in manage("arun jot --resume-run 1").err
    assert "A dry run keeps no ledger" in manage("arun jot --resume-run 1 --dry-run").err


def test_a_dry_run_that_is_killed_keeps_nothing(manage: Any) -> None:
    with manage.held("arun jot --dry-run", "stuck", STUCK="yes"):
        pass
    assert "crashed" in manage("aruns --command jot").out
    assert rows_of(manage)[0] == 0
    assert manage("arun jot --resume").code == 0
    assert rows_of(manage)[0] == 1 + 2 * 5 + 5, "a run of its own"


def test_a_dry_run_goes_on_with_nothing(manage: Any) -> None:
    ended = manage("arun jot --dry-run --resume")
    assert ended.code == 2
    assert "A dry run keeps no ledger" in ended.err
