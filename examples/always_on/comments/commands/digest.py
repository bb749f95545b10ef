"""Every five minutes: `manage.py abots` runs it beside the bot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from comments.models import Comment

import async_commander as ac


class Command(ac.DownloadIterateCommand[None, datetime]):
    """Say how many comments came in the last five minutes."""

    always_on = True

    async def download(self) -> None: ...

    async def iterate(self, _: None) -> AsyncIterator[datetime]:
        async for moment in ac.cron("*/5 * * * *"):
            yield moment

    async def parse_and_save(self, moment: datetime) -> None:
        recent = Comment.objects.filter(timestamp__gte=moment - timedelta(minutes=5))
        self.log.info("%d comments in five minutes", await recent.acount())
