"""A hook that forks: its copy ends where the hook does, and the run goes on as if nothing had been."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

COMMAND = '''
import asyncio
import os
import sys
import warnings
from contextlib import asynccontextmanager

from django.contrib.contenttypes.models import ContentType

import async_commander as ac

warnings.simplefilter("ignore", DeprecationWarning)  # threads and forks: what this is about


class Fork:
    """Forks once in each place; the copy comes back in the way that it is told to."""

    def __init__(self):
        self.places = set()

    def __call__(self, place):
        if place in self.places:
            return False
        self.places.add(place)
        copy = os.fork() == 0
        if copy and os.environ["BACK_BY"] == "raise":
            raise ValueError("in the copy")
        if copy and os.environ["BACK_BY"] == "exit":
            sys.exit("in the copy")
        return copy


fork = Fork()


class Command(ac.IterateDownloadCommand[int, int]):
    limits = ac.Limits(threads=3)

    def journal(self, text):
        with open(os.environ["JOURNAL"], "a") as file:
            file.write(f"{text} {os.getpid()}\\n")

    @asynccontextmanager
    async def lifespan(self):
        fork("lifespan")
        yield
        self.journal("lifespan")

    async def iterate(self):
        for number in range(20):
            if number == 5 and fork("iterate"):
                pass
            yield number

    async def download(self, item):
        if item == 7 and fork("download") and os.environ["BACK_BY"] == "await":
            await asyncio.sleep(0.01)
        if item == 7:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.a_task())
        return item

    async def a_task(self):
        if fork("task") and os.environ["BACK_BY"] == "await":
            await asyncio.sleep(0.01)

    async def parse_and_save(self, item, payload):
        self.db.add(ContentType(app_label="forks", model=str(item)))
        if item == 7:
            fork("save")
            await self.db(self.in_a_lane)

    def in_a_lane(self):
        fork("lane")

    async def committed(self, item):
        self.journal("committed")
        if item == 7:
            fork("committed")

    async def cleanup(self):
        self.journal(f"cleanup,{','.join(sorted({*fork.places, 'cleanup'}))}")
        fork("cleanup")
'''
PLAIN = """
from async_forks import *


class Command(Command):
    def download(self, item):
        if item == 7:
            fork("download")
        return item

    def parse_and_save(self, item, payload):
        ContentType.objects.create(app_label="forks", model=str(item))
        if item == 7:
            fork("save")
"""


@pytest.mark.parametrize("back_by", ["return", "raise", "await", "exit"])
def test_the_copies_end_with_their_hooks(manage, tmp_path: Path, back_by: str) -> None:
    places = ["cleanup", "committed", "download", "iterate", "lane", "lifespan", "save", "task"]
    check(manage, tmp_path, "async_forks", back_by, places)


@pytest.mark.parametrize("back_by", ["return", "raise"])
def test_the_copies_of_plain_hooks_end_with_them(manage, tmp_path: Path, back_by: str) -> None:
    places = ["cleanup", "committed", "download", "iterate", "lifespan", "save"]
    check(manage, tmp_path, "plain_forks", back_by, places)


def check(manage, folder: Path, name: str, back_by: str, places: list[str]) -> None:
    """All items are done once, by one process; stdout, which the copy holds open while it lives, has one document."""
    commands = folder / "forking"
    commands.mkdir()
    (commands / "async_forks.py").write_text(COMMAND)
    (commands / "plain_forks.py").write_text(PLAIN.replace("async_forks", "forking.async_forks"))
    journal = folder / "journal"
    settings = json.dumps({"COMMAND_PACKAGES": ["forking"]})
    path = f"{folder}:{Path(__file__).parents[3]}"
    ended = manage(
        f"arun {name} --json",
        BACK_BY=back_by,
        JOURNAL=str(journal),
        PYTHONPATH=path,
        PROJECT_SETTINGS=settings,
    )
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert (document["status"], document["counts"]["done"]) == ("succeeded", 20)
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert len({process for _, process in lines}) == 1
    assert [what for what, _ in lines].count("committed") == 20
    assert [what for what, _ in lines if "cleanup" in what] == [f"cleanup,{','.join(places)}"]
