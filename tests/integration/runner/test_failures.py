"""What fails, who is to blame, and what the run says about it afterwards."""

from __future__ import annotations

import itertools
import pickle
import re
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest

import async_commander as ac
from async_commander.models import RunErrorKind, RunItem

from .failing import Items, failed, http_error, tags
from .ledger import items_of, labels_of, row_of


def test_an_item_that_fails_is_dead_and_the_others_are_done(run: Any) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            if item in "bd":
                raise ValueError(f"{item} is no good")

    result = run(Command())
    assert result.status is ac.RunStatus.PARTIAL
    assert tags() == "acef"
    assert [(one.kind, one.count) for one in result.errors] == [("ValueError", 2)]
    dead = items_of(result, state="dead")
    assert [(one.label, one.reason, one.error_kind, one.error, one.attempts, one.item) for one in dead] == [
        ("b", "permanent", "ValueError", "b is no good", 1, "b"),
        ("d", "permanent", "ValueError", "d is no good", 1, "d"),
    ]
    said = row_of(result).logs.filter(message__contains="for good").values_list("message", flat=True)
    assert all(
        re.search(r"b|d failed .*: ValueError: . is no good \(.*test_failures\.py:\d+ in fail\)$", one) for one in said
    )
    assert len(said) == 2
    kind = RunErrorKind.objects.get()
    assert (kind.kind, kind.count, kind.item in "bd") == ("ValueError", 2, True)
    assert row_of(result).status == "partial"


def test_an_error_that_passes_is_tried_again(run: Any) -> None:
    tries: Counter[str] = Counter()

    class Command(Items):
        def fail(self, item: str) -> None:
            tries[item] += 1
            if item == "c" and tries[item] < 3:
                raise TimeoutError

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert tries == Counter(a=1, b=1, c=3, d=1, e=1, f=1)
    assert tags() == "abcdef"
    assert [item.attempts for item in items_of(result, label="c")] == [3]
    assert row_of(result).error_kinds.get().count == 2


def test_an_error_that_does_not_pass_in_time_exhausts_its_attempts(run: Any) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            if item == "c":
                raise ConnectionError("refused")

    result = run(Command())
    dead = items_of(result, state="dead")[0]
    assert (dead.reason, dead.attempts, dead.error_kind) == ("exhausted", 3, "ConnectionError")
    assert row_of(result).error_kinds.get().count == 3


