"""What is resumed, from where, and by whom."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest
from django.utils import timezone

import async_commander as ac
from async_commander.models import FORMAT_VERSION, Lease, Run, RunItem
from async_commander.runner.entry import drive_from_shell
from async_commander.runner.plan import make_plan
from async_commander.runner.reporting import Silent
from async_commander.runner.request import RunRequest
from async_commander.runner.signals import StopRequests
from tests.testapp.models import Author, Effect

from .ledger import end_without_a_word, give_lease, items_of, labels_of, row_of

ITEMS = [f"item {number:02}" for number in range(12)]


class Breaks(ac.IterateDownloadCommand[str, str]):
    """Its source breaks before the item `broken`, and ends before `last`; every effect is a row of its own."""

    limits = ac.Limits(threads=2, batch_size=2)
    retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)
    broken = 99
    last = len(ITEMS)

    @asynccontextmanager
    async def lifespan(self):
        self.begun = anyio.Semaphore(0)
        yield

    async def iterate(self):
        for number, item in enumerate(ITEMS[: self.last]):
            if number == self.broken:
                await self.all_begun()
                raise ValueError("the source broke")
            yield item

    async def all_begun(self) -> None:
        for _ in range(0 if self.record.done else self.broken):
            await self.begun.acquire()

    async def download(self, item: str) -> str:
        self.begun.release()
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=item, run=str(self.record.pk)))


def effects() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


def failed(run: Any, command: ac.AsyncCommand, **options: Any) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command, **options)
    return raised.value.result


def command(**attributes: Any) -> Breaks:
    made = Breaks()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def test_a_source_that_breaks_fails_the_run_after_its_items_are_done(run: Any) -> None:
    result = failed(run, command(broken=5))
    row = row_of(result)
    assert (row.status, row.error) == ("failed", "ValueError: the source broke")
    assert "the source broke" in row.traceback
    assert labels_of(result, state="done") == ITEMS[:5]


def test_a_failed_run_goes_on_where_it_ended(run: Any) -> None:
    first = failed(run, command(broken=5))
    result = run(command(), resume=True)
    assert result.run_id == first.run_id
    assert result.status is ac.RunStatus.SUCCEEDED
    assert effects() == ITEMS
    row = row_of(result)
    assert (row.done, row.taken, row.error, row.traceback) == (12, 12, "", "")
    assert Lease.objects.get().epoch == 2


def test_resume_without_an_unfinished_run_begins_a_new_one(run: Any) -> None:
    first = run(command())
    second = run(command(), resume=True)
    assert second.run_id != first.run_id
    assert len(effects()) == 2 * len(ITEMS)


def test_only_a_run_of_the_same_identity_is_resumed(run: Any) -> None:
    class Numbered(Breaks):
        number: int = 0

    one, other = Numbered(number=1), Numbered(number=2)
    one.broken = other.broken = 1
    first, second = failed(run, one), failed(run, other)
    assert run(Numbered(number=1), resume=True).run_id == first.run_id
    assert run(Numbered(number=2), resume=True).run_id == second.run_id


def test_the_newest_unfinished_run_is_resumed(run: Any) -> None:
    failed(run, command(broken=1))
    second = failed(run, command(broken=1))
    assert run(command(), resume=True).run_id == second.run_id


def test_a_run_is_resumed_by_its_number(run: Any) -> None:
    first = failed(run, command(broken=1))
    failed(run, command(broken=1))
    assert run(command(), resume_run=first.run_id).run_id == first.run_id


def test_what_cannot_be_resumed_by_its_number_is_said(run: Any) -> None:
    class Other(Breaks):
        pass

    finished = run(command())
    with pytest.raises(ac.InvalidCommand, match=r"There is no run 987654321\. `manage\.py aruns` lists the runs"):
        run(command(), resume_run=987654321)
    with pytest.raises(ac.InvalidCommand, match="is succeeded: only interrupted, crashed, failed, running runs"):
        run(command(), resume_run=finished.run_id)
    unfinished = failed(run, command(broken=1))
    with pytest.raises(ac.InvalidCommand, match="it cannot be resumed as"):
        run(Other(), resume_run=unfinished.run_id)


def test_a_run_of_a_newer_release_is_refused(run: Any) -> None:
    result = failed(run, command(broken=1))
    Run.objects.filter(pk=result.run_id).update(format_version=FORMAT_VERSION + 1)
    with pytest.raises(ac.InvalidCommand, match=r"newer release \(format 2, this one reads up to 1\)\. Upgrade"):
        run(command(), resume=True)


def test_items_that_wait_for_a_retry_are_resumed_even_if_the_source_lacks_them(run: Any) -> None:
    stops: list[str] = []

    class Flaky(Breaks):
        async def download(self, item: str) -> str:
            await super().download(item)
            if item == "item 03" and not stops:
                stops.append(item)
                raise TimeoutError
            return item

        retry = ac.Retry(attempts=3, initial=1000, maximum=1000)
        broken = 5

    result = failed(run, Flaky())
    assert labels_of(result, state="retry") == ["item 03"]
    waiting = RunItem.objects.get(run_id=result.run_id, state="retry")
    assert (waiting.item, waiting.attempts, waiting.error_kind) == ("item 03", 1, "TimeoutError")
    RunItem.objects.filter(pk=waiting.pk).update(next_at=timezone.now())
    again = Flaky()
    again.broken, again.last = 99, 2
    again = run(again, resume=True)
    assert again.status is ac.RunStatus.SUCCEEDED
    assert effects() == ITEMS[:5]
    waiting.refresh_from_db()
    assert (waiting.state, waiting.attempts) == ("done", 2)
    row_of(again)


def test_a_run_whose_owner_died_is_taken_over_at_once(run_on_lanes: Any) -> None:
    run = run_on_lanes
    first = failed(run, command(broken=5))
    end_without_a_word(first.run_id, "item 05", "item 06")
    result = run(command(), resume=True)
    assert result.run_id == first.run_id
    assert effects() == ITEMS
    assert row_of(result).taken == 12
    crashes = dict(RunItem.objects.values_list("label", "crashes"))
    assert {label: count for label, count in crashes.items() if count} == {"item 05": 1, "item 06": 1}


def test_a_dead_run_is_marked_as_crashed_by_the_next_one(run_on_lanes: Any) -> None:
    first = failed(run_on_lanes, command(broken=5))
    end_without_a_word(first.run_id)
    run_on_lanes(command())
    crashed = Run.objects.get(pk=first.run_id)
    assert (crashed.status, crashed.error) == ("crashed", "The process that owned this run ended without a word.")
    assert run_on_lanes(command(), resume=True).run_id == first.run_id


def test_an_item_is_given_up_after_three_crashes(run_on_lanes: Any) -> None:
    run = run_on_lanes
    first = failed(run, command(broken=5))
    for _ in range(3):
        end_without_a_word(first.run_id, "item 07")
        failed(run, command(broken=5), resume=True)
    result = run(command(), resume=True)
    assert result.status is ac.RunStatus.PARTIAL
    dead = RunItem.objects.get(run_id=first.run_id, state="dead")
    assert (dead.label, dead.reason, dead.crashes) == ("item 07", "crashed", 3)
    assert effects() == [item for item in ITEMS if item != "item 07"]
    row_of(result)


def test_an_item_that_crashed_twice_runs_alone(run_on_lanes: Any) -> None:
    run = run_on_lanes
    first = failed(run, command(broken=5))
    end_without_a_word(first.run_id, "item 07")
    failed(run, command(broken=5), resume=True)
    RunItem.objects.filter(run_id=first.run_id, key__isnull=False, crashes=1).update(crashes=2, state="claimed")
    in_hand: set[str] = set()
    company: dict[str, set[str]] = {}

    class Watches(Breaks):
        async def download(self, item: str) -> str:
            in_hand.add(item)
            company[item] = set(in_hand)
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            await super().parse_and_save(item, payload)
            in_hand.discard(item)

    Run.objects.filter(pk=first.run_id).update(identity=identity_of(Watches))
    result = run(Watches(), resume=True)
    assert result.run_id == first.run_id
    assert company["item 07"] == {"item 07"}
    assert list(company)[-1] == "item 07"
    row_of(result)


def identity_of(cls: type[ac.AsyncCommand]) -> str:
    return make_plan(cls(), RunRequest(), shared=False).opening.identity


def test_an_item_in_hand_at_a_crash_that_left_the_source_is_gone(run_on_lanes: Any) -> None:
    first = failed(run_on_lanes, command(broken=5))
    end_without_a_word(first.run_id, "item 11")
    result = run_on_lanes(command(last=8), resume=True)
    assert result.status is ac.RunStatus.SUCCEEDED
    assert result.counts["skipped"] == 1
    assert [item.reason for item in items_of(result, state="skipped")] == ["gone"]
    row_of(result)


def test_a_waiting_row_that_was_deleted_meanwhile_is_gone(run: Any) -> None:
    class OfAuthors(ac.IterateDownloadCommand[Author, str]):
        limits = ac.Limits(threads=1)
        retry = ac.Retry(attempts=3, initial=1000, maximum=1000)

        @asynccontextmanager
        async def lifespan(self):
            self.seen_all = anyio.Event()
            yield

        async def iterate(self):
            async for author in Author.objects.order_by("pk"):
                yield author
            if await Author.objects.acount() == 3:
                await self.seen_all.wait()
                raise ValueError("the source broke")

        async def download(self, item: Author) -> str:
            if item.name == "b":
                raise TimeoutError
            if item.name == "c":
                self.seen_all.set()
            return item.name

        async def parse_and_save(self, item: Author, payload: str) -> None:
            self.db.add(Effect(key=payload))

    Author.objects.bulk_create([Author(name=name) for name in "abc"])
    first = failed(run, OfAuthors())
    assert first.counts["retry"] == 1
    RunItem.objects.filter(state="retry").update(next_at=timezone.now())
    Author.objects.get(name="b").delete()
    result = run(OfAuthors(), resume=True)
    assert (result.run_id, result.status) == (first.run_id, ac.RunStatus.SUCCEEDED)
    assert [item.reason for item in items_of(result, state="skipped")] == ["gone"]
    assert effects() == ["a", "c"]
    row_of(result)


def test_a_run_whose_owner_is_alive_is_locked(run_on_lanes: Any) -> None:
    first = failed(run_on_lanes, command(broken=5))
    end_without_a_word(first.run_id)
    give_lease(first.run_id)
    with pytest.raises(ac.RunLocked, match=rf"Run {first.run_id} is being worked on by process \d+ on"):
        run_on_lanes(command(), resume=True)
    assert Run.objects.get().status == "running"
    assert effects() == ITEMS[:5]


def test_a_run_of_another_host_is_resumed_when_its_lease_has_run_out(run_on_lanes: Any) -> None:
    first = failed(run_on_lanes, command(broken=5))
    end_without_a_word(first.run_id)
    give_lease(first.run_id, host="elsewhere")
    Run.objects.update(expires=timezone.now() + timedelta(seconds=1.5), host="elsewhere", pid=17)
    told: list[str] = []

    class Listens(Silent):
        def message(self, text: str, level: int = 0) -> None:
            told.append(text)

    assert run_on_lanes(command(), resume=True, reporter=Listens()).run_id == first.run_id
    assert "belongs to process 17 on elsewhere: waiting" in told[0]


def test_stored_options_apply_on_resume_and_limits_may_differ(run: Any) -> None:
    class Options(Breaks):
        note: str = ""
        chunk: int = 1

        async def iterate(self):
            self.seen = self.options
            async for item in super().iterate():
                yield item

    first = Options()
    first.broken = 5
    failed(run, first, max_items=7, threads=1)
    second = Options()
    result = run(second, resume=True, threads=5)
    assert result.counts["taken"] == 7
    assert second.seen["max_items"] == 7
    assert row_of(result).limits["threads"] == 5
    assert row_of(result).options["max_items"] == 7


def test_options_of_argparse_are_those_of_the_first_time_on_resume(run: Any) -> None:
    class Extra(Breaks):
        def add_arguments(self, parser):
            parser.add_argument("--colour", default="grey")

        async def iterate(self):
            self.seen = self.options["colour"]
            async for item in super().iterate():
                yield item

    first = Extra(colour="red")
    first.broken = 2
    failed(run, first)
    second = Extra()
    run(second, resume=True)
    assert second.seen == "red"


def test_an_interrupted_run_goes_on_with_what_was_left(run_on_lanes: Any) -> None:
    stops = StopRequests()

    class Stops(Breaks):
        limits = ac.Limits(threads=1, batch_size=1)
        first_time = True

        async def download(self, item: str) -> str:
            if item == "item 03" and self.first_time:
                stops.ask()
            return item

    first = drive_from_shell(Stops(), RunRequest(), Silent(), stops=stops)
    assert first.status is ac.RunStatus.INTERRUPTED
    row = row_of(first)
    assert row.done < 12
    assert effects() == ITEMS[: row.done]
    again = Stops()
    again.first_time = False
    result = run_on_lanes(again, resume=True)
    assert (result.run_id, result.status) == (first.run_id, ac.RunStatus.SUCCEEDED)
    assert effects() == ITEMS
    row_of(result)


def test_the_output_of_both_times_is_kept(run: Any) -> None:
    class Talks(Breaks):
        async def iterate(self):
            self.stdout.write(f"broken is {self.broken}")
            async for item in super().iterate():
                yield item

    talks = Talks()
    talks.broken = 3
    failed(run, talks)
    assert row_of(run(Talks(), resume=True)).output == "broken is 3\nbroken is 99\n"


def test_errors_of_both_times_are_counted(run: Any) -> None:
    class Rejects(Breaks):
        async def parse_and_save(self, item: str, payload: str) -> None:
            if item in {"item 01", "item 07"}:
                raise ValueError(item)
            await super().parse_and_save(item, payload)

    rejects = Rejects()
    rejects.broken = 4
    failed(run, rejects)
    result = run(Rejects(), resume=True)
    assert result.status is ac.RunStatus.PARTIAL
    kind = row_of(result).error_kinds.get()
    assert (kind.kind, kind.count) == ("ValueError", 2)


# -- a resume with a bound of its own ------------------------------------------------------------------------------


def test_a_resume_that_is_cut_by_its_own_bound_stays_unfinished(run: Any) -> None:
    first = failed(run, command(broken=3))
    cut = run(command(), resume=True, max_items=4)
    assert (cut.run_id, cut.status) == (first.run_id, ac.RunStatus.INTERRUPTED)
    assert effects() == ITEMS[:7]
    row_of(cut)


def test_what_cut_resumes_left_is_taken_once(run: Any) -> None:
    first = failed(run, command(broken=3))
    for done in (5, 7, 9):
        assert run(command(), resume=True, max_items=2).counts["done"] == done
    last = run(command(), resume=True)
    assert (last.run_id, last.status) == (first.run_id, ac.RunStatus.SUCCEEDED)
    assert effects() == labels_of(last, state="done") == ITEMS
    assert row_of(last).taken == len(ITEMS)


def test_a_resume_whose_bound_is_wider_than_what_is_left_finishes_the_run(run: Any) -> None:
    first = failed(run, command(broken=3))
    result = run(command(), resume=True, max_items=100)
    assert (result.run_id, result.status) == (first.run_id, ac.RunStatus.SUCCEEDED)
    assert effects() == ITEMS


def test_a_run_with_a_bound_is_finished_when_that_is_reached_by_however_many_resumes(run: Any) -> None:
    first = failed(run, command(broken=3), max_items=8)
    cut = run(command(), resume=True, max_items=2)
    assert (cut.run_id, cut.status, cut.counts["done"]) == (first.run_id, ac.RunStatus.INTERRUPTED, 5)
    last = run(command(), resume=True, max_items=3)
    assert (last.run_id, last.status) == (first.run_id, ac.RunStatus.SUCCEEDED)
    assert effects() == ITEMS[:8]
    assert row_of(last).options["max_items"] == 8


# -- what waits for another try ------------------------------------------------------------------------------------


def test_a_waiting_item_that_is_cancelled_in_a_resume_waits_on(run_on_lanes: Any) -> None:
    stops = StopRequests()

    class Flaky(Breaks):
        retry = ac.Retry(attempts=3, initial=1000, maximum=1000)
        sitting = 1

        async def download(self, item: str) -> str:
            if item == "item 03" and self.sitting == 1:
                self.begun.release()
                raise TimeoutError("not yet")
            if item == "item 03" and self.sitting == 2:
                stops.ask()
                stops.ask()
                await anyio.sleep_forever()
            return await super().download(item)

    def flaky(sitting: int, broken: int = 99) -> Flaky:
        made = Flaky()
        made.sitting, made.broken = sitting, broken
        return made

    first = failed(run_on_lanes, flaky(1, broken=5))
    RunItem.objects.update(next_at=timezone.now())
    second = drive_from_shell(flaky(2), RunRequest(resume=True), Silent(), stops=stops)
    assert (second.run_id, second.status, second.counts["retry"]) == (first.run_id, ac.RunStatus.INTERRUPTED, 1)
    [waiting] = items_of(second, state="retry")
    assert (waiting.label, waiting.item) == ("item 03", "item 03")
    assert (waiting.error_kind, waiting.error, waiting.attempts) == ("TimeoutError", "not yet", 1)
    row_of(second)
    last = run_on_lanes(flaky(3), resume=True)
    assert (last.run_id, last.status) == (first.run_id, ac.RunStatus.SUCCEEDED)
    assert effects() == ITEMS
    row_of(last)
