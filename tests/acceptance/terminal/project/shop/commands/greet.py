"""A plain command."""

from __future__ import annotations

import os
from typing import Annotated

from django.core.management.base import CommandError

import async_commander as ac


class Command(ac.AsyncCommand):
    """Greet somebody.

    As often as wanted.
    """

    name: str
    times: int = 1
    api_token: Annotated[str, ac.Option(help="Shown to nobody.")] = ""

    test_parameters = {"name": "Tess"}
    test_options = {"loud_voice": True, "threads": 3}

    def add_arguments(self, parser) -> None:
        parser.add_argument("--loud_voice", action="store_true")
        parser.add_argument("--parser-key", default="")
        parser.add_argument("--tell", action="store_true")

    async def handle(self) -> dict[str, object]:
        self.log.debug("about to greet, token %s", self.api_token)
        if "PRINTED" in os.environ:
            print(os.environ["PRINTED"])
            os.write(1, b"past Python\n")
        for _ in range(self.times):
            self.stdout.write(f"Hello {self.name}{'!' if self.options['loud_voice'] else ''}")
        if self.name == "logger":
            for level in ("debug", "info", "warning"):
                getattr(self.log.getChild("child"), level)("%s of a child, %s", level[0].upper(), self.api_token)
        if self.name == "nobody":
            raise LookupError("there is nobody\x1b[31m here")
        if self.name == "somebody-else":
            raise CommandError("that is somebody else", returncode=7)
        if self.options["tell"]:
            return {"token": self.api_token, "inner": [f"key {self.options['parser_key']}"]}
        return {"greeted": self.name, "threads": self._session.context.limits.threads}
