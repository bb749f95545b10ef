"""A command whose options are added to its parser, as those of Django's commands are."""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Any

import async_commander as ac


class Shouting(Action):
    """Code of the author's own."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, str(values).upper())


class Command(ac.AsyncCommand):
    """Send what was ordered."""

    region: str = "eu"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("shops", nargs="*", type=int, help="numbers of shops, all without any")
        parser.add_argument(
            "--out-file", "-o", dest="target", default="out.csv", help="where to (%(default)s), 5 %% of it"
        )
        parser.add_argument("--days", type=int, default=7)
        parser.add_argument("--share", type=float)
        parser.add_argument("--format", choices=["csv", "json"], default="csv")
        parser.add_argument("--level", choices=[1, 2, 3], type=int)
        parser.add_argument("--pair", nargs=2)
        parser.add_argument("--tag", action="append")
        parser.add_argument("--no-cache", action="store_false", dest="cache")
        parser.add_argument("--colour", action=BooleanOptionalAction)
        parser.add_argument("--deep", action="count", default=0)
        either = parser.add_mutually_exclusive_group()
        either.add_argument("--fast", action="store_true")
        either.add_argument("--slow", action="store_true")
        parser.add_argument("--settings-file", type=Path)
        parser.add_argument("--shout", action=Shouting)
        parser.add_argument("--api-token")
        parser.add_argument("--hidden", help=SUPPRESS)

    async def handle(self) -> Any:
        return {name: value for name, value in self.options.items() if not name.startswith("_")}
