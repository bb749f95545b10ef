"""What may be done about runs in the admin: by whom, only when it is posted, noted, and never inside the request."""

from __future__ import annotations

import asyncio
import csv
import threading
import time
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection, connections
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from async_commander.admin import counting
from async_commander.engine.threads import DaemonThreads
from async_commander.history.ownership import this_process
from async_commander.models import Lease, Run, RunItem, RunLog
from async_commander.queues.carrying import carry
from async_commander.results import AT_WORK
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

ACTIONS = {
    "cancel": "cancel_run", "pause": "pause_run", "continue": "continue_run", "limits": "limit_run",
    "answer": "answer_run", "retry": "requeue_run", "again": "run_run", "export": "export_run",
}  # fmt: skip
QUESTION = "Delete 5 rows?"
STATES: dict[str, dict[str, Any]] = {
    "cancel": {"status": "running"},
    "pause": {"status": "running", "pausable": True},
    "continue": {
        "status": "running",
        "orders": {"pause": {"to": True, "by": "ada", "at": "2026-01-31T12:00:00+00:00"}},
    },
    "limits": {"status": "running"},
    "answer": {"status": "waiting", "question": QUESTION},
}
"""What a run is like that has an action; the others are for those that have ended."""
POSTED = {"limits": {"threads": "3", "initial-threads": "2"}, "answer": {"_yes": "Yes", "question": QUESTION}}
PATIENCE = 60.0
COMMANDS = "/admin/async_commander/run/commands/"


@pytest.fixture(autouse=True)
def commands(settings: Any) -> None:
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "COMMAND_PACKAGES": ["tests.shown.commands"]}


def client(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    made = Client()
    made.force_login(user)
    return made


@pytest.fixture
def root() -> Client:
    made = Client()
    made.force_login(User.objects.create_superuser("root", password="root"))
    return made


def made_run(status: str = "partial", **columns: Any) -> Run:
    run = Run.objects.create(
        command="typed", status=status, identity="0" * 64, parameters={"number": 3}, limits={"threads": 2},
        taken=3, done=2, dead=1, source_ended=True, **columns,
    )  # fmt: skip
    Lease.objects.create(name=f"run:{run.pk}", epoch=1, **(this_process().columns if status in AT_WORK else {}))
    RunItem.objects.create(
        run=run, key="12345678-1234-5678-9234-567812345678", label='=cmd|"/c calc"', state="dead", reason="permanent",
        error_kind="ValueError", error="@SUM(1)\nsecond line", item=1, attempts=1,
    )  # fmt: skip
    return run


def state() -> Any:
    return [list(model.objects.order_by("pk").values()) for model in (Run, RunItem, RunLog, Lease, LogEntry)]


def address(run: Run, action: str) -> str:
    return f"/admin/async_commander/run/{run.pk}/do/{action}/"


# -- who may -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_needs_its_own_permission(action: str, root: Client) -> None:
    run = made_run(**STATES.get(action, {}))
    others = [one for one in ACTIONS.values() if one != ACTIONS[action]]
    may_not = {
        "anonymous": (Client(), 302),
        "staff": (client("staff"), 404),
        "view": (client("view", "view_run", "view_runitem"), 403),
        "others": (client("others", "view_run", *others), 403),
        "without view": (client("without", ACTIONS[action]), 404),
    }
    before = state()
    for who, (window, code) in may_not.items():
        for answer in (window.get(address(run, action)), window.post(address(run, action))):
            assert answer.status_code == code, who
    may = client("may", "view_run", ACTIONS[action])
    for window in (may, root):
        assert window.get(address(run, action)).status_code == 200
    assert state() == before
    assert may.post(address(run, action), POSTED.get(action)).status_code == (200 if action == "export" else 302)
    assert LogEntry.objects.get().user.get_username() == "may"


def test_no_action_is_done_by_looking_or_without_a_token(root: Client) -> None:
    runs = {action: made_run(**STATES.get(action, {})) for action in ACTIONS}
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="root"))
    before = state()
    for action in ACTIONS:
        with CaptureQueriesContext(connection) as asked:
            html = root.get(address(runs[action], action)).content.decode()
        assert "csrfmiddlewaretoken" in html
        assert not [
            query["sql"] for query in asked.captured_queries if not query["sql"].startswith(("SELECT", "DECLARE"))
        ]
        assert strict.post(address(runs[action], action), POSTED.get(action)).status_code == 403
    assert strict.post(f"{COMMANDS}typed/", {"arg-number": "3", "confirm": "yes"}).status_code == 403
    assert state() == before


