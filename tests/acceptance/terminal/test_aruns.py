"""`manage.py aruns`: the table and the page, on either database."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from async_commander.history.lease import establish
from async_commander.history.ownership import this_host
from async_commander.models import Lease, Run, RunErrorKind, RunItem, RunLog

pytestmark = pytest.mark.django_db


def aruns(*args: object, **options: Any) -> str:
    out = io.StringIO()
    call_command("aruns", *map(str, args), stdout=out, **options)
    return out.getvalue()


def run(command: str = "scrapers_fetch", status: str = "partial", **more: Any) -> Run:
    started = timezone.now() - timedelta(seconds=100)
    words: dict[str, Any] = {"started": started, "finished": started + timedelta(seconds=10), **more}
    return Run.objects.create(command=command, status=status, **words)


@pytest.fixture
def partial() -> Run:
    one = run(taken=200, done=197, dead=3, total=200, parameters={"domain": "example.org"}, user="ann", host="web1")
    RunErrorKind.objects.create(run=one, kind="ValueError", count=1200, example="no \x1b[31mtitle\n[bold]", item="1")
    RunErrorKind.objects.create(run=one, kind="TimeoutError", count=3, example="nothing came", item="2")
    for label, reason, attempts in [("https://e.org/\x1b]0;x\x07a", "permanent", 1), ("b", "exhausted", 3)]:
        RunItem.objects.create(
            run=one,
            key=uuid4(),
            label=label,
            state="dead",
            reason=reason,
            error_kind="ValueError",
            error="no title",
            attempts=attempts,
        )
    RunItem.objects.create(run=one, key=uuid4(), label="fine", state="done")
    RunLog.objects.create(run=one, at=one.started, level=30, logger="x", message="slow \x1b[2Jserver")
    return one


def test_without_runs_it_says_so() -> None:
    assert aruns() == "No runs.\n"


def test_runs_are_listed_newest_first(partial: Run) -> None:
    newer = run("greet", "succeeded")
    head, first, second = aruns().splitlines()
    assert head.split() == ["run", "command", "status", "started", "took", "items", "failed", "rate"]
    assert re.match(rf" *{newer.pk}  greet           succeeded  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  10 s", first)
    assert re.match(rf" *{partial.pk}  scrapers_fetch  partial    .*10 s +200 +3 +20/s", second)


def test_the_list_can_be_narrowed(partial: Run) -> None:
    newer = [run("greet", "succeeded") for _ in range(3)]
    assert [one["run"] for one in json.loads(aruns(json=True))] == [*(one.pk for one in newer[::-1]), partial.pk]
    assert [one["run"] for one in json.loads(aruns("list", "--command", "scrapers_fetch", "--json"))] == [partial.pk]
    assert [one["run"] for one in json.loads(aruns(status="succeeded", limit=1, json=True))] == [newer[-1].pk]


def test_a_run_that_misses_its_heartbeats_is_not_shown_as_alive() -> None:
    past = timezone.now() - timedelta(seconds=50)
    silent = run(status="running", finished=None, heartbeat=past, expires=past + timedelta(seconds=30))
    alive = run(
        status="running", finished=None, heartbeat=timezone.now(), expires=timezone.now() + timedelta(seconds=30)
    )
    for one in (silent, alive):  # both belong to a process that exists: this one
        establish("default", one.pk)
    assert "no sign of life" in aruns()
    assert "no sign of life since" in aruns("show", silent.pk)
    assert "no sign of life" not in aruns("show", alive.pk)
    assert re.search(r"finished +not yet, after 1:\d\d min", aruns("show", alive.pk))


def test_a_run_whose_process_is_gone_is_told_as_crashed() -> None:
    orphan = run(status="running", finished=None, heartbeat=timezone.now())
    Lease.objects.create(name=f"run:{orphan.pk}", host=this_host(), boot_id="an earlier boot", pid=1, epoch=1)
    assert re.search(rf" *{orphan.pk} +\S+ +crashed", aruns())
    orphan.refresh_from_db()
    assert orphan.status == "crashed"


def test_one_run_is_shown_in_full(partial: Run) -> None:
    page = aruns("show", partial.pk)
    for part in (
        f"Run {partial.pk}  scrapers_fetch  partial\n",
        "by ann on web1 (call)",
        "200 items: 197 done, 3 failed\n",
        "arguments  domain=example.org\n",
        "Errors\n  1,200  ValueError    no title [bold]\n      3  TimeoutError  nothing came\n",
        "  https://e.org/a  permanent  ValueError no title\n",
        "  b                exhausted  ValueError no title (3 attempts)\n",
        "WARNING slow server\n",
    ):
        assert part in page
    assert "fine" not in page
    assert "\x1b" not in page


def test_without_an_id_the_newest_run_is_shown(partial: Run) -> None:
    assert f"Run {partial.pk} " in aruns("show")


def test_output_and_traceback_are_shown_at_verbosity_2() -> None:
    failed = run("greet", "failed", error="ValueError: no", output="Hello\n", traceback="Traceback:\n  File x\x1b[0m\n")
    short, full = aruns("show", failed.pk), aruns("show", failed.pk, verbosity=2)
    assert "ValueError: no" in short
    assert "Traceback" not in short
    assert "Output\n  Hello\n" in full
    assert "Traceback\n  Traceback:\n    File x\n" in full


def test_long_lists_are_cut_and_say_so(partial: Run) -> None:
    for number in range(15):
        RunItem.objects.create(run=partial, key=uuid4(), label=f"item{number}", state="dead")
    Run.objects.update(dead=17)
    assert "Failed items, the first 10 of 17" in aruns("show")
    assert "Failed items\n" in aruns("show", verbosity=2)


def test_the_page_is_there_for_programs(partial: Run) -> None:
    document = json.loads(aruns("show", partial.pk, json=True))
    assert (document["run"], document["status"], document["duration"]) == (partial.pk, "partial", 10)
    assert document["counts"] == {"taken": 200, "done": 197, "skipped": 0, "dead": 3, "retry": 0, "claimed": 0}
    assert [kind["kind"] for kind in document["errors"]] == ["ValueError", "TimeoutError"]
    assert [one["reason"] for one in document["failed"]] == ["permanent", "exhausted"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("show 99999", "There is no run 99999."),
        ("show last", "'last' is no whole number"),
        ("7", "invalid choice: '7'"),
        ("list 7", "To see one run: aruns show 7"),
        ("--database nope", "There is no database 'nope'"),
        ("--status done", "invalid choice: 'done'"),
    ],
)
def test_a_mistake_is_named(line: str, said: str) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        aruns(*line.split())
