"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured


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
        """Register the system checks."""
        from async_commander import checks  # noqa: F401 - importing registers them