def test_a_command_may_say_who_does_what(root: Client) -> None:
    run = made_run("running", pausable=True)
    assert client("not here", "view_run", "cancel_run").post(address(run, "cancel")).status_code == 403
    assert client("nor here", "view_run", "pause_run").post(address(run, "pause")).status_code == 403
    assert client("here", "view_run", "cancel_run").post(address(run, "cancel")).status_code == 302


def test_buttons_are_for_those_who_may_and_for_runs_that_can(root: Client) -> None:
    def labels(window: Client, run: Run) -> set[str]:
        html = window.get(f"/admin/async_commander/run/{run.pk}/change/").content.decode()
        return {action for action in ACTIONS if address(run, action) in html}

    ended, live = made_run(), made_run("running", expires=timezone.now())
    assert labels(root, ended) == {"retry", "again", "export"}
    assert labels(root, live) == {"cancel", "pause", "limits", "again", "export"}
    assert labels(root, made_run(**STATES["answer"])) == {"answer", "cancel", "pause", "limits", "again", "export"}
    assert labels(root, made_run(**STATES["continue"])) == {"continue", "cancel", "limits", "again", "export"}
    assert labels(client("steers", "view_run", "limit_run"), live) == {"limits"}
    assert labels(client("view", "view_run"), ended) == set()
    assert labels(client("again", "view_run", "run_run"), ended) == {"again"}


def test_what_is_no_action_or_no_run_is_not_there(root: Client) -> None:
    run = made_run()
    for wrong in (address(run, "delete"), "/admin/async_commander/run/4711/do/cancel/", f"{COMMANDS}nothing/"):
        assert root.get(wrong).status_code == 404
        assert root.post(wrong).status_code == 404


# -- what is done ------------------------------------------------------------------------------------------------------


def test_a_run_is_asked_to_end_and_its_log_says_by_whom(root: Client) -> None:
    run = made_run("running")
    answer = root.post(address(run, "cancel"), follow=True)
    assert "was asked to end" in answer.content.decode()
    run.refresh_from_db()
    assert run.cancel_requested_at is not None
    assert "by root" in RunLog.objects.get(run=run).message
    assert "Cancel" in LogEntry.objects.get().change_message


def test_a_run_again_waits_for_a_worker_with_the_same_arguments(root: Client) -> None:
    answer = root.post(address(made_run(), "again"))
    new = Run.objects.order_by("-pk")[0]
    assert answer["Location"].endswith(f"/{new.pk}/change/")
    assert (new.status, new.user, new.trigger, new.parameters["number"]) == ("queued", "root", "admin", 3)
    assert LogEntry.objects.get().object_id == str(new.pk)
    result = carry(new.pk)
    assert result is not None
    assert (result.status, result.counts["done"], result.counts["dead"]) == ("partial", 2, 1)


@pytest.mark.parametrize("which", [{}, {"kind": "ValueError"}, {"key": True}])
def test_failed_items_wait_for_a_worker_who_tries_them_again(root: Client, which: dict[str, Any]) -> None:
    root.post(f"{COMMANDS}typed/", {"arg-number": "6", "arg-kind": "lamp", "arg-price": "2", "confirm": "yes"})
    run = Run.objects.get()
    assert run.status == "queued"
    carry(run.pk)
    run.refresh_from_db()
    assert (run.status, run.done, run.dead) == ("partial", 3, 3)
    dead = run.items.filter(state="dead").order_by("pk")
    posted = {"key": str(dead[0].key)} if which.get("key") else which
    Effect.objects.create(key="mended")
    answer = root.post(address(run, "retry"), posted, follow=True)
    number = 1 if which.get("key") else 3
    assert f"{number} item{'' if number == 1 else 's'} to be tried again" in answer.content.decode()
    run.refresh_from_db()
    assert (run.status, run.retry, run.dead, run.accounts) == ("queued", number, 3 - number, True)
    assert "by root" in RunLog.objects.filter(run=run, message__startswith="Opened again").get().message
    assert "is queued" in root.post(address(run, "retry"), follow=True).content.decode()
    result = carry(run.pk)
    assert result is not None
    run.refresh_from_db()
    assert (run.status, run.done, run.dead) == ("partial" if 3 - number else "succeeded", 3 + number, 3 - number)
    assert Effect.objects.exclude(key="mended").count() == 3 + number
    assert carry(run.pk) is None


