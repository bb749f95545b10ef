"""`threads`, `processes` and `batch_size`, given with a call: each has its effect, and another one than by default."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest
from django.db import connection, transaction

import async_commander as ac
from tests.testapp.models import Effect

from . import work


class Numbers(ac.IterateDownloadCommand[int, int]):
    count = 60

    async def iterate(self):
        return range(self.count)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.add(Effect(key=str(item)))


def test_threads_are_items_in_hand_at_once(run: Any) -> None:
    class Command(Numbers):
        most = now = 0

        async def download(self, item: int) -> int:
            self.now += 1
            self.most = max(self.most, self.now)
            await anyio.sleep(0.05)  # longer than it takes to begin as many
            self.now -= 1
            return item

    for threads in (3, 17):
        command = Command()
        run(command, threads=threads)
        assert command.most == threads


def test_processes_are_children_at_once(run: Any) -> None:
    class Command(Numbers):
        count = 12

        async def parse_and_save(self, item: int, payload: int) -> tuple[float, float]:
            return await self.cpu(work.begun_and_ended, 0.02)

        keep_values = True

    times = sorted(run(Command(), processes=1).values)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(times))
    assert len(times) == 12


def test_batch_size_is_items_saved_in_one_transaction(run_on_lanes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    field: Any = Effect._meta.get_field("key")
    plain = field.pre_save

    def counted(instance: Any, add: bool) -> Any:
        if not any(function is committed for _, function, _ in connection.run_on_commit):
            transaction.on_commit(committed)
        return plain(instance, add)

    sizes: list[int] = []

    def committed() -> None:
        sizes.append(Effect.objects.count() - sum(sizes))

    monkeypatch.setattr(field, "pre_save", counted)
    run_on_lanes(Numbers(), batch_size=4)
    assert max(sizes) <= 4
    assert sum(sizes) == 60
    sizes.clear()
    Effect.objects.all().delete()
    run_on_lanes(Numbers(), batch_size=100)
    assert max(sizes) > 4
