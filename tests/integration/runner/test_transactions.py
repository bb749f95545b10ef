"""What commits together: an item's rows, its ORM calls and its line in the ledger."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from django.db import IntegrityError, transaction

import async_commander as ac
from async_commander.models import RunItem
from tests.testapp.models import Author, Book, Effect, Node, Page, Tag

from .ledger import items_of, row_of
from .test_endings import failed

QUICK = ac.Retry(attempts=3, initial=0.001, maximum=0.002)


class OneByOne(ac.IterateDownloadCommand[str, str]):
    retry = QUICK

    async def iterate(self):
        return list("abcd")

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        raise NotImplementedError


def names(model: Any, field: str = "name") -> str:
    return "".join(sorted(model.objects.values_list(field, flat=True)))


def test_orm_calls_of_an_item_that_fails_are_rolled_back(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            await Effect.objects.acreate(key=item)
            self.db.add(Tag(name=item))
            if item == "b":
                raise ValueError("after the write")

    result = run(Command())
    assert names(Effect, "key") == names(Tag) == "acd"
    assert [item.label for item in items_of(result, state="dead")] == ["b"]
    row_of(result)


def test_orm_calls_of_an_attempt_that_is_repeated_happen_once(run: Any) -> None:
    tries: list[str] = []

    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            await Effect.objects.acreate(key=item)
            tries.append(item)
            if item == "b" and tries.count("b") < 3:
                raise TimeoutError

    result = run(Command())
    assert tries.count("b") == 3
    assert names(Effect, "key") == "abcd"
    row_of(result)


def test_queued_rows_see_what_the_orm_calls_wrote(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            author = await Author.objects.acreate(name=item)
            self.db.add(Book(author=author, title=item, isbn=item))

    result = run(Command())
    assert names(Book, "author__name") == "abcd"
    row_of(result)


def test_a_function_of_the_orm_runs_in_the_items_transaction(run: Any) -> None:
    def save(name: str) -> int:
        assert transaction.get_connection().in_atomic_block
        Author.objects.create(name=name)
        return Author.objects.filter(name=name).count()

    class Command(OneByOne):
        keep_values = True

        async def parse_and_save(self, item: str, payload: str) -> int:
            count = await self.db(save, item)
            if item == "c":
                raise ValueError(item)
            return count

    result = run(Command())
    assert result.values == [1, 1, 1]
    assert names(Author) == "abd"


def test_a_savepoint_undoes_its_own_part(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            await Effect.objects.acreate(key=item)
            try:
                async with self.db.atomic():
                    self.db.add(Tag(name=item))
                    await Author.objects.acreate(name="the same for all")
                    await Author.objects.acreate(name="the same for all")
            except IntegrityError:
                self.db.add(Tag(name=item.upper()))

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert (names(Effect, "key"), names(Tag), Author.objects.count()) == ("abcd", "ABCD", 0)
    row_of(result)


def test_a_database_error_caught_without_a_savepoint_fails_the_item_with_the_remedy(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            await Effect.objects.acreate(key=item)
            with contextlib.suppress(IntegrityError):
                await self.db(self.clash)

        def clash(self) -> None:
            with transaction.atomic(savepoint=False):
                Tag.objects.create(name="twice")
                Tag.objects.create(name="twice")

    result = failed(run, Command())
    assert Effect.objects.count() == 0
    assert "atomic()" in items_of(result, state="dead")[0].error
    row_of(result)


def test_an_item_that_clashes_fails_alone(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Tag(name="a" if item == "c" else item))

    result = run(Command(), batch_size=100)
    assert names(Tag) == "abd"
    dead = items_of(result, state="dead")
    assert [(one.error_kind, one.reason) for one in dead] == [("IntegrityError", "permanent")]
    row_of(result)


def test_upserts_of_many_items_merge(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            page = Page(url="the same", title=item)
            self.db.upsert(page, unique=["url"], update="__all__")
            self.page = page

    command = Command()
    result = run(command)
    assert Page.objects.count() == 1
    assert command.page.pk == Page.objects.get().pk
    row_of(result)


def test_parents_are_written_before_their_children(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            root = Node(name=f"root {item}")
            self.db.add(root, Node(name=f"leaf {item}", parent=root))

    result = run(Command())
    assert Node.objects.filter(parent__name__startswith="root").count() == 4
    row_of(result)


def test_flush_gives_keys_within_the_item(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            author = Author(name=item)
            self.db.add(author)
            await self.db.flush()
            assert author.pk is not None
            if item == "d":
                raise ValueError("flushed, and not committed")

    result = run(Command())
    assert names(Author) == "abc"
    row_of(result)


def test_on_commit_fires_after_the_items_commit_only(run_on_lanes: Any) -> None:
    fired: list[str] = []

    class Command(OneByOne):
        def parse_and_save(self, item: str, payload: str) -> None:
            Effect.objects.create(key=item)
            transaction.on_commit(lambda: fired.append(item))
            if item == "a":
                raise ValueError(item)

    run_on_lanes(Command())
    assert sorted(fired) == ["b", "c", "d"]


def test_the_ledger_row_commits_with_the_effect(run_on_lanes: Any) -> None:
    """Seen from the outside, at any time, there is an effect where there is a ledger row, and the reverse."""
    seen: list[bool] = []

    class Command(OneByOne):
        limits = ac.Limits(threads=1, batch_size=1)

        async def iterate(self):
            return range(40)

        def parse_and_save(self, item: int, payload: int) -> None:
            Effect.objects.create(key=str(item))

        async def committed(self, item: int) -> None:
            effects = await self.db(lambda: set(Effect.objects.values_list("key", flat=True)))
            rows = await self.db(lambda: set(RunItem.objects.values_list("label", flat=True)))
            seen.append(effects <= rows or rows <= effects)

    row_of(run_on_lanes(Command()))
    assert seen == [True] * 40


def test_handle_commits_each_orm_call_and_queued_rows_at_the_end(run_on_lanes: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            await Author.objects.acreate(name="kept")
            self.db.add(Tag(name="flushed"))
            await self.db.flush()
            self.db.add(Tag(name="dropped"))
            raise ValueError("after all")

    with pytest.raises(ac.RunFailed):
        run_on_lanes(Command())
    assert (names(Author), names(Tag)) == ("kept", "flushed")


@pytest.mark.parametrize("hook", ["handle", "lifespan", "iterate", "cleanup", "download"])
def test_rows_queued_in_a_hook_of_the_run_are_written(run: Any, hook: str) -> None:
    from contextlib import asynccontextmanager

    class Plain(ac.AsyncCommand):
        async def handle(self) -> None:
            self.queue("handle")

        def queue(self, name: str) -> None:
            if name == hook:
                self.db.add(Tag(name=name))

    class Shaped(ac.DownloadIterateCommand[str, str]):
        @asynccontextmanager
        async def lifespan(self):
            self.queue("lifespan")
            yield

        async def download(self) -> str:
            self.queue("download")
            return "ab"

        async def iterate(self, payload: str):
            self.queue("iterate")
            for item in payload:
                yield item

        async def parse_and_save(self, item: str) -> None: ...

        async def cleanup(self) -> None:
            self.queue("cleanup")

        queue = Plain.queue

    row_of(run(Plain() if hook == "handle" else Shaped()))
    assert Tag.objects.get().name == hook


def test_savepoints_outside_of_an_item_are_refused_with_the_remedy(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            async with self.db.atomic():
                pass

    with pytest.raises(ac.RunFailed, match=r"self\.db\.atomic\(\) needs an item's transaction"):
        run(Command())


def test_bad_calls_of_the_unit_fail_their_item_with_the_remedy(run: Any) -> None:
    class Command(OneByOne):
        async def parse_and_save(self, item: str, payload: str) -> None:
            if item == "a":
                self.db.add("no model")  # type: ignore[arg-type]
            elif item == "b":
                self.db.upsert(Page(url="x"), unique=["title"], update=["body"])
            elif item == "c":
                self.db.update(Page(url="x"), fields=["title"])
            else:
                await self.db(self.download, item)

    result = failed(run, Command())
    assert result.counts["dead"] == 4
    assert {one.error_kind for one in items_of(result, state="dead")} <= {"TypeError", "ValueError"}
    row_of(result)
