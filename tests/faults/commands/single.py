"""A job of which there must not be two at a time."""

from __future__ import annotations

from tests.faults.commands import once


class Command(once.Command):
    """The same, as often as one likes."""

    run_once = False
    single_instance = True
