"""A run that is cut into shards: each item once, in one ledger, whoever carries it and whoever is killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

import async_commander as ac
from async_commander.exceptions import InvalidCommand
from async_commander.models import HostShare, Run, RunItem, RunLog
from tests.testapp.models import Effect, Tag

from . import sharded

pytestmark = pytest.mark.usefixtures("transactional_db")


def effects() -> Counter[str]:
    return Counter(Effect.objects.values_list("key", flat=True))


def check_once(count: int) -> None:
    assert effects() == Counter(map(str, range(count)))


def check_accounts(run: Run) -> list[Run]:
    """Each shard's counts, and their sums, are those of the ledger."""
    shards = list(run.children.order_by("shard"))
    for row in [run, *shards]:
        items = RunItem.objects.filter(run=run)
        items = items if row.shard is None else items.filter(shard=row.shard)
        assert row.accounts
        assert row.done == items.filter(state="done").count()
        assert row.dead == items.filter(state="dead").count()
    for name in ("taken", "done", "skipped", "dead", "retry", "claimed"):
        assert getattr(run, name) == sum(getattr(row, name) for row in shards)
    return shards


def in_shards(cls: type[ac.AsyncCommand], **values: Any) -> ac.RunResult:
    return ac.run(cls, **{"distribute": "processes", "shards": 2, **values})


def test_each_item_is_done_once_by_two_processes() -> None:
    result = in_shards(sharded.Hashed)
    assert (result.status, result.counts["done"]) == ("succeeded", 40)
    check_once(40)
    run = Run.objects.get(pk=result.run_id)
    shards = check_accounts(run)
    assert [row.shard for row in shards] == [0, 1]
    assert all(row.status == "succeeded" and row.source_ended for row in shards)
    processes = set(Effect.objects.values_list("run", flat=True))
    assert len(processes) == 2
    assert sharded.here() not in processes
    assert Tag.objects.get().name == f"cleaned up after 40 by {sharded.here()}"
    assert RunItem.objects.filter(run=run).count() == 40


def test_a_queryset_is_cut_by_ranges_of_keys_however_skewed_they_are() -> None:
    Tag.objects.bulk_create(Tag(pk=pk, name=f"{pk}") for pk in [*range(1, 30), 10**6, 10**9])
    result = in_shards(sharded.Ranged, shards=3)
    assert (result.status, result.counts["done"]) == ("succeeded", 31)
    assert effects() == Counter(Tag.objects.values_list("name", flat=True))
    shards = check_accounts(Run.objects.get(pk=result.run_id))
    assert [row.done for row in shards] == [11, 11, 9]
    assert Run.objects.get(pk=result.run_id).total == 31


def test_there_may_be_more_shards_than_items() -> None:
    Tag.objects.bulk_create(Tag(pk=pk, name=f"{pk}") for pk in (1, 2))
    result = in_shards(sharded.Ranged, shards=5)
    assert (result.status, result.counts["done"]) == ("succeeded", 2)
    assert len(check_accounts(Run.objects.get(pk=result.run_id))) == 5


def test_a_command_may_cut_its_source_itself() -> None:
    assert in_shards(sharded.Own).counts["done"] == 40
    check_once(40)


def test_what_shards_bring_up_is_done_once() -> None:
    result = in_shards(sharded.Crawl, count=150)
    assert result.status == "succeeded"
    check_once(150)
    run = Run.objects.get(pk=result.run_id)
    check_accounts(run)
    assert run.done == 150


def test_the_shard_of_a_killed_process_is_begun_again(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / str(number)).touch()
    result = in_shards(sharded.Hashed, deadly=17, folder=str(tmp_path), pause=0.01)
    assert (result.status, result.counts["done"]) == ("succeeded", 40)
    check_once(40)
    assert RunItem.objects.get(label="17").crashes == 2
    assert len(set(Effect.objects.values_list("run", flat=True))) >= 3
    check_accounts(Run.objects.get(pk=result.run_id))


def test_dead_items_of_all_shards_are_tried_again(tmp_path: Path) -> None:
    result = in_shards(sharded.Hashed, dead=30, folder=str(tmp_path), max_failures=None)
    assert (result.status, result.counts["dead"], result.errors[0].count) == ("partial", 10, 10)
    run = Run.objects.get(pk=result.run_id)
    check_accounts(run)
    (tmp_path / "mended").touch()
    again = ac.run(sharded.Hashed, retry_failed=run.pk)
    assert (again.status, again.counts["done"], again.run_id) == ("succeeded", 40, run.pk)
    check_once(40)
    run.refresh_from_db()
    check_accounts(run)


def test_more_failures_than_allowed_in_all_shards_end_the_run() -> None:
    with pytest.raises(ac.RunFailed, match="failed, 3 allowed"):
        in_shards(sharded.Hashed, dead=0, max_failures=3, count=2000)
    run = Run.objects.get(shard=None)
    assert run.status == "failed"
    assert 3 < run.dead < 2000
    check_accounts(run)


