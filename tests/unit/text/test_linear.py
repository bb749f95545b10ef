"""Hostile text costs time in proportion to its length, whatever it is made of."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from async_commander.command.identity import host_of, item_label
from async_commander.management.run_page import in_short
from async_commander.runner.verdicts import TEXT_CAP, judge, kind_of, text_of
from async_commander.text.clean import last_lines, plain, plain_block, storable
from async_commander.text.redactor import Redactor, Tail
from async_commander.text.tracebacks import traceback_text
from async_commander.text.values import redacted_value

REDACT = Redactor(["hunter2-s3cret", 'with "quotes" & ü/+', "aaaaaaaa", "%41%41%41%41"])
FAMILIES = {
    "header names": "=?" + "key-" * 20,
    "one word of keys": "key-",
    "keys without a dash": "key",
    "names with blanks": "api key ",
    "camel case": "accessToken",
    "capitals": "AAAA",
    "assignments": "token=a",
    "colons": "password: ",
    "separators": "=:",
    "blanks before an equals sign": "token" + " " * 60,
    "blanks": " ",
    "query parameters": "?key_",
    "ampersands": "&token=",
    "schemes": "://",
    "user parts without an end": "://a",
    "one user part without an end": "a",
    "at signs": "://@",
    "many at signs": "@",
    "per cent": "%6b",
    "per cent of per cent": "%2525",
    "halves of per cent": "%6",
    "utf-8 in per cent": "%c3%bc",
    "broken utf-8": "%ff%fe",
    "backslashes": "\\",
    "quotes in quotes": '\\"',
    "open quotes": 'token="',
    "open single quotes": "token='\\",
    "bytes": "\\x41",
    "units": "\\u0041",
    "half pairs": "\\ud83d",
    "octal": "\\101",
    "octal without an end": "\\10",
    "points in braces": "\\u{1f600}",
    "braces without an end": "\\u{",
    "quoted-printable": "=3D",
    "lines of a mail": "=C3=BC=\n",
    "lines in quotes": "'\n   b'",
    "quotes and lines": "'\n",
    "words in lines": "ab +\n",
    "a secret in lines": "hunter2\n  -s3cret",
    "entities": "&amp;",
    "entities without an end": "&amp",
    "numbers of characters": "&#x41;",
    "brackets": "cookies={[(",
    "pairs": "('token', '",
    "bearers": "Bearer ",
    "basic": "basic aA",
    "authorization": "Authorization: ",
    "cookies": "Cookie: a=b; ",
    "extension headers": "x-" + "a-" * 30 + "token",
    "secrets": "hunter2-s3cret",
    "beginnings of secrets": "hunter2-s3cre",
    "one letter of a secret": "a",
    "colours": "\x1b[31m",
    "colours without an end": "\x1b[3",
    "titles without an end": "\x1b]0;",
    "device strings": "\x90",
    "parameters of C1": "\x9b0;",
    "nothing but NUL": "\x00",
    "half pairs themselves": "\ud83d",
    "overrides": "\u202e",
    "lines": "\n",
    "lines and tabs": "\n\t ",
    "carriage returns": "\r",
    "tracebacks": "Traceback (most recent call last):\n",
    "base64": "aHVudGVyMi1zM2NyZXQ",
    "hex": "68756e746572322d",
    "hosts": "http://[",
    "dots": "token.",
    "random": "".join(random.Random(7).choices("keytokn=:&?%\\\"'@/ \n\x1b[];{}()-_.x0", k=997)),
}


def raised(text: str) -> ValueError:
    return ValueError(text)


def tailed(text: str) -> str:
    tail = Tail(1_000, REDACT)
    for place in range(0, len(text), 997):
        tail.append(text[place : place + 997])
    return tail.text()


WORK: dict[str, Callable[[str], object]] = {
    "redacted": REDACT,
    "redacted within": REDACT.within,
    "a bounded text": lambda text: REDACT(text, TEXT_CAP),
    "the end of a text": lambda text: REDACT.end(text, TEXT_CAP),
    "an output": tailed,
    "storable": storable,
    "a line": plain,
    "a block": plain_block,
    "the last lines": lambda text: last_lines(text, 20_000),
    "a label": lambda text: item_label(text, REDACT),
    "a label of a dict": lambda text: item_label({"url": text}, REDACT),
    "a host": lambda text: host_of(f"http://{text}"),
    "an error": lambda text: (kind_of(raised(text)), text_of(raised(text), REDACT)),
    "a verdict": lambda text: judge(raised(text), lambda: False),
    "a traceback": lambda text: traceback_text(raised(text)),
    "a short message": in_short,
    "a value": lambda text: redacted_value({text: [text]}, REDACT),
}
FREE = 200e-9
"""Seconds of CPU for a character that are not looked at: that is noise."""
SIZES = (2 << 10, 8 << 10, 32 << 10, 128 << 10)
"""Characters; the first of them are about where a text is cut."""
TO_A_MEGABYTE = (2 << 10, 16 << 10, 128 << 10, 1 << 20)
"""Characters of a text that is redacted whole."""
ALLOWED = 8.0
"""Times the cost of a character at the smallest size: a loop in a loop would cost a thousand times as much."""


def seconds(work: Callable[[str], object], text: str) -> float:
    began = time.thread_time()
    work(text)
    return time.thread_time() - began


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", WORK)
def test_time_grows_in_proportion_to_the_text(name: str, family: str) -> None:
    """The cost of one character stays what it is as the text grows; in CPU time of this thread, the best of three."""
    work, unit = WORK[name], FAMILIES[family]
    sizes = TO_A_MEGABYTE if name == "redacted" else SIZES
    whole = unit * (sizes[-1] // len(unit) + 1)
    first = max(min(seconds(work, whole[:1024]) for _ in range(5)) / 1024, FREE)
    for size in sizes:
        text = whole[:size]
        costs = []
        for _ in range(3):
            costs.append(seconds(work, text) / size)
            if costs[-1] <= ALLOWED * first:
                break
        assert min(costs) <= ALLOWED * first, (
            f"{min(costs) / first:.0f} times the cost of a character at 1 KB, at {size}"
        )


def test_a_chain_of_many_errors_is_judged_and_told() -> None:
    deep: Exception = ValueError("at the bottom")
    for _ in range(5_000):
        deep = ExceptionGroup("deep", [deep, KeyError("beside")])
    assert judge(deep, lambda: False).kind == "dead"
    assert len(text_of(deep, REDACT)) <= TEXT_CAP
