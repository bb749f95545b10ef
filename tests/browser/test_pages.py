"""The pages in a real browser: under `default-src 'self'`, live, in the dark, on a phone; and their pictures.

`make screenshots` runs this, with a Chromium of the system (or CHROMIUM=path) and, where AXE names its file, axe-core.
PICTURES=all takes a picture of every page, as far down as it goes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from async_commander.models import Run, RunLog
from tests.browser.history import fill, key

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make screenshots does that")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE", "")
IMAGES = Path(os.environ.get("IMAGES", "")) if os.environ.get("IMAGES") else None
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
    pytest.mark.skipif("staticfiles" not in str(configured.INSTALLED_APPS), reason="these have settings of their own"),
    pytest.mark.django_db(transaction=True),
]
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # playwright's loop is on this thread

ALL = os.environ.get("PICTURES") == "all"
SHOWN = {
    "runs", "runs-phone", "run-live", "run-live-dark", "run-live-phone", "run-finished", "run-waiting", "run-paused",
    "item", "command", "limits",
}  # fmt: skip
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Pages:
    """A logged-in window; what the browser complains of is kept."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address, self.complaints = page, address, list[str]()
        self.listens = True
        page.on("console", lambda line: self._heard(line) if line.type == "error" and self.listens else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, line: Any) -> None:
        if not line.location.get("url", "").endswith("/favicon.ico"):
            self.complaints.append(f"{self.page.url}: {line.text}")

    def open(self, path: str) -> Any:
        self.listens = True
        self.page.goto(f"{self.address}/admin/async_commander/{path}")
        self.page.wait_for_load_state("networkidle")
        self.listens = False  # what takes pictures, and axe-core, break the policy themselves
        return self.page

    def picture(self, name: str, height: int | None = None) -> None:
        """Kept for docs/images where IMAGES says so: of the window, or of the page down to a height."""
        if IMAGES is not None and (name in SHOWN or ALL):
            width = self.page.viewport_size["width"]
            clip = {"x": 0, "y": 0, "width": width, "height": height} if height and not ALL else None
            self.page.screenshot(path=IMAGES / f"{name}.png", full_page=height is not None or ALL, clip=clip)

    def no_complaints(self) -> None:
        assert self.complaints == [], "\n".join(self.complaints)

    def nothing_serious(self) -> None:
        """What axe-core finds, where it is at hand."""
        if AXE:
            self.page.evaluate(Path(AXE).read_text())
            found = self.page.evaluate("axe.run()")
            bad = [
                (one["id"], [node["html"][:200] for node in one["nodes"]][:5])
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
            ]
            self.complaints += [f"{self.page.url}: {one}" for one in bad]


@pytest.fixture
def open_window(chromium: Any, live_server: Any, admin_client: Any) -> Iterator[Any]:
    contexts = []

    def window(size: dict[str, int] = DESK, scheme: str = "light") -> Pages:
        context = chromium.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        session = admin_client.cookies[configured.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": configured.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}])
        return Pages(context.new_page(), live_server.url)

    yield window
    for context in contexts:
        context.close()


@pytest.fixture
def made(settings: Any) -> dict[str, Run]:
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "COMMAND_PACKAGES": ["tests.shown.commands"]}
    return fill()


