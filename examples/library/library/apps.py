"""The app of the example."""

from __future__ import annotations

from django.apps import AppConfig


class LibraryConfig(AppConfig):
    """Modules of a library, what they define, and which of them know each other."""

    name = "library"
    default_auto_field = "django.db.models.BigAutoField"
