"""The admin in another language: nothing on its pages stays English, and figures are written as that language does."""

from __future__ import annotations

import gettext
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

import async_commander
from async_commander.models import Run
from tests.browser.history import fill, key

LOCALE = Path(async_commander.__file__).parent / "locale"
DATA = re.compile(
    r"#?[\d.,:#×%–-]+|\d.*|https?:.*|.*(?:Error|Timeout|Traceback).*|Reading 4 shops.*|async[ _]commander.*|"
    r".*(?:example|prices|catalogue|mail_digest|clean_up|typed|1,240 pages|rows to read|suppliers|kind=lamp).*"
)
"""What the runs are about, in the words of their authors."""
SAME = frozenset({
    "Status", "Median", "Filter", "Worker", "Logger", "Logger:", "Proxy", "Terminal", "Name", "System", "DEBUG", "INFO",
    "WARNING", "ERROR", "Django", "Task Results", "Tasks Database Backend",
    "Procrastinate", "Procrastinate jobs",
})  # fmt: skip
"""Words that are the same in both languages, names of levels, and other apps'."""
OWN = frozenset({
    "root", "ada", "grace", "threads", "per_host", "per_second", "item_timeout", "max_failures", "max_items", "slow",
    "batch_size", "db_lanes", "processes", "force", "delete", "test", "ignore_dependencies", "run_dependencies", "tag",
    "timeout", "true", "chair", "lamp", "SMALL", "LARGE", "colour", "counted", "csv", "json", "days", "deep", "domain",
    "delete_missing", "fast", "file", "format", "kind", "level", "loud", "names", "no_cache", "number", "out_file",
    "pages", "pair", "price", "region", "share", "shops", "shown", "since", "size", "testapp", "worded", "winter/",
    "api_token", "--api-token", "--settings-file", "--shout", "threads 8",
    "Send what was ordered.", "where to (out.csv), 5 % of it",
    "The server did not answer within 20 s", "RunFailed: the shop's index cannot be read: 502 Bad Gateway",
    "no price in '<span class=\"price\">sold out</span>'",
})  # fmt: skip
"""Names of commands, arguments, options and limits, which are called as in the code; and what authors say."""


class Texts(HTMLParser):
    """What a page says: its texts, labels and titles, each with the tag that it stands in."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self._tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tags.append(tag)
        told = dict(attrs)
        names = ["title", "aria-label", "placeholder", "data-changed", "data-silent"]
        names += ["value"] if told.get("type") == "submit" else []
        self.found |= {(name, told[name] or "") for name in names if told.get(name)}

    def handle_data(self, data: str) -> None:
        if self._tags[-1:] not in (["script"], ["style"]) and data.strip():
            self.found.add((self._tags[-1] if self._tags else "", " ".join(data.split())))


def pages(made: dict[str, Run]) -> dict[str, str]:
    finished = made["finished"]
    return {
        "list": "run/",
        "found": "run/?q=prices",
        "finished": f"run/{finished.pk}/change/",
        "live": f"run/{made['live'].pk}/change/",
        "waiting": f"run/{made['waiting'].pk}/change/",
        "paused": f"run/{made['paused'].pk}/change/",
        "item": f"runitem/{finished.items.get(key=key(0)).pk}/change/",
        "commands": "run/commands/",
        "command": "run/commands/typed/",
        "worded": "run/commands/worded/",
        "items": f"runitem/?run__id__exact={finished.pk}",
        "log": f"runlog/?run__id__exact={finished.pk}",
        "line": f"runlog/{finished.logs.get(level=40).pk}/change/",
        "objects": f"objectlog/?run__id__exact={finished.pk}",
        "answer": f"run/{made['waiting'].pk}/do/answer/",
        "limits": f"run/{made['paused'].pk}/do/limits/",
        "cancel": f"run/{made['live'].pk}/do/cancel/",
        "retry": f"run/{finished.pk}/do/retry/",
        "again": f"run/{finished.pk}/do/again/",
        "export": f"run/{finished.pk}/do/export/",
    }


@pytest.mark.django_db
def test_no_page_is_half_english(settings: Any) -> None:
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "COMMAND_PACKAGES": ["tests.shown.commands"]}
    made = fill()
    window = Client()
    window.force_login(User.objects.create_superuser("root", password="root"))
    left = {}
    for name, path in pages(made).items():
        said = {}
        for language in ("en", "de"):
            settings.LANGUAGE_CODE = language
            with translation.override(language):
                answer = window.get(f"/admin/async_commander/{path}")
            assert answer.status_code == 200, path
            said[language] = Texts(answer.content.decode()).found
        english = {text for _, text in said["en"] & said["de"] if re.search("[A-Za-z]{2}", text)}
        own = {text for text in english if text in OWN or text.replace(" ", "_") in OWN or DATA.fullmatch(text)}
        left[name] = english - SAME - own
    assert {name: texts for name, texts in left.items() if texts} == {}


@pytest.mark.django_db
def test_figures_are_written_as_the_language_does(settings: Any) -> None:
    made = fill()
    window = Client()
    window.force_login(User.objects.create_superuser("root", password="root"))
    html = {}
    for language in ("en", "de"):
        settings.LANGUAGE_CODE = language
        with translation.override(language):
            html[language] = window.get(f"/admin/async_commander/run/{made['live'].pk}/change/").content.decode()
    assert "83,900" in html["en"]
    assert "83.900" in html["de"]
    assert "83,900" not in html["de"]


def test_the_catalogue_is_whole_and_compiled_as_it_is_written() -> None:
    for written in LOCALE.glob("*/LC_MESSAGES/django.po"):
        texts = written.read_text()
        assert "fuzzy" not in texts
        assert not re.search(r'^msgstr(?:\[\d\])? ""\n(?!")', texts, re.MULTILINE), "make messages, and translate"
        with written.with_suffix(".mo").open("rb") as file:
            compiled = gettext.GNUTranslations(file)
        for one, other in re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', texts, re.MULTILINE):
            assert compiled.gettext(one.replace('\\"', '"')) == other.replace('\\"', '"'), "make messages"