@pytest.mark.parametrize(
    ("look", "size", "scheme"),
    [
        ("", DESK, "light"),
        ("-dark", DESK, "dark"),
        ("-phone", PHONE, "light"),
        ("-phone-dark", PHONE, "dark"),
    ],
)
def test_the_pages_work_under_a_strict_policy(
    made: dict[str, Run], open_window: Any, look: str, size: dict[str, int], scheme: str
) -> None:
    window = open_window(size, scheme)
    for name, path in (
        ("runs", "run/"),
        ("run-finished", f"run/{made['finished'].pk}/change/"),
        ("run-live", f"run/{made['live'].pk}/change/"),
        ("run-waiting", f"run/{made['waiting'].pk}/change/"),
        ("run-paused", f"run/{made['paused'].pk}/change/"),
        ("item", f"runitem/{made['finished'].items.get(key=key(0)).pk}/change/"),
        ("command", "run/commands/typed/"),
        ("command-worded", "run/commands/worded/"),
        ("commands", "run/commands/"),
        ("cancel", f"run/{made['live'].pk}/do/cancel/"),
        ("retry", f"run/{made['finished'].pk}/do/retry/?kind=ReadTimeout"),
        ("answer", f"run/{made['waiting'].pk}/do/answer/"),
        ("limits", f"run/{made['paused'].pk}/do/limits/"),
        ("items", f"runitem/?run__id__exact={made['finished'].pk}"),
        ("log", f"runlog/?run__id__exact={made['finished'].pk}"),
        ("line", f"runlog/{made['finished'].logs.get(level=40).pk}/change/"),
        ("objects", f"objectlog/?run__id__exact={made['finished'].pk}"),
    ):
        page = window.open(path)
        window.picture(f"{name}{look}", 1750 if name == "run-finished" else None)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wider > 0:
            window.complaints.append(f"{name} is {wider} pixels wider than the window")
        window.nothing_serious()
    window.no_complaints()


def test_a_run_is_paused_and_let_go_on_by_the_keyboard_alone(made: dict[str, Run], open_window: Any) -> None:
    live, window = made["live"], open_window()
    Run.objects.filter(pk=live.pk).update(pausable=True)
    page, expect = window.open(f"run/{live.pk}/change/"), sync_api.expect
    for button, after in (("Pause", "Continue"), ("Continue", "Pause")):
        press_tab_until(page, button)
        page.keyboard.press("Enter")
        expect(page.locator("#ac-actions")).to_contain_text(after)
    assert Run.objects.get(pk=live.pk).paused is None
    page.wait_for_timeout(1500)  # the parts of the page are made anew meanwhile
    press_tab_until(page, "Change limits")
    page.keyboard.press("Enter")
    page.wait_for_url("**/do/limits/")
    press_tab_until(page, "threads")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    expect(page.locator("#ac-now")).to_contain_text("threads 7")
    window.no_complaints()


def press_tab_until(page: Any, name: str) -> None:
    """What has the focus on the way can be seen to have it: with an outline, or by other colours than before."""
    for _ in range(80):
        page.keyboard.press("Tab")
        told, seen = page.evaluate(FOCUSED)
        assert seen, f"{told} has the focus, and nobody sees it"
        if told == name:
            return
    raise AssertionError(f"{name} is not reached by the keyboard")


FOCUSED = """() => {
    const one = document.activeElement, look = () => {
        const style = getComputedStyle(one);
        return [style.outlineStyle !== "none" && style.outlineWidth, style.boxShadow, style.backgroundColor,
            style.borderColor, style.color, style.textDecorationLine].join();
    };
    const focused = look();
    one.blur();
    const before = look();
    one.focus();
    return [one.textContent.trim() || one.name || one.id, focused !== before];
}"""


def test_a_page_that_is_open_shows_what_happens_until_the_end(made: dict[str, Run], open_window: Any) -> None:
    live, window = made["live"], open_window()
    page = window.open(f"run/{live.pk}/change/")
    Run.objects.filter(pk=live.pk).update(done=123_456)
    RunLog.objects.create(run=live, at=live.started, level=30, logger="shop", message="<b>just now</b>")
    expect = sync_api.expect
    expect(page.locator("#ac-now")).to_contain_text("123,456")
    expect(page.locator("#ac-lines")).to_contain_text("<b>just now</b>")
    Run.objects.filter(pk=live.pk).update(status="succeeded", finished=live.started, claimed=0, output="that is all")
    expect(page.locator("#ac-said")).to_contain_text("succeeded")
    expect(page.locator("#ac-ending")).to_contain_text("that is all")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2500)
    assert asked == []
    window.no_complaints()
