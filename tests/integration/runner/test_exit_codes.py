"""The code that a run's process ends with, where the author or the items decide it."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.core.management.base import CommandError

import async_commander as ac

from .ledger import row_of
from .test_endings import Numbers, failed


def test_a_run_with_items_dead_and_none_done_is_failed_and_raises(run: Any) -> None:
    class Command(Numbers):
        count = 3

        async def download(self, item: int) -> int:
            raise ValueError(item)

    result = failed(run, Command())
    row = row_of(result)
    assert (result.exit_code, row.status, row.dead) == (1, "failed", 3)
    assert row.error == result.error == "No item is done: 3 items dead."


def test_skipped_items_are_no_success_beside_dead_ones(run: Any) -> None:
    class Command(Numbers):
        count = 2

        async def download(self, item: int) -> int:
            raise ac.SkipItem("not today") if item else ValueError(item)

    assert row_of(failed(run, Command())).skipped == 1


def test_one_item_done_makes_it_partial(run: Any) -> None:
    class Command(Numbers):
        count = 3

        async def download(self, item: int) -> int:
            if item:
                raise ValueError(item)
            return item

    result = run(Command())
    assert (result.status, result.exit_code) == ("partial", 3)


def test_a_source_without_items_is_a_success(run: Any) -> None:
    class Command(Numbers):
        count = 0

    assert run(Command()).status == "succeeded"


def named_in_handle(error: BaseException) -> ac.AsyncCommand:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            raise error

    return Command()


def named_in_a_plain_handle(error: BaseException) -> ac.AsyncCommand:
    class Command(ac.AsyncCommand):
        def handle(self) -> None:
            raise error

    return Command()


def named_in_the_source(error: BaseException) -> ac.AsyncCommand:
    class Command(Numbers):
        async def iterate(self):
            yield 1
            raise error

    return Command()


def named_in_a_group(error: BaseException) -> ac.AsyncCommand:
    return named_in_handle(BaseExceptionGroup("of a task group", [error]))


PLACES = [named_in_handle, named_in_a_plain_handle, named_in_the_source, named_in_a_group]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("no luck", returncode=7), 7),
        (CommandError("no luck"), 1),
        (CommandError("a success that failed", returncode=0), 1),
        (CommandError("more than a process can say", returncode=256), 1),
        (SystemExit(5), 5),
        (SystemExit(0), 1),
        (SystemExit("a text"), 1),
        (SystemExit(True), 1),
        (ValueError("of nobody's code"), 1),
    ],
    ids=repr,
)
def test_an_error_names_the_exit_code(run: Any, place: Any, error: BaseException, code: int) -> None:
    assert failed(run, place(error)).exit_code == code


def test_the_code_of_another_programs_end_is_not_ours(run: Any) -> None:
    import subprocess

    error = subprocess.CalledProcessError(returncode=9, cmd=[sys.executable])
    assert failed(run, named_in_handle(error)).exit_code == 1