def test_a_retry_that_cannot_be_says_why_and_changes_nothing(root: Client) -> None:
    run = made_run()
    before = state()[:4]
    assert "No dead item of run" in root.post(address(run, "retry"), {"kind": "Other"}, follow=True).content.decode()
    assert root.post(address(run, "retry"), {"key": "no key"}, follow=True).status_code == 200
    live = made_run("running")
    before_live = Run.objects.filter(pk=live.pk).values().get()
    assert "is running" in root.post(address(live, "retry"), follow=True).content.decode()
    assert Run.objects.filter(pk=live.pk).values().get() == before_live
    assert state()[0][0] == before[0][0]
    assert not LogEntry.objects.exists()


def test_errors_are_exported_and_no_cell_is_a_formula(root: Client) -> None:
    run = made_run()
    answer = root.post(address(run, "export"))
    assert answer["Content-Type"].startswith("text/csv")
    assert f"run-{run.pk}-errors.csv" in answer["Content-Disposition"]
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    head, row = csv.reader(text.splitlines(keepends=True))
    told = dict(zip(head, row, strict=True))
    assert told["label"] == '\'=cmd|"/c calc"'
    assert told["error"] == "'@SUM(1)\nsecond line"
    assert told["error kind"] == "ValueError"
    from async_commander.admin.actions import _cell

    for begin in ("=", "+", "-", "@", "\t=", "\r=", " =", "\u00a0=", "|", "＠", "＝"):
        assert _cell(f"{begin}1+1").startswith("'")
    assert (_cell("plain"), _cell(""), _cell(None), _cell(7)) == ("plain", "", "", "7")


# -- the page of a command ---------------------------------------------------------------------------------------------


def test_the_page_of_a_command_says_what_it_is_and_has_a_field_for_each_argument(root: Client) -> None:
    html = root.get(f"{COMMANDS}typed/").content.decode()
    assert "the suppliers of one &lt;shop&gt; have." in html
    for wanted in (
        'type="number" name="arg-number"', '<option value="chair">', '<option value="SMALL">', 'type="date"',
        'type="password" name="arg-api_token"', 'type="checkbox" name="arg-loud"', '<textarea name="arg-names"',
        'name="option-threads"', 'name="option-delete"',
    ):  # fmt: skip
        assert wanted in html, wanted
    assert 'name="option-database"' not in html
    assert (
        'type="file" name="arg-file" disabled' in html.replace(' id="id_arg-file"', "").replace("  ", " ")
        or "disabled" in html
    )
    assert "typed" in root.get(COMMANDS).content.decode()


def test_a_form_is_for_those_who_may_run() -> None:
    reader = client("reader", "view_run")
    assert "arg-number" not in reader.get(f"{COMMANDS}typed/").content.decode()
    assert reader.post(f"{COMMANDS}typed/", {"arg-number": "3", "confirm": "yes"}).status_code == 403
    assert client("staff").get(f"{COMMANDS}typed/").status_code == 403
    assert client("staff 2").get(COMMANDS).status_code == 403
    assert Client().get(COMMANDS).status_code == 302
    assert not Run.objects.exists()


def test_values_are_read_as_the_command_line_reads_them(root: Client) -> None:
    given = {
        "arg-number": "3", "arg-kind": "chair", "arg-size": "LARGE", "arg-since": "2026-01-31", "arg-price": "12.50",
        "arg-names": "x\ny y\n", "arg-loud": "on", "option-threads": "7", "option-timeout": "5m", "confirm": "yes",
    }  # fmt: skip
    assert root.post(f"{COMMANDS}typed/", given).status_code == 302
    run = Run.objects.get()
    told = {name: run.parameters[name] for name in ("number", "kind", "size", "since", "price", "names", "loud")}
    assert told == {
        "number": 3, "kind": "chair", "size": "LARGE", "since": "2026-01-31", "price": "12.50", "names": ["x", "y y"],
        "loud": True,
    }  # fmt: skip
    assert (run.limits["threads"], run.limits["timeout"], run.trigger, run.user) == (7, 300.0, "admin", "root")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"arg-number": ""}, "This field is required"),
        ({"arg-number": "many"}, "found &#x27;many&#x27;"),
        ({"arg-number": "3", "arg-kind": "table"}, "Select a valid choice"),
        ({"arg-number": "3", "arg-since": "yesterday"}, "a date like 2026-01-31"),
        ({"arg-number": "3", "option-threads": "0"}, "found &#x27;0&#x27;"),
        ({"arg-number": "3", "option-timeout": "soon"}, "found &#x27;soon&#x27;"),
        ({"arg-number": "3", "confirm": ""}, "Say that you mean it"),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(root: Client, given: dict[str, str], told: str) -> None:
    answer = root.post(f"{COMMANDS}typed/", {"arg-kind": "lamp", "arg-price": "1", "confirm": "yes", **given})
    html = answer.content.decode()
    assert (answer.status_code, told in html) == (200, True)
    assert "hunter2" not in html
    assert not Run.objects.exists()


