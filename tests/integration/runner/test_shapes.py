"""Each shape from start to finish, its hooks written in every way that is allowed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import pytest

import async_commander as ac
from async_commander.models import RunItem
from tests.testapp.models import Author, Book, Page, Tag

from .ledger import items_of, labels_of, row_of

NAMES = [f"name {number}" for number in range(7)]


class SavesTags(ac.IterateDownloadCommand[str, str]):
    """Everything but the source."""

    async def download(self, item: str) -> str:
        return item.upper()

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=payload))


def assert_saved_all(result: ac.RunResult) -> None:
    assert result.status is ac.RunStatus.SUCCEEDED
    assert sorted(Tag.objects.values_list("name", flat=True)) == [name.upper() for name in NAMES]
    run = row_of(result)
    assert (run.taken, run.done) == (len(NAMES), len(NAMES))
    assert labels_of(result, state="done") == NAMES


def test_a_plain_command_returns_its_value(run: Any) -> None:
    class Command(ac.AsyncCommand):
        number: int = 2

        async def handle(self) -> dict[str, int]:
            return {"double": 2 * self.number}

    result = run(Command(number=21))
    assert result.value == {"double": 42}
    row = row_of(result)
    assert row.value == {"double": 42}
    assert row.parameters == {"number": 21}
    assert row.taken == 0


def test_a_plain_command_may_be_synchronous(run: Any) -> None:
    class Command(ac.AsyncCommand):
        def handle(self) -> int:
            Tag.objects.create(name="from a plain def")
            return Tag.objects.count()

    assert run(Command()).value == 1
    assert Tag.objects.get().name == "from a plain def"


def test_an_asynchronous_generator_gives_the_items(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            for name in NAMES:
                yield name

    assert_saved_all(run(Command()))


def test_a_plain_generator_gives_the_items_and_may_use_the_orm(run: Any) -> None:
    class Command(SavesTags):
        def iterate(self):
            for author in Author.objects.order_by("pk"):
                yield author.name

    Author.objects.bulk_create([Author(name=name) for name in NAMES])
    assert_saved_all(run(Command()))


def test_a_list_gives_the_items(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return list(NAMES)

    result = run(Command())
    assert_saved_all(result)
    assert row_of(result).total == len(NAMES)


def test_a_plain_function_may_return_the_items(run: Any) -> None:
    class Command(SavesTags):
        def iterate(self):
            return (name for name in NAMES)

    assert_saved_all(run(Command()))


def test_a_queryset_gives_its_rows(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[Author, str]):
        async def iterate(self):
            return Author.objects.exclude(name="name 3")

        async def download(self, item: Author) -> str:
            return item.name

        async def parse_and_save(self, item: Author, payload: str) -> None:
            self.db.add(Book(author=item, title=payload, isbn=payload))

    Author.objects.bulk_create([Author(name=name) for name in NAMES])
    result = run(Command())
    assert result.counts["done"] == 6
    assert row_of(result).total == 6
    assert set(Book.objects.values_list("author__name", flat=True)) == set(NAMES) - {"name 3"}


def test_a_queryset_is_read_in_pages_that_do_not_shift(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that leave the queryset while it is read take nothing with them."""
    monkeypatch.setattr("async_commander.runner.sources.PAGE_SIZE", 3)

    class Command(ac.IterateDownloadCommand[Page, str]):
        limits = ac.Limits(threads=1, batch_size=1)

        async def iterate(self):
            return Page.objects.filter(title="").order_by("-url")

        async def download(self, item: Page) -> str:
            return f"title of {item.url}"

        async def parse_and_save(self, item: Page, payload: str) -> None:
            item.title = payload
            self.db.update(item, fields=["title"])

    Page.objects.bulk_create([Page(url=f"page {number}") for number in range(10)])
    result = run(Command())
    assert result.counts["done"] == 10
    assert not Page.objects.filter(title="").exists()


