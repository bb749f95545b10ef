"""What is too old leaves the history, and nothing that anybody needs."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings
from django.utils import timezone

import async_commander as ac
from async_commander.history import pruning
from async_commander.history.lease import lease_name
from async_commander.history.pruning import Before, Pruning
from async_commander.models import Lease, ObjectLog, Run, RunBucket, RunErrorKind, RunItem, RunLog, RunSlowest
from tests.integration.runner.ledger import end_without_a_word, give_lease, row_of
from tests.testapp.models import Effect, Tag

pytestmark = pytest.mark.timeout(120)


class Letters(ac.IterateDownloadCommand[str, str]):
    """Six letters; `b` and `d` fail, as long as `fails` says so."""

    number: int = 0

    limits = ac.Limits(threads=2, batch_size=2, max_failures=None)
    fails: ClassVar[str] = "bd"

    async def iterate(self):
        for letter in "abcdef":
            yield letter

    async def download(self, item: str) -> str:
        if item in self.fails:
            raise ValueError(item)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=f"{self.number}{payload}", run=str(self.record.pk)))


class Whole(Letters):
    fails = ""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ends of runs are kept, apart from those of other tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def aged(result: ac.RunResult, days: float, **columns: Any) -> Run:
    """The run, as if it had been so long ago."""
    ago = timezone.now() - timedelta(days=days)
    Run.objects.filter(pk=result.run_id).update(**{"started": ago, "heartbeat": ago, "finished": ago, **columns})
    RunLog.objects.filter(run_id=result.run_id).update(at=ago)
    return Run.objects.get(pk=result.run_id)


def prune(*words: str, **options: Any) -> dict[str, Any]:
    out = io.StringIO()
    call_command("aruns", "prune", "--yes", "--json", *words, stdout=out, stderr=io.StringIO(), **options)
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def states(run: Run) -> str:
    return "".join(sorted(state[0] for state in run.items.values_list("state", flat=True)))


def test_what_was_done_long_ago_has_no_rows_and_its_failed_items_are_tried_again_all_the_same(run: Any) -> None:
    old, young = aged(run(Letters, number=1), 31), aged(run(Letters, number=2), 29)
    RunLog.objects.create(run=old, at=old.started, level=20, logger="x", message="long ago")
    found = prune()
    assert (found["removed"]["RunItem"], "Run" in found["removed"]) == (4, False)
    old.refresh_from_db()
    assert (states(old), states(young), old.done, old.pruned is None) == ("dd", "dddddd", 4, False)
    assert not old.logs.exists()
    call_command("aruns", str(old.pk), stdout=(page := io.StringIO()))
    assert re.search("removed +the rows of items that are done, on ", page.getvalue())
    assert Run.objects.get(pk=young.pk).pruned is None

    Letters.fails = ""
    try:
        result = run(Letters, number=1, retry_failed=old.pk)
    finally:
        Letters.fails = "bd"
    assert (result.status, result.counts["done"], Run.objects.get(pk=old.pk).accounts) == ("succeeded", 6, True)
    assert Effect.objects.filter(run=str(old.pk)).count() == 6


def test_a_run_that_can_be_resumed_keeps_what_it_has_done_as_long_as_itself(run: Any) -> None:
    result = run(Letters)
    old = aged(result, 364, status="interrupted", source_ended=False)
    assert prune()["removed"] == {"RunLog": 2}
    assert (states(old), old.items.filter(state="done").count()) == ("dddddd", 4)
    aged(result, 366)
    assert prune()["removed"] == {"RunItem": 6, "Run": 1, "RunBucket": 3, "RunErrorKind": 1, "RunSlowest": 1}
    assert not Run.objects.exists()
    assert not Lease.objects.exists()


def test_old_runs_go_with_all_that_hangs_on_them(run: Any) -> None:
    result = run(Letters)
    old, other = aged(result, 400), run(Whole)
    ObjectLog.objects.create(
        run=old, content_type=ContentType.objects.get_for_model(Tag), object_id="1", action="created"
    )
    Run.objects.filter(pk=other.run_id).update(parent=old)
    assert prune("--dry-run")["removed"]["Run"] == 1
    assert prune()["removed"]["Run"] == 1
    assert list(Run.objects.values_list("pk", "parent")) == [(other.run_id, None)]
    assert set(RunItem.objects.values_list("run", flat=True)) == {other.run_id}
    for model in (RunLog, RunBucket, RunErrorKind, RunSlowest, ObjectLog):
        assert not model._default_manager.filter(run_id=old.pk).exists()
    assert list(Lease.objects.values_list("name", flat=True)) == [lease_name(other.run_id)]  # type: ignore[arg-type]


def test_what_others_look_for_is_kept_however_old(run: Any) -> None:
    class Once(Whole):
        run_once = True

    once = aged(run(Once), 900)
    first, last = aged(run(Whole, number=7), 900), aged(run(Whole, number=7), 800)
    cut, trial = aged(run(Whole, number=7, max_items=1), 700), aged(run(Whole, number=7, test=True), 700)
    found = prune()
    assert found["kept"] == {"run_once": 1, "the last success of their arguments": 1}
    assert set(Run.objects.values_list("pk", flat=True)) == {once.pk, last.pk}
    assert {first.pk, cut.pk, trial.pk}.isdisjoint(Run.objects.values_list("pk", flat=True))
    assert "is to run once" in run(Once).reason


def test_a_run_at_work_is_never_touched(run_on_lanes: Any) -> None:
    class Prunes(Whole):
        async def download(self, item: str) -> str:
            if item == "f":
                await anyio.sleep(0.05)  # others are done by then
                await anyio.to_thread.run_sync(self.prune)
            return item

        def prune(self) -> None:
            try:
                Run.objects.filter(pk=self.record.pk).update(started=timezone.now() - timedelta(days=900))
                RunLog.objects.create(run=self.record, at="2020-01-01T00:00Z", level=20, logger="x", message="old")
                type(self).found = prune("--keep-runs", "1", "--days", "1")  # type: ignore[attr-defined]
            finally:
                connections.close_all()

    old = aged(run_on_lanes(Letters), 400)
    result = run_on_lanes(Prunes)
    assert Prunes.found["removed"]["RunItem"] == 6  # type: ignore[attr-defined]
    assert not Run.objects.filter(pk=old.pk).exists()
    row = row_of(result)
    assert (row.status, row.done, row.logs.filter(message="old").count()) == ("succeeded", 6, 1)


def test_a_run_that_is_opened_again_at_that_moment_is_left_alone(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(Letters)
    old = aged(result, 400)
    remove = Pruning._remove

    def opened_first(self: Pruning, *work: Any) -> float:
        Run.objects.filter(pk=old.pk).update(status="running", expires=timezone.now() + timedelta(hours=1))
        give_lease(old.pk)
        return remove(self, *work)

    monkeypatch.setattr(Pruning, "_remove", opened_first)
    assert prune()["removed"] == {}
    assert (states(old), Run.objects.get(pk=old.pk).pruned) == ("dddddd", None)


def test_a_prune_that_ends_early_leaves_no_run_that_does_things_twice(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(Letters)
    old = aged(result, 400, status="interrupted", source_ended=False)
    monkeypatch.setattr(pruning, "FIRST_RANGE", 2)

    class Enough(Exception): ...

    def ends(_: Pruning) -> None:
        raise Enough

    before = timezone.now() - timedelta(days=30)
    with pytest.raises(Enough):
        Pruning("default", Before(before, before, before), progress=ends).carry_out()
    assert len(states(old)) == 4
    for options in ({"resume_run": old.pk}, {"retry_failed": old.pk}):
        with pytest.raises(ac.InvalidCommand, match=f"Run {old.pk} is being removed since .*: what it has done is not"):
            run(Letters, **options)
    assert run(Letters, resume=True).run_id != old.pk
    assert prune()["removed"]["Run"] == 1


def test_only_the_runs_of_one_command_are_meant(run: Any) -> None:
    letters, whole = aged(run(Letters), 400), aged(run(Whole, number=9), 40)
    assert prune("--command", Whole.__module__ + ".Whole")["removed"]["RunItem"] == 6
    assert (states(letters), states(whole)) == ("dddddd", "")


def test_the_settings_say_how_old_and_the_line_goes_first(run: Any) -> None:
    old = aged(run(Letters), 40)
    with override_settings(ASYNC_COMMANDER={"KEEP_DAYS": {"items": None, "logs": 50, "runs": None}}):
        assert prune()["removed"] == {}
        assert prune("--days", "39", "--dry-run")["removed"]["RunItem"] == 4
        assert prune("--before", (timezone.now() - timedelta(days=41)).date().isoformat())["removed"] == {}
        assert prune("--keep-runs", "39")["removed"]["Run"] == 1
    assert not RunItem.objects.filter(run_id=old.pk).exists()


def test_what_processes_have_left_that_are_gone_is_removed(run: Any, folder: Path) -> None:
    row = row_of(run(Whole))
    for name in ("cache:gone", "cache:held", "run:99999999"):
        Lease.objects.create(name=name, epoch=1)
    give = {"name": "cache:held"}
    held = Lease.objects.get(**give)
    end_without_a_word(row.pk)
    give_lease(row.pk)
    Lease.objects.filter(pk=held.pk).update(
        **Lease.objects.filter(name=lease_name(row.pk)).values("host", "boot_id", "pid", "process_start").get()
    )
    kept = folder / f"async_commander-{os.getuid()}"
    kept.mkdir(0o700)
    for name, days in (("old.json", 400), ("young.json", 300)):
        (kept / name).write_text("{}")
        at = (timezone.now() - timedelta(days=days)).timestamp()
        os.utime(kept / name, (at, at))
    assert prune()["removed"] == {"Lease": 2, "files": 1}
    assert set(Lease.objects.values_list("name", flat=True)) == {"cache:held", lease_name(row.pk)}
    assert [path.name for path in kept.iterdir()] == ["young.json"]


def test_a_range_that_takes_long_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [pruning._next_size(400, seconds) for seconds in (0.001, 0.04, 0.2, 1000)]
    assert sizes == [800, 400, 100, 1]


@pytest.mark.django_db
def test_many_ranges_of_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "FIRST_RANGE", 7)
    monkeypatch.setattr(pruning, "LARGEST_RANGE", 13)
    monkeypatch.setattr(pruning, "RUNS_AT_ONCE", 2)
    now = timezone.now()
    ages = [400, 40, 20, 500, 10, 45, 600, 5] * 3
    runs = [
        Run.objects.create(
            command="c",
            identity=str(number),
            status="partial",
            source_ended=True,
            taken=10,
            started=now - timedelta(days=days),
            finished=now - timedelta(days=days),
        )
        for number, days in enumerate(ages)
    ]
    states = ("dead", "done", "skipped") * 4
    for old in (True, False):  # as they come: no row of a run is older than the run
        some = [run for run, days in zip(runs, ages, strict=True) if (days >= 40) is old]
        RunItem.objects.bulk_create([RunItem(run=run, key=uuid4(), state=state) for state in states for run in some])
    dry, found = prune("--dry-run"), prune()
    assert dry["removed"] == found["removed"] == {"RunItem": 9 * 12 + 6 * 8, "Run": 9}
    expected = {run.pk: 4 if days >= 40 else 12 for run, days in zip(runs, ages, strict=True) if days < 400}
    assert {run: RunItem.objects.filter(run_id=run).count() for run in expected} == expected
    assert RunItem.objects.count() == sum(expected.values())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("prune", "from before .* cannot be asked without a terminal. Give --yes to agree."),
        ("prune --days 0", "'0': a number of days from 1 is needed"),
        ("prune --days 2 --before 2026-01-01", "--days and --before contradict each other"),
        ("prune --before yesterday", "'yesterday': a date, as 2026-01-31, is needed"),
        ("prune --status failed", "prune has no use for it: leave --status out"),
        ("prune 7", "To see one run: aruns show 7"),
        ("list --yes", "list has no use for it: leave --yes out"),
    ],
)
@pytest.mark.django_db
def test_a_mistake_is_named(line: str, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        call_command("aruns", *line.split(), stdout=io.StringIO(), stderr=io.StringIO())


def test_people_get_a_table(run: Any) -> None:
    aged(run(Letters), 400)
    out = io.StringIO()
    call_command("aruns", "prune", "--dry-run", stdout=out)
    assert out.getvalue().startswith("Would be removed:\n  6  items\n")
    call_command("aruns", "prune", "--yes", stdout=(out := io.StringIO()))
    assert out.getvalue().startswith("Removed in ")
    call_command("aruns", "prune", "--yes", stdout=(out := io.StringIO()))
    assert out.getvalue() == "Nothing is so old.\n"
