"""python -m benchmarks.admin: what the admin's pages ask of a database with ten million rows in its ledger.

Half of the rows are of one run, the others of a thousand. For each page: the queries, and the time that the database
took for all of them, the best of three.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import redirect_stdout

from .databases import measured_in_a_process

RUNS = 1_000
TIMES = 3
INDEXES = ("ac_item_once_per_run", "ac_item_state")
NUMBERS = {
    "postgresql": "generate_series(0, {last}) AS s(n)",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {last}) SELECT n FROM s) AS s",
}
KEYS = {"postgresql": "md5(n::text || ':' || {run})::uuid", "sqlite": "printf('%032x', n)"}
"""SQLite, which keeps its indexes while it is filled, gets them in order."""


def main() -> None:
    """Fills one database, and prints a line for each page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin", description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the ledger")
    options = parser.parse_args()
    if "BENCHMARK_DATABASE" in os.environ:
        _measure(options.rows)
        return
    measured_in_a_process("admin", options.database, "benchmarks.admin_settings")


def _measure(rows: int) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    with redirect_stdout(sys.stderr):
        call_command("migrate", run_syncdb=True, verbosity=0)
    began = time.perf_counter()
    large, small, item = _fill(rows)
    print(f"{rows:,} rows in {time.perf_counter() - began:.0f} s")

    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    base = "/admin/async_commander/"
    for name, page in {
        "the runs": "run/",
        "the runs of one command": "run/?command__exact=command_3",
        "the runs that failed": "run/?status__exact=failed",
        "a text that no run has": "run/?q=nothing",
        "the large run": f"run/{large}/change/",
        "an old run": f"run/{small}/change/",
        "what is new on a page": f"run/{large}/live/?cursor=1.0",
        "a command": "run/commands/command_3/",
        "all items": "runitem/",
        "the items of the large run": f"runitem/?run__id__exact={large}",
        "... its dead items": f"runitem/?run__id__exact={large}&state__exact=dead",
        "... page 40": f"runitem/?run__id__exact={large}&p=40",
        "the items of an old run": f"runitem/?run__id__exact={small}",
        "dead items of all runs": "runitem/?state__exact=dead",
        "one item": f"runitem/{item}/change/",
        "the log of the large run": f"runlog/?run__id__exact={large}",
    }.items():
        found = []
        for _ in range(TIMES):
            with CaptureQueriesContext(connection) as asked:
                answer = client.get(base + page)
            assert answer.status_code == 200, (page, answer.status_code)
            found.append((sum(float(query["time"]) for query in asked) * 1000, len(asked)))
        milliseconds, queries = min(found)
        print(f"{name:<28} {queries:>3} queries {milliseconds:>8.0f} ms")


def _fill(rows: int) -> tuple[int, int, int]:
    """The numbers of the large run, of an old one, and of an item."""
    from datetime import timedelta

    from django.db import connection
    from django.utils import timezone

    from async_commander.models import Run, RunBucket, RunErrorKind, RunItem, RunLog

    now, each = timezone.now(), rows // 2 // RUNS
    runs = Run.objects.bulk_create(
        Run(
            command=f"command_{number % 7}", status="succeeded" if number % 50 else "failed", identity=f"{number:064}",
            started=now - timedelta(hours=RUNS - number), finished=now - timedelta(hours=RUNS - number - 1),
            taken=each, done=each, user=("ada", "grace", "")[number % 3], parameters={"number": number},
        )
        for number in range(RUNS)
    )  # fmt: skip
    large = Run.objects.create(
        command="command_3",
        status="partial",
        taken=rows // 2,
        done=rows // 2,
        finished=now,
        started=now - timedelta(hours=2),
    )
    item = RunItem._meta.db_table
    large_at_once = connection.vendor == "postgresql"
    constraints = [one for one in RunItem._meta.constraints if one.name in INDEXES and large_at_once]
    indexes = RunItem._meta.indexes if large_at_once else []
    with connection.schema_editor() as editor:
        for constraint in constraints:
            editor.remove_constraint(RunItem, constraint)
        for index in indexes:
            editor.remove_index(RunItem, index)
    numbers, key = NUMBERS[connection.vendor], KEYS[connection.vendor]
    state = "CASE WHEN n % 100 = 0 THEN 'dead' ELSE 'done' END"
    columns = "run_id, key, label, state, attempts, crashes, reason, error_kind, error"
    columns += ", download_ms, parse_ms, save_ms, by_follow, shard"
    fixed = f"'https://example.org/' || n, {state}, 1, 0, '', '', '', n % 900, n % 50, n % 9"
    no = "false" if connection.vendor == "postgresql" else "0"
    with connection.cursor() as cursor:
        spread = f"{runs[0].pk} + n / {each}"
        for run, last in ((spread, each * RUNS - 1), (str(large.pk), rows // 2 - 1)):
            values = f"SELECT {run}, {key.format(run=run)}, {fixed}, {no}, 0 FROM {numbers.format(last=last)}"
            cursor.execute(f"INSERT INTO {item} ({columns}) {values}")
    with connection.schema_editor() as editor:
        for constraint in constraints:
            editor.add_constraint(RunItem, constraint)
        for index in indexes:
            editor.add_index(RunItem, index)
    RunBucket.objects.bulk_create(
        RunBucket(
            run=large, at=large.started + timedelta(seconds=10 * slot), stage=stage, count=700, errors=1, total_ms=9,
            histogram=[0, 0, 100, 300, 200, 100],
        )
        for slot in range(720) for stage in ("download", "parse", "item")
    )  # fmt: skip
    RunErrorKind.objects.create(run=large, kind="ValueError", count=50_000, example="no price")
    RunLog.objects.bulk_create(
        (RunLog(run=large, at=now, level=20, logger="shop", message=f"line {number}") for number in range(100_000)),
        batch_size=5_000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return large.pk, runs[5].pk, large.items.order_by("key").values_list("pk", flat=True)[0]


if __name__ == "__main__":
    main()
