"""An import line is changed by what stands before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PREFIX = "async_commander.contrib.compat."


@pytest.mark.parametrize(
    "line",
    [
        "from django_commander.commands import BasicCommand, IterateDownloadCommand, cache_results, log_command",
        "from django_commander.commands import commands; commands['x'] if 'x' in commands else None",
        "from django_commander.models import Command, CommandLog, LoggedExtendedModel",
        "from django_commander.managers import LoggedExtendedManager",
        "from django_commander.utils import run_command_async, test_commands",
        "from django_managed_commands.base import ManagedCommand",
        "from django_managed_commands.models import CommandExecution",
        "from django_managed_commands.utils import get_command_history, record_command_execution, should_run_command",
        "from winidjango.src.commands.base.base import ABCBaseCommand",
        "from winidjango.src.commands.import_data import ImportDataBaseCommand",
        "from winiutils.src.data.dataframe.cleaning import CleaningDF",
        "from winidjango.core.db.bulk import bulk_create_in_steps, simulate_bulk_deletion",
        "from winidjango.core.db.models import BaseModel, topological_sort_models",
    ],
)
def test_the_old_path_is_there_below_ours(line: str) -> None:
    exec(
        line.replace("from django_managed", "from managed")
        .replace("winiutils", "winidjango")
        .replace("from ", f"from {PREFIX}")
    )


def test_a_path_is_there_first_thing() -> None:
    """Before the module itself was ever loaded, and without hiding what has the name of a path."""
    code = f"""
import django; django.setup()
from {PREFIX}django_commander.commands import commands
from {PREFIX}django_commander import commands as same
from {PREFIX}winidjango.core.commands.import_data import ImportDataBaseCommand
assert commands is same and "pages" in commands
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
