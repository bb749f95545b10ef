"""`manage.py acache`: what is kept, by command, and its removal."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError, call_command

from async_commander.cache.codecs import pack
from async_commander.cache.entries import Entry
from async_commander.cache.store import open_store
from async_commander.runner import threads


def acache(*args: str) -> str:
    out = io.StringIO()
    call_command("acache", *args, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def kept(folder: Path) -> Path:
    """Three results of one command, one of which is ten days old, one of another, and one of a test run."""
    store = open_store()
    for area, command, number, size in [
        (False, "pages", 0, 100), (False, "pages", 1, 100_000), (False, "pages", 2, 100),
        (False, "gone_fetch", 0, 10), (True, "pages", 0, 10),
    ]:  # fmt: skip
        key = f"{number:064x}"
        packed = pack("x" * size)
        store.of(testing=area).write(Entry(key=key, command=command, function="f", created=1.0, packed=packed))
    old = time.time() - 10 * 86_400
    os.utime(folder / "async_commander" / "results" / "pages" / f"{0:064x}", (old, old))
    return folder


def files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_an_empty_cache_says_so() -> None:
    assert acache() == "Nothing is kept.\n"
    assert json.loads(acache("--json")) == []


def test_each_command_has_a_line_and_all_a_total(kept: Path) -> None:
    head, gone, pages, tests, total = acache().splitlines()
    assert head.split() == ["command", "results", "size", "oldest", "newest"]
    assert gone.startswith("gone_fetch ")
    assert pages.split()[:4] == ["pages", "3", "99", "KiB"]
    assert tests.startswith("pages (trial runs) ")
    assert total.split()[0] == "5"


def test_one_command_can_be_asked_for_and_programs_get_bytes(kept: Path) -> None:
    pages, tests = json.loads(acache("list", "pages", "--json"))
    assert (pages["command"], pages["test"], pages["results"], tests["test"]) == ("pages", False, 3, True)
    assert pages["bytes"] > 100_200
    assert pages["oldest"] < pages["newest"]


def test_clear_removes_what_one_command_kept_in_both_areas(kept: Path) -> None:
    assert acache("clear", "pages", "--yes").startswith("Removed 4 results of pages, 9")
    assert files(kept) == 1
    assert acache("clear", "pages", "--yes") == "Nothing is kept of pages.\n"


def test_clear_older_than_leaves_what_is_younger(kept: Path) -> None:
    assert acache("clear", "pages", "--older-than", "7d", "--yes").startswith("Removed 1 result of pages")
    assert files(kept) == 4
    assert acache("clear", "pages", "--older-than", "7d", "--yes") == "Nothing is kept of pages for so long.\n"


def test_clear_also_removes_what_a_killed_process_left(kept: Path) -> None:
    (kept / "async_commander" / "results" / "pages" / f"{9:064x}.0123456789abcdef.part").write_bytes(b"half")
    acache("clear", "pages", "--yes")
    assert files(kept) == 1


@pytest.mark.parametrize(("typed", "left"), [("y\n", 1), ("n\n", 5), ("\n", 5), ("", 5), ("__import__('os')\n", 5)])
def test_clear_asks_a_person(kept: Path, monkeypatch: pytest.MonkeyPatch, typed: str, left: int) -> None:
    monkeypatch.setattr(threads, "a_person_is_there", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    told = acache("clear", "pages")
    assert files(kept) == left
    assert told.startswith("Removed 4" if left == 1 else "Nothing was removed.")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["clear"], "Name the command: acache clear NAME"),
        (["clear", "pages"], "cannot be asked without a terminal. Give --yes"),
        (["clear", "pagse", "--yes"], "Nothing is kept of 'pagse', and .*pages"),
        (["clear", "pages", "--older-than", "soon", "--yes"], "'soon' is no stretch of time"),
        (["clera"], "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_refused(
    kept: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], told: str
) -> None:
    monkeypatch.setattr(threads, "a_person_is_there", lambda: False)
    with pytest.raises(CommandError, match=told) as caught:
        acache(*args)
    assert caught.value.returncode in (1, 2)
    assert files(kept) == 5


def test_trouble_with_the_storage_is_told_in_a_line(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise ConnectionError("the bucket is away")

    monkeypatch.setattr(FileSystemStorage, "listdir", away)
    with pytest.raises(CommandError, match="The cache cannot be used: ConnectionError: the bucket is away") as caught:
        acache()
    assert caught.value.returncode == 1


def test_a_storage_that_cannot_be_used_is_named(settings: Any) -> None:
    settings.ASYNC_COMMANDER = {"CACHE": "nowhere"}
    with pytest.raises(CommandError, match="'nowhere'"):
        acache()
