"""The Django application."""

from __future__ import annotations

from contextlib import suppress

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured

from async_commander.exceptions import AsyncCommanderError
from async_commander.queues.engine import engine_of


class AsyncCommanderConfig(AppConfig):
    """Brings the history's tables, the admin and the system checks into a project."""

    name = "async_commander"
    verbose_name = "async commander"
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        """Say what is missing before the models say it in Django's words."""
        if not any(app.name == "django.contrib.contenttypes" for app in apps.app_configs.values()):
            raise ImproperlyConfigured(
                "async_commander keeps which run wrote which object, by content type: "
                "add 'django.contrib.contenttypes' to INSTALLED_APPS."
            )
        super().import_models()

    def ready(self) -> None:
        """Register the system checks, and with a queue its task, so that a worker of that queue knows it."""
        from async_commander import checks  # noqa: F401 - importing registers them

        with suppress(AsyncCommanderError, ImproperlyConfigured):  # the checks say what is wrong
            engine_of()