@pytest.mark.parametrize(
    ("error", "reason", "kind"),
    [
        (http_error(404), "permanent", "HTTPStatusError 404"),
        (http_error(503), "exhausted", "HTTPStatusError 503"),
        (AssertionError("wrong"), "permanent", "AssertionError"),
        (RecursionError("deep"), "permanent", "RecursionError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "permanent", "UnicodeDecodeError"),
        (ExceptionGroup("many", [ValueError("one of one")]), "permanent", "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_dead_items_say_why(run: Any, error: Exception, reason: str, kind: str) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            if item == "a":
                raise error

    result = run(Command())
    dead = items_of(result, state="dead")
    assert [(one.reason, one.error_kind) for one in dead] == [(reason, kind)]
    row_of(result)


def test_an_item_that_raises_cancelled_error_fails_alone(run: Any) -> None:
    class Command(Items):
        async def download(self, item: str) -> str:
            if item == "b":
                raise anyio.get_cancelled_exc_class()
            return item

    result = run(Command())
    assert tags() == "acdef"
    assert [one.error_kind for one in items_of(result, state="dead")] == ["CancelledError"]
    row_of(result)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_no_item_may_survive_ends_the_run(run: Any, error: type[BaseException]) -> None:
    class Command(Items):
        limits = ac.Limits(threads=1)

        def fail(self, item: str) -> None:
            if item == "c":
                raise error

    result = failed(run, Command())
    row = row_of(result)
    assert row.status == "failed"
    assert error.__name__ in row.error
    assert row.dead == 0
    assert row.logs.filter(message__startswith=f"{error.__name__} in item “c” ends the run").exists()


def test_a_failed_run_can_be_told_to_another_process(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            raise http_error(404)

    with pytest.raises(ac.RunFailed) as raised:
        run(Command())
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (str(copy), copy.result) == (str(raised.value), raised.value.result)


def test_should_retry_decides_what_is_tried_again(run: Any) -> None:
    class Command(Items):
        def should_retry(self, error: Exception) -> bool:
            return isinstance(error, KeyError)

        def fail(self, item: str) -> None:
            if item == "a":
                raise KeyError(item)
            if item == "b":
                raise TimeoutError

    dead = items_of(run(Command()), state="dead")
    assert [(one.label, one.reason, one.attempts) for one in dead] == [("a", "exhausted", 3), ("b", "timeout", 1)]


def test_a_key_met_twice_is_skipped_with_one_warning(run: Any) -> None:
    class Command(Items):
        async def iterate(self):
            return list("aabbcabc")

    result = run(Command())
    assert tags() == "abc"
    assert result.counts | {"skipped": 5, "done": 3, "taken": 8} == result.counts
    row = row_of(result)
    assert row.logs.filter(message__contains="skipped as duplicates").count() == 1


def test_an_item_without_a_key_is_dead_and_says_the_remedy(run: Any) -> None:
    class Command(Items):
        async def iterate(self):
            yield object()

    failed(run, Command())
    item = RunItem.objects.get()
    assert (item.state, item.reason, item.error_kind) == ("dead", "permanent", "UnfitItem")
    assert item.error.startswith("Item 1 of the source: the item 'object' has no stable key")
    assert "Define item_key(self, item)" in item.error


def test_a_failed_run_without_a_done_item_raises_with_the_most_frequent_error(run: Any) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            raise ValueError("no price")

    with pytest.raises(ac.RunFailed, match=r"No item is done: \d+ items? dead\. \d+ × ValueError: no price"):
        run(Command())


def test_a_number_to_resume_goes_before_a_default_of_the_class(run_on_lanes: Any) -> None:
    tries = itertools.count()

    class Command(Items):
        option_defaults = {"resume": True}

        def fail(self, item: str) -> None:
            if next(tries) == 0:
                raise MemoryError

    first = failed(run_on_lanes, Command())
    assert run_on_lanes(Command(), resume_run=first.run_id).run_id == first.run_id


def test_the_traceback_of_a_failed_run_is_kept(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.inner()

        def inner(self) -> None:
            raise LookupError("in here")

    row = row_of(failed(run, Command()))
    assert "in inner" in row.traceback
    assert row.traceback.rstrip().endswith("LookupError: in here")
    assert row.duration < timedelta(minutes=1)


@pytest.mark.parametrize("where", ["lifespan", "end of lifespan", "total"])
def test_an_error_outside_of_the_items_fails_the_run(run: Any, where: str) -> None:
    class Command(Items):
        @asynccontextmanager
        async def lifespan(self):
            if where == "lifespan":
                raise LookupError(where)
            yield
            if where == "end of lifespan":
                raise LookupError(where)

        async def total(self) -> int:
            if where == "total":
                raise LookupError(where)
            return 6

    row = row_of(failed(run, Command()))
    assert row.error == f"LookupError: {where}"
    assert row.done == (6 if where == "end of lifespan" else 0)


def test_a_source_whose_connection_breaks_is_asked_again(run: Any) -> None:
    class Command(Items):
        times = 0

        async def iterate(self):
            type(self).times += 1
            for item in "abcdef":
                if item == "d" and self.times == 1:
                    raise ConnectionError("gone")
                yield item

    result = run(Command())
    assert (result.status, tags(), Command.times) == (ac.RunStatus.SUCCEEDED, "abcdef", 2)
    assert row_of(result).taken == 6


def test_the_ledger_tells_hostile_text_as_it_came(run: Any) -> None:
    text = "<script>alert('x')</script>\x00\x1b[31m\udcff"

    class Command(Items):
        async def iterate(self):
            return [text]

        def fail(self, item: str) -> None:
            raise ValueError(text)

    result = failed(run, Command())
    assert result.counts["dead"] == 1
    assert "<script>" in labels_of(result)[0]
    row_of(result)
