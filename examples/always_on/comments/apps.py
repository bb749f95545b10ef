"""The app of the example."""

from __future__ import annotations

from django.apps import AppConfig


class CommentsConfig(AppConfig):
    """People leave comments, and a bot reads them out."""

    name = "comments"
    default_auto_field = "django.db.models.BigAutoField"
