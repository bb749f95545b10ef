"""Gives an async command to plain `manage.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dispatch import RunCommand, describe

if TYPE_CHECKING:
    from async_commander.command.base import AsyncCommand


def as_management_command(command_class: type[AsyncCommand]) -> type[RunCommand]:
    """A class for `manage.py`, `manage.py help` and `call_command`: one line in `management/commands/fetch.py`.

    Command = ac.as_management_command(FetchCommand)
    """
    attributes = {
        "command_class": command_class,
        "help": describe(command_class),
        "__module__": command_class.__module__,
    }
    return type("Command", (RunCommand,), attributes)
