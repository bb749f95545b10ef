"""Settings before the move: `pip install django-managed-commands winidjango`, and the commands as they were."""

from __future__ import annotations

from .settings import *  # noqa: F403

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_managed_commands",
    "before",  # its commands go before those of the same name in shop
    "shop",
]
