"""Fifty secrets go through every surface in every spelling, and come out nowhere."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import quote, quote_plus

import pytest
from django.contrib.auth.models import User
from django.core.management.base import OutputWrapper
from django.test import Client

import async_commander as ac
from async_commander.command.base import redactor_of
from async_commander.management.reporter import TerminalReporter, choose_display
from async_commander.management.screen import Verbatim, open_console
from async_commander.management.steps import Invocation
from async_commander.management.summary import json_document
from async_commander.models import Run, RunErrorKind, RunItem, RunLog
from async_commander.text.redactor import HIDDEN
from async_commander.text.tracebacks import traceback_text
from tests.testapp.models import Tag

SIGNS = ["", "/+", '"', "'", "&ü", "\\", "<>", "%2f", " ", "€😀"]
CANARIES = [f"c4n{number:02}{SIGNS[number % len(SIGNS)]}x{number * 104729:x}-zz" for number in range(50)]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "quoted": lambda text: quote(text, safe=""),
    "quoted but for a slash": quote,
    "in a form": quote_plus,
    "in a query, as yarl writes it": lambda text: quote_plus(text, safe="?/:@-._~!$'()*,"),
    "in lower case": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON with all its letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "by repr": lambda text: repr(text)[1:-1],
    "of bytes": lambda text: repr(text.encode())[2:-1],
    "in HTML": html.escape,
    "in base64": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "in base64, one later": lambda text: base64.b64encode(b"a" + text.encode()).decode()[2:].rstrip("="),
    "in base64, two later": lambda text: base64.b64encode(b"ab" + text.encode()).decode()[3:].rstrip("="),
    "in base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "in hex": lambda text: text.encode().hex(),
    "in hex, in capitals": lambda text: text.encode().hex().upper(),
}
ALL = {canary: sorted({spell(canary) for spell in SPELLINGS.values()}) for canary in CANARIES}


def told(canary: str) -> str:
    """One text with the secret in every spelling."""
    return " | ".join(ALL[canary])


class Leaks(ac.IterateDownloadCommand[str, str]):
    """Says its secrets wherever it can."""

    limits = ac.Limits(max_failures=None, threads=5)
    secrets: Annotated[list[str], ac.Option(secret=True)] = []
    note: str = ""
    remark: Annotated[str, ac.Option(identity=False)] = ""

    async def iterate(self):
        for number, canary in enumerate(self.secrets):
            self.stdout.write(f"out {told(canary)}")
            self.stderr.write(f"err \x1b[1m{canary}\x1b[0m", ending="")
            self.stdout.write(canary[:7], ending="")
            self.stdout.write(canary[7:])
            self.log.warning("log %s", told(canary), extra={"told": told(canary), "deep": {"x": [told(canary)]}})
            self.log.getChild("child").warning(f"child {told(canary)}")
            logging.getLogger("shop").warning("shop %s", told(canary))
            for place, spelling in enumerate(ALL[canary]):
                if (number + place) % 9 == 0:
                    yield "." * (190 - 11 * place) + spelling + "." * 500
            yield canary

    async def download(self, item: str) -> str:
        canary = next((each for each in self.secrets if each in item), "")
        if canary:
            try:
                raise KeyError(told(canary))
            except KeyError as error:
                raise ValueError(f"{canary}\n{told(canary)}", {"Authorization": f"Bearer {canary}"}) from error
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=str(hash(item))[:20]))

    async def cleanup(self) -> None:
        raise LookupError("; ".join(map(told, self.secrets)))


class Returns(ac.AsyncCommand):
    secrets: Annotated[list[str], ac.Option(secret=True)] = []

    async def handle(self) -> Any:
        return {canary: [told(canary), {"x": canary}] for canary in self.secrets}


class Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("async_commander"):
            error = record.exc_info[1] if record.exc_info else None
            raised = "" if error is None else f"{error!r} {traceback_text(error)}"
            self.texts.append(f"{logging.Formatter().format(record)} {vars(record)} {raised}")


@contextmanager
def heard() -> Iterator[Heard]:
    handler, root = Heard(), logging.getLogger()
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)


def terminal(command: Any) -> tuple[io.StringIO, Any]:
    stream = io.StringIO()
    redact, err = redactor_of(command), Verbatim(OutputWrapper(stream))
    invocation = Invocation("manage.py arun", ["leaks", *(f"--secrets={each}" for each in CANARIES), *CANARIES], redact)
    console = open_console(err, no_color=True, force_color=False)
    display = choose_display("plain", console, err, err, quiet=False)
    return stream, TerminalReporter(console, display, invocation, verbosity=3)


def everything_stored() -> Iterator[str]:
    for model in (Run, RunErrorKind, RunLog):
        for row in model.objects.values():
            yield from (value if isinstance(value, str) else json.dumps(value, default=str) for value in row.values())
    for row in RunItem.objects.values("label", "error", "reason", "error_kind"):
        yield from row.values()


def shown_in_the_admin() -> Iterator[str]:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="root"))
    for model in (Run, RunItem, RunLog):
        base = f"/admin/async_commander/{model._meta.model_name}/"
        yield client.get(base).content.decode()
        for pk in model.objects.order_by("-pk").values_list("pk", flat=True)[:30]:
            yield client.get(f"{base}{pk}/change/").content.decode()


@pytest.mark.timeout(300)
def test_fifty_secrets_are_nowhere(run: Any) -> None:
    command = Leaks(secrets=CANARIES, note=f"note {told(CANARIES[0])}", remark=told(CANARIES[1]))
    stream, reporter = terminal(command)
    out = io.StringIO()
    with heard() as handler, pytest.raises(ac.RunFailed) as raised:
        run(command, verbosity=3, reporter=reporter, stdout=out, stderr=out)
    result = raised.value.result
    assert run(Returns(secrets=CANARIES)).status == "succeeded"
    texts = [
        *everything_stored(),
        *shown_in_the_admin(),
        *handler.texts,
        stream.getvalue(),
        out.getvalue(),
        json_document(result, redactor_of(command)),
        str(raised.value),
        repr(result),
        repr(command),
    ]
    assert RunItem.objects.filter(state="dead").count() >= 50
    assert len(handler.texts) > 150
    assert sum(HIDDEN in text for text in texts) > 500
    found = [
        (canary, spelling, text[max(0, text.index(spelling) - 60) :][:200])
        for text in map(html.unescape, texts)
        for canary, spellings in ALL.items()
        for spelling in spellings
        if spelling in text
    ]
    assert found[:3] == []
    assert [text for text in texts if any(f"c4n{number:02}" in text for number in range(50))][:1] == []
