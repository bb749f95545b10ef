"""Runs once, after something else."""

from __future__ import annotations

import async_commander as ac


class Command(ac.AsyncCommand):
    """Once, where `needs` is not set."""

    run_once = True
    needs: str = ""
    dependencies = [ac.DependsOn("answers", what=lambda command: command.needs or "text")]

    async def handle(self) -> str:
        return "once"
