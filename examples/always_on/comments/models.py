"""What people say."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Comment(models.Model):
    """A comment that somebody left on the site."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    timestamp = models.DateTimeField(auto_now_add=True, db_index=True)
    text = models.TextField(max_length=1024)

    def __str__(self) -> str:
        return self.text