def test_a_source_that_fails_fails_the_run() -> None:
    with pytest.raises(ac.RunFailed, match=r"Shard \d failed: ValueError: the source is broken"):
        in_shards(sharded.Broken)
    run = Run.objects.get(shard=None)
    assert run.status == "failed"
    check_accounts(run)


def test_shards_share_the_pace_of_a_host_also_when_one_of_them_dies(tmp_path: Path) -> None:
    (tmp_path / "life").touch()
    result = in_shards(sharded.Paced, count=60, per_second=12, deadly=20, folder=str(tmp_path))
    assert result.counts["done"] == 60
    check_once(60)
    begun = sorted(float(name.split()[1]) for name in Tag.objects.values_list("name", flat=True))
    for first, moment in enumerate(begun):
        for last in range(first, len(begun)):
            assert last - first + 1 <= 12 * (begun[last] - moment) + 3  # one for each process that there was
    assert not HostShare.objects.exists()


def test_shards_share_the_turns_of_a_host() -> None:
    assert in_shards(sharded.Paced, count=40, per_host=3, pause=0.05).counts["done"] == 40
    moments = [name.split()[1:] for name in Tag.objects.values_list("name", flat=True)]
    spans = [(float(began), float(ended)) for began, ended in moments]
    for began, _ in spans:
        assert sum(one <= began < other for one, other in spans) <= 3


def test_a_run_in_shards_is_paused_and_given_limits_that_hold_for_all_of_them() -> None:
    with ThreadPoolExecutor(1) as other:
        ended = other.submit(in_shards_on_a_thread, sharded.Paced, count=60, pause=0.1, threads=2)
        run = until(lambda: Run.objects.filter(shard=None, done__gte=4).first())
        assert ac.pause_run(run.pk, by="ada on web1")
        until(lambda: stands_still(run))
        assert Run.objects.get(pk=run.pk).paused.by == "ada on web1"
        begun_before = Tag.objects.count()
        ac.change_limits(run.pk, by="bob", per_second=20, threads=5)
        ac.continue_run(run.pk, by="bob")
        until(lambda: Tag.objects.count() > begun_before)
        with pytest.raises(InvalidCommand, match="ask this of that one"):
            ac.pause_run(run.children.first().pk)
        result = ended.result(60)
    assert (result.status, result.counts["done"]) == ("succeeded", 60)
    check_once(60)
    starts = sorted(float(tag.name.split()[1]) for tag in Tag.objects.order_by("pk")[begun_before:])
    for first, last in combinations(range(len(starts)), 2):
        assert last - first + 1 <= 20 * (starts[last] - starts[first]) + 1 + 2 + 0.5
    told = set(RunLog.objects.filter(run=run).values_list("message", flat=True))
    assert told >= {
        "A pause of this run was asked for by ada on web1.",
        "Limits of this run were changed by bob: per_second none → 20, threads 2 → 5.",
        "This run was asked to go on by bob.",
    }
    check_accounts(Run.objects.get(pk=run.pk))


def in_shards_on_a_thread(cls: type[ac.AsyncCommand], **values: Any) -> ac.RunResult:
    try:
        return in_shards(cls, **values)
    finally:
        connection.close()


def until(condition: Callable[[], Any], seconds: float = 40) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def stands_still(run: Run) -> bool:
    """Whether nothing is done for longer than any item takes; at the end there is nothing left to do, either."""
    before = Effect.objects.count()
    time.sleep(0.5)
    return 0 < Effect.objects.count() == before < 60 and Run.objects.get(pk=run.pk).status == "running"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"shards": 0}, "a whole number from 1 to 1000"),
        ({"shards": -1}, "a whole number from 1 to 1000"),
        ({"shards": 1001}, "a whole number from 1 to 1000"),
        ({"distribute": "pigeons"}, "processes or an engine"),
        ({"dry_run": True}, "A dry run"),
        ({"max_items": 3}, "max_items is counted in one process"),
    ],
)
def test_what_cannot_be_cut_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ac.InvalidCommand, match=told):
        in_shards(sharded.Hashed, **values)
    assert not Run.objects.exists()


def test_a_script_that_each_process_would_run_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current_process(), "_inheriting", True, raising=False)  # while it reads the parent's script
    with pytest.raises(ac.InvalidCommand, match="under `if __name__ == '__main__':`"):
        in_shards(sharded.Hashed)
    assert not Run.objects.exists()


def test_a_command_without_items_has_no_shards() -> None:
    class Plain(ac.AsyncCommand):
        async def handle(self) -> None: ...

    with pytest.raises(ac.InvalidCommand, match="shards=2 has no effect here"):
        ac.run(Plain, shards=2)
