"""The Django application: the names that the three packages have in the terminal."""

from __future__ import annotations

from django.apps import AppConfig


class CompatConfig(AppConfig):
    """Brings `manage.py run_command` and `manage.py create_managed_command` into a project."""

    name = "async_commander.contrib.compat"
    label = "async_commander_compat"
    verbose_name = "async commander, under old names"
