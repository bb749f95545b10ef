"""Commands whose runs are cut into shards: other processes find them here by their names."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio

import async_commander as ac
from tests.testapp.models import Effect, Tag


def here() -> str:
    """Which process this is."""
    return str(os.getpid())


class Hashed(ac.IterateDownloadCommand[int, int]):
    """Numbers, of which some are special. Each effect is a row of its own, with the process that made it."""

    limits = ac.Limits(threads=4, batch_size=10)
    retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)
    count: int = 40
    pause: float = 0.0
    dead: int = -1
    """From this one on items are dead, until the folder has something."""
    deadly: int = -1
    """Kills its process, as often as the folder allows."""
    folder: str = ""

    def iterate(self) -> Iterator[int]:
        yield from range(self.count)

    async def download(self, item: int) -> int:
        await anyio.sleep(self.pause)
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        if item == self.deadly and self.may_die():
            os.kill(os.getpid(), signal.SIGKILL)
        if 0 <= self.dead <= item and not (self.folder and any(Path(self.folder).iterdir())):
            raise ValueError(f"{payload} is dead")
        self.db.add(Effect(key=str(item), run=here()))

    def may_die(self) -> bool:
        lives = sorted(Path(self.folder).iterdir())
        if lives:
            lives[0].unlink()
        return bool(lives)

    async def cleanup(self, result: ac.RunResult) -> None:
        self.db.add(Tag(name=f"cleaned up after {result.counts['done']} by {here()}"))


class Ranged(ac.IterateDownloadCommand[Tag, str]):
    """Rows, read by ranges of their keys."""

    limits = ac.Limits(threads=4, batch_size=10)

    async def iterate(self) -> Any:
        return Tag.objects.all()

    async def download(self, item: Tag) -> str:
        return item.name

    async def parse_and_save(self, item: Tag, payload: str) -> None:
        self.db.add(Effect(key=payload, run=here()))


class Own(Hashed):
    """It cuts its source itself."""

    def iterate(self, shard: Any = None) -> Iterator[int]:
        yield from range(self.count)[slice(None) if shard is None else slice(shard.index, None, shard.count)]


class Crawl(Hashed):
    """Each number brings up two others, and many numbers the same."""

    def iterate(self) -> Iterator[int]:
        yield from range(4)

    async def parse_and_save(self, item: int, payload: int) -> None:
        await super().parse_and_save(item, payload)
        self.follow(*(one for one in (2 * item, 2 * item + 1, item + 3) if one < self.count))


class Broken(Hashed):
    """Its source fails."""

    def iterate(self) -> Iterator[int]:
        yield from range(3)
        raise ValueError("the source is broken")


class Paced(Hashed):
    """All of its items are of one host. It tells when each was begun and ended."""

    def throttle_key(self, item: int) -> str:
        return "one host"

    async def download(self, item: int) -> int:
        self.began = getattr(self, "began", {})
        self.began[item] = time.time()
        return await super().download(item)

    async def parse_and_save(self, item: int, payload: int) -> None:
        await super().parse_and_save(item, payload)
        self.db.add(Tag(name=f"{item} {self.began[item]} {time.time()}"))

    async def cleanup(self, result: ac.RunResult) -> None:
        """Nothing is left of it."""
