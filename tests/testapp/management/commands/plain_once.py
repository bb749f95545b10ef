"""A plain command that runs once."""

from __future__ import annotations

import asyncio
from typing import Any

import async_commander as ac
from tests.faults.behaviour import tell
from tests.testapp.models import Effect


class Command(ac.ManagedCommand):
    """`async def` works as well."""

    run_once = True

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--fail", action="store_true")
        parser.add_argument("--seconds", type=float, default=0.0)
        parser.add_argument("--journal", default="")

    async def execute_command(self, *args: Any, **options: Any) -> str:
        if options["journal"]:
            tell(options["journal"], "began")
        await Effect.objects.acreate(key="once")
        await asyncio.sleep(options["seconds"])
        if options["fail"]:
            raise ValueError("no good")
        return "seeded once"