def test_a_secret_that_is_posted_goes_nowhere(root: Client) -> None:
    form = {"arg-number": "3", "arg-kind": "lamp", "arg-price": "1", "arg-api_token": "hunter2", "confirm": "yes"}
    html = root.post(f"{COMMANDS}typed/", form, follow=True).content.decode()
    assert Run.objects.get().status == "queued"
    assert "hunter2" not in html + str(state())


def test_items_are_counted_and_a_dry_run_needs_no_confirmation(root: Client) -> None:
    form = {"arg-number": "1240", "arg-kind": "lamp", "arg-price": "1"}
    with CaptureQueriesContext(connection):
        assert "1,240 items" in root.post(f"{COMMANDS}typed/", {**form, "_count": "1"}).content.decode()
    assert not Run.objects.exists()
    assert root.post(f"{COMMANDS}typed/", {**form, "arg-number": "3", "_dry": "1"}).status_code == 302
    run = Run.objects.get()
    assert run.dry_run
    carry(run.pk)
    assert not Effect.objects.exists()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("list", "20,000 items"),
        ("rows", "more than 3 items"),
        ("waits", "cannot be counted within 0.5 seconds"),
        ("blocks", "cannot be counted within 0.5 seconds"),
        ("blocks the loop", "cannot be counted within 0.5 seconds"),
        ("slow rows", "cannot be counted within 0.5 seconds"),
    ],
)
def test_counting_has_an_end_in_time_and_in_number(
    root: Client, how: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "SECONDS", 0.5 if "items" not in told else 60)
    monkeypatch.setattr(counting, "MOST", 3)
    monkeypatch.setattr(counting, "_threads", DaemonThreads(1, name="counts"))
    Effect.objects.bulk_create(Effect(key=f"{number}") for number in range(5))
    began = time.monotonic()
    assert told in root.post(f"{COMMANDS}counted/", {"arg-how": how, "_count": "1"}).content.decode()
    assert time.monotonic() - began < 30
    Effect.objects.all().delete()
    while how == "slow rows" and (left := [one for one in threading.enumerate() if one.name == "counts"]):
        left[0].join(PATIENCE)  # the statement was ended, or this test is


