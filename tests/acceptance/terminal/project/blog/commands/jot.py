"""A command that writes rows, in every hook."""

from __future__ import annotations

import os

import anyio
from django.contrib.contenttypes.models import ContentType

import async_commander as ac


class Command(ac.IterateDownloadCommand[int, int]):
    """Jot things down."""

    until: int = 5
    limits = ac.Limits(threads=1)

    async def iterate(self):
        await ContentType.objects.acreate(app_label="jot", model="of the source")
        for number in range(self.until):
            yield number

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        await ContentType.objects.acreate(app_label="jot", model=f"awaited {item}")
        self.db.upsert(ContentType(app_label="jot", model=f"queued {item}"), unique=["app_label", "model"], update=[])
        if item == 3 and "STUCK" in os.environ:
            self.stdout.write("stuck")
            self.stdout.flush()
            await anyio.sleep_forever()
