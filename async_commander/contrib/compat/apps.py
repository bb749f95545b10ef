"""The Django application: what the three packages have in the terminal and in the settings."""

from __future__ import annotations

from pathlib import Path

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from async_commander.command.registry import add_folder


class CompatConfig(AppConfig):
    """Brings `manage.py run_command` and `manage.py create_managed_command` into a project, and finds the commands in
    DJANGO_COMMANDER_COMMAND_FOLDERS.
    """

    name = "async_commander.contrib.compat"
    label = "async_commander_compat"
    verbose_name = "async commander, under old names"

    def ready(self) -> None:
        """Those in the folder `commands` of an app are found without being named."""
        for named in getattr(settings, "DJANGO_COMMANDER_COMMAND_FOLDERS", ()):
            folder = Path(getattr(settings, "BASE_DIR", "."), named).resolve()
            if not folder.is_dir():
                raise ImproperlyConfigured(
                    f"DJANGO_COMMANDER_COMMAND_FOLDERS names {str(named)!r}, which is no folder."
                )
            app = next((app for app in apps.get_app_configs() if folder.is_relative_to(Path(app.path))), None)
            add_folder(folder, package=_package_of(folder), label=app.label if app else folder.parent.name)


def _package_of(folder: Path) -> str:
    """The dotted name of a folder, from the first one above it on that is no package."""
    parts = [folder.name]
    while ((folder := folder.parent) / "__init__.py").is_file():
        parts.append(folder.name)
    return ".".join(reversed(parts))
