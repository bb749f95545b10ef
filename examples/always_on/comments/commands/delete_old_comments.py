"""The nightly clean-up: `manage.py arun delete_old_comments`, from cron or a scheduled task."""

from __future__ import annotations

from datetime import timedelta

from comments.models import Comment
from django.utils import timezone

import async_commander as ac


class Command(ac.AsyncCommand):
    """Delete comments that are older than a day."""

    days: int = 1

    single_instance = True

    async def handle(self) -> int:
        old = Comment.objects.filter(timestamp__lt=timezone.now() - timedelta(days=self.days))
        deleted, _ = await old.adelete()
        self.log.info("%d comments deleted", deleted)
        return deleted
