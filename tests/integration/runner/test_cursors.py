"""Sources that are gone on with where they were left: `iterate(self, after=None)` and `ac.At`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated, Any

import anyio
import pytest

import async_commander as ac
from async_commander.models import Run
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Effect

from .ledger import labels_of, row_of

pytestmark = pytest.mark.timeout(30)

LAST = 40


class Rows(ac.IterateDownloadCommand[int, int]):
    """Items 1 to `last`; its source breaks before `broken`, once all that it gave is done; `ends` ends the run then."""

    limits = ac.Limits(threads=3, batch_size=4)
    retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)
    broken = ends = 0
    last = LAST
    error = ValueError
    fails = ()

    @asynccontextmanager
    async def lifespan(self):
        self.asked: list[Any] = []
        self.read: list[int] = []
        yield

    async def iterate(self, after: int | None = None):
        self.asked.append(after)
        for number in range((after or 0) + 1, self.last + 1):
            if number == self.broken:
                await self.leave(number)
            self.read.append(number)
            yield ac.At(number, number)

    async def leave(self, number: int) -> None:
        self.broken = 0
        await self.done(number - 1)
        raise self.error("the source broke")

    async def done(self, number: int) -> None:
        while await Effect.objects.acount() < number:
            await anyio.sleep(0.002)

    async def download(self, item: int) -> int:
        if item in self.fails:
            raise KeyError(item)
        if item == self.ends:
            await self.done(15)
            raise MemoryError
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Effect(key=str(item), run=str(self.record.pk)))


def command(cls: type[ac.AsyncCommand] = Rows, **attributes: Any) -> Any:
    made = cls()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def failed(run: Any, command: ac.AsyncCommand, **options: Any) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command, **options)
    return raised.value.result


def effects() -> list[int]:
    return sorted(int(key) for key in Effect.objects.values_list("key", flat=True))


def test_a_resume_goes_on_where_all_before_is_settled(run: Any) -> None:
    result = failed(run, command(broken=21))
    assert Run.objects.get(pk=result.run_id).cursor == "19 19"  # of 20 the next one would have told
    again = command()
    resumed = run(again, resume=True)
    assert (resumed.run_id, again.asked, again.read) == (result.run_id, [19], list(range(20, LAST + 1)))
    assert (effects(), row_of(resumed).done) == (list(range(1, LAST + 1)), LAST)
    assert Run.objects.get(pk=result.run_id).cursor == f"{LAST} {LAST}"


def test_an_item_that_is_not_settled_is_read_again_and_those_done_after_it_are_passed_over(run: Any) -> None:
    result = failed(run, command(ends=5))
    assert Run.objects.get(pk=result.run_id).cursor == "4 4"
    done = effects()
    assert 5 not in done
    assert len(done) >= 15
    again = command()
    resumed = run(again, resume=True)
    assert (again.asked, effects()) == ([4], list(range(1, LAST + 1)))
    assert row_of(resumed).done == LAST


def test_a_new_run_reads_from_the_beginning(run: Any) -> None:
    failed(run, command(broken=21))
    again = command()
    run(again)
    assert again.asked == [None]


def test_a_source_that_fails_for_a_moment_goes_on_where_it_was(run: Any) -> None:
    one = command(broken=21, error=ConnectionError)
    result = run(one)
    assert one.asked[0] is None
    assert one.asked[1] <= 20
    assert (effects(), result.counts["done"], result.counts["skipped"]) == (list(range(1, LAST + 1)), LAST, 0)


def test_items_that_wait_or_are_dead_are_in_the_ledger_and_hold_nothing_up(run: Any) -> None:
    result = run(command(fails=(3, 7)))
    assert labels_of(result, state="dead") == ["3", "7"]
    assert Run.objects.get(pk=result.run_id).cursor == f"{LAST} {LAST}"


def test_a_run_that_was_cut_is_gone_on_with_at_the_next_item(run: Any) -> None:
    result = run(command(), max_items=10)
    assert result.counts["taken"] == 10
    Run.objects.update(status="failed", source_ended=False)
    again = command()
    resumed = run(again, resume=True, max_items=10)
    assert again.asked[0] in {9, 10}
    assert (resumed.counts["taken"], effects()) == (20, list(range(1, 21)))


class Kept:
    """No item that JSON could keep."""

    def __init__(self, number: int) -> None:
        self.number = number


class Unkeepable(Rows):
    """Items of which only the keys are kept."""

    async def iterate(self, after: int | None = None):
        self.asked.append(after)
        for number in range((after or 0) + 1, self.last + 1):
            yield ac.At(Kept(number), number)

    def item_key(self, item: Any) -> str:
        return str(item.number)

    async def download(self, item: Any) -> int:
        return await super().download(item.number)

    async def parse_and_save(self, item: Any, payload: int) -> None:
        await super().parse_and_save(item.number, payload)


@pytest.mark.parametrize(("cls", "asked"), [(Rows, []), (Unkeepable, [None])])
def test_dead_items_that_only_the_source_can_give_are_read_again(run: Any, cls: Any, asked: list[Any]) -> None:
    result = run(command(cls, fails=(3, 7)))
    assert Run.objects.get(pk=result.run_id).cursor == f"{LAST} {LAST}"
    again = command(cls)
    retried = run(again, retry_failed=result.run_id)
    assert (retried.status, again.asked, effects()) == ("succeeded", asked, list(range(1, LAST + 1)))


def test_a_dry_run_takes_the_same_items_and_keeps_no_cursor(run: Any) -> None:
    one = command(Listed)
    result = run(one, dry_run=True)
    assert (one.asked, result.counts["done"], effects()) == ([None], LAST, [])
    assert Run.objects.get(pk=result.run_id).cursor == ""


class Pages(Rows):
    """Pages of ten, of which each item has the cursor of the next page."""

    async def iterate(self, after: int | None = None):
        self.asked.append(after)
        for page in range(after or 0, 4):
            for number in range(10 * page + 1, 10 * page + 11):
                if number == self.broken:
                    await self.leave(number)
                self.read.append(number)
                yield ac.At(number, page + 1)


def test_the_cursor_of_a_page_is_safe_when_the_whole_page_is_done(run: Any) -> None:
    failed(run, command(Pages, broken=26))
    again = command(Pages)
    run(again, resume=True)
    assert (again.asked, again.read[0]) == ([2], 21)
    assert effects() == list(range(1, LAST + 1))


def test_items_that_others_bring_up_hold_nothing_up(run: Any) -> None:
    class Follows(Rows):
        async def parse_and_save(self, item: int, payload: int) -> None:
            await super().parse_and_save(item, payload)
            if item <= self.last:
                self.follow(item + 1_000, 7)

    result = run(command(Follows))
    assert len(effects()) == 2 * LAST
    assert Run.objects.get(pk=result.run_id).cursor == f"{LAST} {LAST}"


class Listed(Rows):
    """The items of a list: how many there are is known."""

    async def iterate(self, *, after: Any = None):
        self.asked.append(after)
        return [ac.At(number, number) for number in range((after or 0) + 1, self.last + 1)]


def test_the_total_of_a_resumed_list_counts_what_came_before(run: Any) -> None:
    cut = run(command(Listed, last=10))
    Run.objects.update(status="failed", source_ended=False)
    again = command(Listed, last=15)
    resumed = run(again, resume=True)
    assert (resumed.run_id, again.asked) == (cut.run_id, [10])
    assert Run.objects.get(pk=cut.run_id).total == 15
    assert resumed.counts["done"] == 15


class OfAFile(ac.DownloadIterateCommand[list[int], int]):
    """Items of one download."""

    async def download(self) -> list[int]:
        return list(range(1, 21))

    def iterate(self, payload: list[int], after: date | None = None) -> Any:
        self.asked = after
        for number in payload:
            if after is None or date(2026, 1, number) > after:
                yield ac.At(number, date(2026, 1, number))

    async def parse_and_save(self, item: int) -> None:
        self.db.add(Effect(key=str(item)))


def test_items_of_one_download_are_gone_on_with_after_a_date(run: Any) -> None:
    run(OfAFile(), max_items=14)
    Run.objects.update(status="failed", source_ended=False)
    again = OfAFile()
    run(again, resume=True, max_items=20)
    assert again.asked == date(2026, 1, 13)  # of the day after it no item was taken, which would have told of it
    assert effects() == list(range(1, 21))


@pytest.mark.parametrize("item", ["At without after", "cursor", "secret"])
def test_a_source_that_cannot_be_gone_on_with_says_so(run: Any, item: str) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        api_token: Annotated[str, ac.Option(secret=True)] = ""

        async def download(self, item: int) -> int:
            return item

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    class Without(Command):
        async def iterate(self):
            yield 1
            yield ac.At(2, 2)

    class Wrong(Command):
        async def iterate(self, after: Any = None):
            yield ac.At(1, 1)
            yield ac.At(2, object() if item == "cursor" else "canary-of-a-secret")

    told = {
        "At without after": r"does not take the cursor to go on after: write `iterate\(self, after=None\)`",
        "cursor": r"The cursor of item 2 of the source cannot be kept: a builtins\.object",
        "secret": "The cursor of item 2 of the source contains the value of a secret option",
    }[item]
    with pytest.raises(ac.RunFailed, match=told):
        run((Without if item.startswith("At") else Wrong)(api_token="canary-of-a-secret"))


def test_a_signature_that_does_not_fit_is_refused_when_the_command_is_made() -> None:
    class Command(ac.DownloadIterateCommand[str, int]):
        async def download(self) -> str:
            return ""

        def iterate(self, after: Any = None) -> Any:
            return []

        async def parse_and_save(self, item: int) -> None: ...

    told = r"allowed: `async def iterate\(self, payload\)` or `iterate\(self, payload, after=None, shard=None\)`"
    with pytest.raises(ac.InvalidCommand, match=told):
        Command()


def test_what_is_brought_up_has_no_cursor(run: Any) -> None:
    class Follows(Rows):
        async def parse_and_save(self, item: int, payload: int) -> None:
            self.follow(ac.At(1, 1))  # type: ignore[arg-type]

    with pytest.raises(ac.RunFailed, match="give the item itself"):
        run(command(Follows))


@pytest.mark.django_db
def test_a_recorder_in_memory_keeps_the_cursor() -> None:
    class Unwritten(Rows):
        async def leave(self, number: int) -> None:
            raise ValueError("the source broke")

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    recorder = InMemoryRecorder()
    with pytest.raises(ac.RunFailed):
        ac.run(command(Unwritten, broken=21), recorder=recorder)
    assert recorder.cursor is not None
    kept = recorder.cursor.place
    again = command(Unwritten)
    ac.run(again, recorder=recorder, resume=True)
    assert again.asked == [kept or None]
    assert len(recorder.items) == LAST