def test_counting_never_holds_up_the_loop_of_the_server(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_threads", DaemonThreads(1, name="counts"))
    late: list[float] = []

    async def tick() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            late.append(time.monotonic() - began)

    async def serve() -> str:
        window = AsyncClient()
        await window.aforce_login(await User.objects.aget(username="root"))
        ticking = asyncio.create_task(tick())
        answer = await window.post(f"{COMMANDS}counted/", {"arg-how": "blocks the loop", "_count": "1"})
        ticking.cancel()
        await sync_to_async(connections.close_all)()
        return answer.content.decode()

    assert "20,000 items" in asyncio.run(serve())
    assert len(late) > 50
    assert max(late) < 1.5  # the hook blocks its own loop for two seconds


# -- what add_arguments() adds -----------------------------------------------------------------------------------------


def test_options_of_add_arguments_are_in_the_form_and_those_that_cannot_be_are_named(root: Client) -> None:
    html = unescape(root.get(f"{COMMANDS}worded/").content.decode())
    for wanted in (
        '<textarea name="extra-shops"', 'name="extra-out-file" value="out.csv"', "where to (out.csv), 5 % of it",
        'type="number" name="extra-days" value="7"', 'name="extra-share" step="any"', '<option value="json">',
        '<select name="extra-level"', "(2 of them, one a line)", '<textarea name="extra-tag"',
        'type="checkbox" name="extra-no-cache"', '<select name="extra-colour"', 'name="extra-deep"',
        "<code>--settings-file</code>: it names a file of the server",
        "<code>--shout</code>: it is read by code of its own", "<code>--api-token</code>: no queue keeps a secret",
    ):  # fmt: skip
        assert wanted in html, wanted
    for missing in ("extra-settings-file", "extra-shout", "extra-api-token", "hidden"):
        assert f'name="{missing}"' not in html


def test_what_add_arguments_adds_is_read_as_argparse_reads_it(root: Client) -> None:
    given = {
        "extra-shops": "3\n 4\n", "extra-out-file": "-", "extra-days": "7", "extra-share": "0.5",
        "extra-format": "json", "extra-level": "2", "extra-pair": "a\nb c", "extra-tag": "-x\ny",
        "extra-no-cache": "on", "extra-colour": "false", "extra-deep": "2", "extra-fast": "on", "confirm": "yes",
    }  # fmt: skip
    assert root.post(f"{COMMANDS}worded/", given).status_code == 302
    run = Run.objects.get()
    wanted = {
        "shops": [3, 4], "target": "-", "days": 7, "share": 0.5, "format": "json", "level": 2, "pair": ["a", "b c"],
        "tag": ["-x", "y"], "cache": False, "colour": False, "deep": 2, "fast": True, "slow": False,
    }  # fmt: skip
    assert {name: run.options.get(name) for name in wanted} == wanted
    carry(run.pk)
    run.refresh_from_db()
    assert {name: run.value[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"extra-days": "many"}, "invalid int value: 'many'"),
        ({"extra-pair": "a"}, "expected 2 arguments"),
        ({"extra-shops": "3\nx"}, "invalid int value: 'x'"),
        ({"extra-format": "xml"}, "Select a valid choice"),
        ({"extra-fast": "on", "extra-slow": "on"}, "not allowed with argument --fast"),
        ({"extra-deep": "10"}, "less than or equal to 9"),
    ],
)
def test_what_argparse_refuses_is_said_beside_its_field(root: Client, given: dict[str, str], told: str) -> None:
    html = unescape(root.post(f"{COMMANDS}worded/", {**given, "confirm": "yes"}).content.decode())
    at = html.index(told)
    field = html.index(f'name="{[*given][-1]}"')
    assert at < field < at + 700
    assert not Run.objects.exists()


def test_a_file_is_kept_in_the_storage_that_the_settings_name(root: Client, settings: Any, tmp_path: Path) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    settings.STORAGES = {**settings.STORAGES, "runs": {
        "BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)},
    }}  # fmt: skip
    form = {"arg-number": "3", "arg-kind": "lamp", "arg-price": "1"}
    upload = SimpleUploadedFile("../../etc/pass wd.csv", b"a;b")
    root.post(f"{COMMANDS}typed/", {**form, "arg-file": upload, "confirm": "yes"})
    assert Run.objects.get().parameters["file"] is None  # without the setting none is taken, whatever is posted
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "UPLOADS": "runs"}
    upload.seek(0)
    root.post(f"{COMMANDS}typed/", {**form, "arg-file": upload, "confirm": "yes"})
    path = Path(Run.objects.order_by("-pk")[0].parameters["file"])
    assert path.read_bytes() == b"a;b"
    assert path.is_relative_to(tmp_path)
    assert path.name == "pass_wd.csv"
    upload.seek(0)
    root.post(f"{COMMANDS}typed/", {**form, "arg-file": upload})
    assert len([one for one in tmp_path.rglob("*") if one.is_file()]) == 1
    root.post(f"{COMMANDS}typed/", {**form, "arg-file": "/etc/passwd", "confirm": "yes"})
    assert Run.objects.order_by("-pk")[0].parameters["file"] is None


def test_the_page_of_an_item_shows_its_way_its_attempts_and_its_log(root: Client) -> None:
    run = made_run()
    item = run.items.get()
    RunLog.objects.create(
        run=run, at=timezone.now(), level=40, logger="x", message="Traceback <b>\n    raise", item_key=item.key,
        failure={"label": "x", "kind": "ValueError", "error": "no <i>", "attempt": 3, "final": True},
    )  # fmt: skip
    RunLog.objects.create(run=run, at=timezone.now(), level=20, logger="x", message="of another item")
    page = f"/admin/async_commander/runitem/{item.pk}/change/"
    html = root.get(page).content.decode()
    assert "Traceback &lt;b&gt;\n    raise" in html
    assert "no &lt;i&gt;" in html
    assert "of another item" not in html
    assert f"{address(run, 'retry')}?key={item.key}" in html
    reader = client("reader", "view_runitem").get(page).content.decode()
    assert "Traceback" not in reader
    assert "/do/retry/" not in reader
