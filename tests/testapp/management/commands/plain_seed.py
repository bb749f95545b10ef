"""A plain command of Django's, tracked."""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import async_commander as ac
from tests.testapp.models import Effect


class Command(ac.ManagedCommand):
    """Writes a row, and ends as it is told."""

    help = "Write a row."

    def add_arguments(self, parser: Any) -> None:  # without super(), on purpose
        parser.add_argument("region")
        parser.add_argument("--day", type=dt.date.fromisoformat)
        parser.add_argument("--price", type=Decimal)
        parser.add_argument("--file", type=Path)
        parser.add_argument("--password", default="")
        parser.add_argument("--end", default="")

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.stdout.write(f"seeding {options['region']}")
        Effect.objects.create(key=options["region"], run=str(os.getpid()))
        end = options["end"]
        if end == "raise":
            raise ValueError(f"no good, {options['password']}")
        if end.startswith("exit"):
            sys.exit(int(end.removeprefix("exit")))
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "wait":
            time.sleep(60)
        self.stderr.write("a warning")
        return {"text": "done", "number": 42, "none": None}.get(end, "seeded")