def test_a_sliced_queryset_gives_its_slice(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return Author.objects.order_by("-name").values_list("name", flat=True)[:2]

    Author.objects.bulk_create([Author(name=name) for name in NAMES])
    result = run(Command())
    assert sorted(Tag.objects.values_list("name", flat=True)) == ["NAME 5", "NAME 6"]
    assert row_of(result).total == 2


def test_values_give_dicts(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[dict[str, Any], str]):
        async def iterate(self):
            return Author.objects.order_by("name").values("name")

        async def download(self, item: dict[str, Any]) -> str:
            return str(item["name"]).upper()

        async def parse_and_save(self, item: dict[str, Any], payload: str) -> None:
            self.db.add(Tag(name=payload))

    Author.objects.bulk_create([Author(name=name) for name in NAMES])
    assert run(Command()).counts["done"] == len(NAMES)
    assert Tag.objects.count() == len(NAMES)


def test_hooks_may_be_plain_functions(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        def iterate(self):
            return NAMES

        def download(self, item: str) -> str:
            return item.upper()

        def parse_and_save(self, item: str, payload: str) -> None:
            Tag(name=payload).save()

    assert_saved_all(run(Command()))


def test_a_plain_download_may_use_the_orm(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        def iterate(self):
            return NAMES

        def download(self, item: str) -> str:
            return Author.objects.get(name=item).name.upper()

        async def parse_and_save(self, item: str, payload: str) -> None:
            await Tag(name=payload).asave()

    Author.objects.bulk_create([Author(name=name) for name in NAMES])
    assert_saved_all(run(Command()))


@pytest.mark.parametrize("plain", [False, True])
def test_download_iterate_downloads_once(run: Any, plain: bool) -> None:
    class Command(ac.DownloadIterateCommand[str, str]):
        downloads = 0

        async def download(self) -> str:
            type(self).downloads += 1
            return ";".join(NAMES)

        async def iterate(self, payload: str):
            for name in payload.split(";"):
                yield name

        async def parse_and_save(self, item: str) -> None:
            self.db.add(Tag(name=item.upper()))

    class PlainCommand(Command):
        def download(self) -> str:
            type(self).downloads += 1
            return ";".join(NAMES)

        def iterate(self, payload: str):
            yield from payload.split(";")

        def parse_and_save(self, item: str) -> None:
            Tag.objects.create(name=item.upper())

    chosen = PlainCommand if plain else Command
    assert_saved_all(run(chosen()))
    assert chosen.downloads == 1


def test_an_item_that_is_a_list_is_one_argument(run: Any) -> None:
    seen: list[tuple[Any, Any]] = []

    class Command(ac.IterateDownloadCommand[list[Any], list[int]]):
        async def iterate(self):
            yield [1, {"row": "a"}]
            yield [2, {"row": "b"}]

        async def download(self, item: list[Any]) -> list[int]:
            return [item[0]]

        async def parse_and_save(self, item: list[Any], payload: list[int]) -> None:
            seen.append((item, payload))

    run(Command())
    assert sorted(seen) == [([1, {"row": "a"}], [1]), ([2, {"row": "b"}], [2])]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_total_is_what_the_author_says(run: Any, asynchronous: bool) -> None:
    class Command(SavesTags):
        def total(self) -> int:
            return 1234

        async def iterate(self):
            yield "one"

    class AsyncTotal(Command):
        async def total(self) -> int:
            return 1234

    result = run(AsyncTotal() if asynchronous else Command())
    assert row_of(result).total == 1234


def test_a_total_is_unknown_for_a_generator(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            yield "one"

    assert row_of(run(Command())).total is None


def test_values_are_kept_on_request(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        keep_values = True

        async def iterate(self):
            return [1, 2, 3]

        async def download(self, item: int) -> int:
            return item

        async def parse_and_save(self, item: int, payload: int) -> int:
            return 10 * payload

    class Forgets(Command):
        keep_values = False

    assert sorted(run(Command()).values) == [10, 20, 30]
    assert run(Forgets()).values == []


def test_lifespan_is_around_everything_and_may_set_attributes(run: Any) -> None:
    told: list[str] = []

    class Command(SavesTags):
        @asynccontextmanager
        async def lifespan(self):
            told.append("opened")
            self.prefix = "prefix "
            await Author.objects.acreate(name="made in lifespan")
            yield
            told.append("closed")

        async def iterate(self):
            told.append("iterate")
            yield "one"

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Tag(name=self.prefix + payload))

        async def cleanup(self) -> None:
            told.append("cleanup")

    run(Command())
    assert told == ["opened", "iterate", "cleanup", "closed"]
    assert Tag.objects.get().name == "prefix ONE"
    assert Author.objects.get().name == "made in lifespan"


@pytest.mark.parametrize("plain", [False, True])
def test_cleanup_is_told_how_it_went(run: Any, plain: bool) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return NAMES

        async def cleanup(self, result: ac.RunResult) -> None:
            self.told = result

    class PlainCleanup(Command):
        def cleanup(self, result: ac.RunResult) -> None:
            self.told = result
            Author.objects.create(name="tidied up")

    command = PlainCleanup() if plain else Command()
    run(command)
    assert command.told.status is ac.RunStatus.SUCCEEDED
    assert command.told.counts["done"] == len(NAMES)
    assert Author.objects.count() == int(plain)


def test_cleanup_comes_after_a_failure_too(run: Any) -> None:
    told: list[Any] = []

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            raise ValueError("no good")

        async def cleanup(self, result: ac.RunResult) -> None:
            told.append((result.status, result.error))

    with pytest.raises(ac.RunFailed, match="no good") as raised:
        run(Command())
    assert told == [(ac.RunStatus.FAILED, "ValueError: no good")]
    assert isinstance(raised.value.__cause__, ValueError)
    assert row_of(raised.value.result).error == "ValueError: no good"


def test_an_error_in_cleanup_makes_a_success_a_failure(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            pass

        async def cleanup(self) -> None:
            raise ValueError("untidy")

    with pytest.raises(ac.RunFailed, match="untidy") as raised:
        run(Command())
    assert row_of(raised.value.result).status == "failed"


def test_an_error_in_cleanup_does_not_hide_the_first_one(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            raise ValueError("the reason")

        async def cleanup(self) -> None:
            raise ValueError("untidy")

    with pytest.raises(ac.RunFailed, match="the reason"):
        run(Command())


@pytest.mark.parametrize("plain", [False, True])
def test_committed_comes_after_the_commit(run: Any, plain: bool) -> None:
    acknowledged: dict[str, bool] = {}

    class Command(SavesTags):
        async def iterate(self):
            return NAMES

        async def committed(self, item: str) -> None:
            acknowledged[item] = await Tag.objects.filter(name=item.upper()).aexists()

    class PlainCommitted(Command):
        def committed(self, item: str) -> None:
            acknowledged[item] = Tag.objects.filter(name=item.upper()).exists()

    result = run(PlainCommitted() if plain else Command())
    assert acknowledged == dict.fromkeys(NAMES, True)
    assert_saved_all(result)


def test_an_error_in_committed_leaves_the_item_done(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return NAMES

        async def committed(self, item: str) -> None:
            raise ValueError("not acknowledged")

    result = run(Command())
    assert_saved_all(result)
    assert row_of(result).logs.filter(message__contains="committed() failed").count() == len(NAMES)
    assert [(kind.kind, kind.count) for kind in result.errors] == [("ValueError in committed()", len(NAMES))]


def test_items_are_left_out_on_purpose(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return NAMES

        async def download(self, item: str) -> str:
            if item == "name 1":
                raise ac.SkipItem("not wanted")
            return item.upper()

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Tag(name=payload))
            if item == "name 2":
                raise ac.SkipItem

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert result.counts["skipped"] == 2
    assert [(item.label, item.reason) for item in items_of(result, state="skipped")] == [
        ("name 1", "not wanted"),
        ("name 2", "skipped"),
    ]
    assert not Tag.objects.filter(name="NAME 2").exists()
    assert row_of(result).error_kinds.count() == 0


def test_item_key_decides_what_is_one_item(run: Any) -> None:
    class Command(SavesTags):
        def item_key(self, item: str) -> str:
            return item[:4]

        async def iterate(self):
            return ["same 1", "same 2", "other"]

    result = run(Command())
    assert result.counts | {"claimed": 0} == {
        "taken": 3, "done": 2, "skipped": 1, "dead": 0, "retry": 0, "claimed": 0,
    }  # fmt: skip
    row_of(result)


def test_the_ledger_tells_how_long_each_stage_took(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            yield "one"

    result = run(Command())
    item = RunItem.objects.get(run_id=result.run_id)
    assert item.started is not None
    assert None not in (item.wait_ms, item.download_ms, item.parse_ms)
    assert item.attempts == 1


def test_a_command_runs_by_its_name(run: Any) -> None:
    result = run("pages", count=3)
    assert result.command == "pages"
    assert Page.objects.count() == 3
    assert row_of(run("testapp.pages", count=0)).done == 0


def test_an_empty_source_succeeds(run: Any) -> None:
    class Command(SavesTags):
        async def iterate(self):
            return []

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert row_of(result).taken == 0
