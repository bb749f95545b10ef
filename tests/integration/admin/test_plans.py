"""No page of the admin reads the ledger from end to end: each statement's plan is looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from async_commander.models import ObjectLog, Run, RunBucket, RunItem, RunLog

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor not in ("sqlite", "postgresql"), reason="their plans are read here"),
]

RUNS, ITEMS = 12, 60
LARGE = ("async_commander_runitem", "async_commander_runlog", "async_commander_objectlog")
MOST = {"list": 12, "rows": 12, "page": 26, "item": 14, "live": 22, "command": 14}
"""Queries of a page, at most; two of them are the session and the user."""


@pytest.fixture
def filled() -> Run:
    kind, now = ContentType.objects.get_for_model(User), timezone.now()
    counts = {"taken": ITEMS, "done": ITEMS - 3, "dead": 3}
    runs = [Run.objects.create(command=f"c{number % 4}", status="partial", **counts) for number in range(RUNS)]
    RunItem.objects.bulk_create(
        RunItem(run=run, key=UUID(int=run.pk * 10_000 + n), label=f"item {n}", state="dead" if n < 3 else "done")
        for run in runs for n in range(ITEMS)
    )  # fmt: skip
    RunLog.objects.bulk_create(
        RunLog(run=run, at=now, level=20 + 10 * (n % 3), logger="x", message="text", item_key=UUID(int=n))
        for run in runs for n in range(ITEMS)
    )  # fmt: skip
    ObjectLog.objects.bulk_create(
        ObjectLog(run=run, content_type=kind, object_id=str(n), action="created") for run in runs for n in range(ITEMS)
    )
    run = runs[RUNS // 2]
    for slot in range(20):
        RunBucket.objects.create(run=run, at=run.started + timedelta(seconds=slot * 10), stage="item", count=3)
    return run


@pytest.fixture
def root(filled: Run) -> Client:
    made = Client()
    made.force_login(User.objects.create_superuser("root", password="root"))
    made.get("/admin/async_commander/run/")  # what is remembered once
    return made


def reads_all(sql: str) -> Iterator[str]:
    """The lines of a statement's plan that read one of the large tables from end to end.

    In order of its key and bounded, a table is read only as far as the page is long; and a table that is searched from
    a key on is bounded by that.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {sql}")
            yield from (line for (line,) in cursor.fetchall() if re.search(f"Seq Scan on ({'|'.join(LARGE)})", line))
            return
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        plan = [row[3] for row in cursor.fetchall()]
    in_order = "LIMIT" in sql and not any("USE TEMP B-TREE" in line for line in plan)
    yield from (line for line in plan if re.search(f"^SCAN ({'|'.join(LARGE)})(?! USING)", line) and not in_order)


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("list", "run/"),
        ("list", "run/?status__exact=partial"),
        ("list", "run/?command__exact=c1"),
        ("list", "run/?user__exact=ada"),
        ("list", "run/?q=nothing"),
        ("page", "run/{run}/change/"),
        ("page", "run/{run}/change/?level=30"),
        ("live", "run/{run}/live/?cursor=1.0"),
        ("command", "run/commands/c1/"),
        ("rows", "runitem/"),
        ("rows", "runitem/?run__id__exact={run}"),
        ("rows", "runitem/?run__id__exact={run}&p=2"),
        ("rows", "runitem/?run__id__exact={run}&state__exact=dead"),
        ("rows", "runitem/?run__id__exact={run}&error_kind=ValueError"),
        ("rows", "runitem/?state__exact=dead"),
        ("rows", "runitem/?q=item"),
        ("item", "runitem/{item}/change/"),
        ("rows", "runlog/"),
        ("rows", "runlog/?run__id__exact={run}&from_level=30"),
        ("rows", "runlog/?q=text"),
        ("rows", "objectlog/"),
        ("rows", "objectlog/?run__id__exact={run}&action__exact=created"),
    ],
)
def test_no_page_reads_a_large_table_from_end_to_end(
    filled: Run, root: Client, kind: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_commander.admin.pages.SEARCHED", 100)
    item = filled.items.order_by("pk")[0].pk
    with CaptureQueriesContext(connection) as asked:
        answer = root.get(f"/admin/async_commander/{page.format(run=filled.pk, item=item)}")
    assert answer.status_code == 200
    sent = [query["sql"] for query in asked.captured_queries]
    assert len(sent) <= MOST[kind], "\n".join(sent)
    found = {
        sql: list(reads_all(sql)) for sql in sent if sql.startswith("SELECT") and any(name in sql for name in LARGE)
    }
    assert not [(sql, lines) for sql, lines in found.items() if lines]
    counts = [sql for sql in sent if "COUNT(" in sql and any(name in sql for name in LARGE)]
    assert all("LIMIT" in sql for sql in counts), counts


def test_a_plan_that_reads_all_is_noticed(filled: Run) -> None:
    for sql in ("SELECT count(*) FROM async_commander_runitem WHERE label = 'x'",):
        assert list(reads_all(sql))
