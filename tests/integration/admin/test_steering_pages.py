"""A run at work that is paused, let go on, given other limits and answered from its page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from html import unescape
from typing import Any, ClassVar

import anyio
import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

import async_commander as ac
from async_commander.history.ownership import this_process
from async_commander.models import Lease, Run, RunLog
from async_commander.results import Asked

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 60.0
QUESTION = "Delete 5 rows?\n<b>Of ACME</b>"


@pytest.fixture
def root() -> Client:
    made = Client()
    made.force_login(User.objects.create_superuser("root", password="root"))
    return made


def made_run(status: str = "running", command: str = "typed", **columns: Any) -> Run:
    columns = {"limits": {"threads": 20, "per_host": None, "per_second": 2.0, "timeout": None}, **columns}
    run = Run.objects.create(command=command, status=status, identity="0" * 64, pausable=True, **columns)
    Lease.objects.create(name=f"run:{run.pk}", epoch=1, **this_process().columns)
    return run


def address(run: Run, action: str) -> str:
    return f"/admin/async_commander/run/{run.pk}/do/{action}/"


def page(window: Client, run: Run) -> str:
    return unescape(window.get(f"/admin/async_commander/run/{run.pk}/change/").content.decode())


def asked(by: str, to: Any = True) -> dict[str, Any]:
    return Asked(to=to, by=by, at=timezone.now()).stored()


class Steered(ac.IterateDownloadCommand[int, int]):
    """Forty items behind a door, with an operator beside them."""

    limits = ac.Limits(threads=2, batch_size=5)
    operator: ClassVar[Callable[[Any], Awaitable[None]]]

    @asynccontextmanager
    async def lifespan(self):
        self.begun: list[int] = []
        self.open = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(type(self).operator, self)
            yield

    async def iterate(self):
        return range(40)

    async def download(self, item: int) -> int:
        self.begun.append(item)
        await self.open.wait()
        return item

    async def parse_and_save(self, item: int, payload: int) -> None: ...


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.sleep(0.01)


def test_a_run_takes_up_what_is_posted_on_its_page(root: Client) -> None:
    posted = sync_to_async(root.post)
    told: list[str] = []

    async def operator(self: Any) -> None:
        context, row = ac.current_run(), await Run.objects.aget(pk=self.record.pk)
        await until(lambda: len(self.begun) == 2)
        told.append((await posted(address(row, "pause"), follow=True)).content.decode())
        await until(lambda: context.paused)
        self.open.set()
        await until(lambda: context.tally.in_flight == 0)
        assert self.begun == [0, 1]
        await posted(address(row, "limits"), {"threads": "7", "initial-threads": "2"})
        await until(lambda: context.limits.threads == 7)
        told.append((await posted(address(row, "continue"), follow=True)).content.decode())

    result = ac.run(type("Command", (Steered,), {"operator": operator, "__module__": __name__}), lease_seconds=0.5)
    assert (result.status, result.counts["done"]) == ("succeeded", 40)
    assert {
        "A pause of this run was asked for by root.",
        "Limits of this run were changed by root: threads 2 → 7.",
        "threads is 7 from now on (it was 2), as was asked for by root.",
        "This run was asked to go on by root.",
    } < set(RunLog.objects.filter(run_id=result.run_id).values_list("message", flat=True))
    notes = LogEntry.objects.order_by("pk").values_list("user__username", "change_message")
    assert [(who, note.partition(":")[0]) for who, note in notes] == [
        ("root", "Pause"), ("root", "Change limits"), ("root", "Continue"),
    ]  # fmt: skip
    paused, going_on = told
    assert "is asked to pause" in paused
    assert '<span class="ac-state">paused</span>' in paused
    assert "Continue</button>" in paused
    assert "Pause</button>" not in paused
    assert "Pause</button>" in going_on


def test_a_run_that_asks_goes_on_with_the_answer_of_its_page(root: Client) -> None:
    answers: list[bool] = []

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(operator, self)
                answers.append(await self.confirm(QUESTION))

    async def operator(self: Any) -> None:
        with anyio.fail_after(PATIENCE):
            while (row := await Run.objects.aget(pk=self.record.pk)).status != "waiting":
                await anyio.sleep(0.01)
        asking = await sync_to_async(page)(root, row)
        assert f"<q>{QUESTION}</q>" in asking
        assert address(row, "answer") in asking
        sent = {"_yes": "Yes", "question": QUESTION.replace("\n", "\r\n")}  # as a browser sends it
        after = await sync_to_async(root.post)(address(row, "answer"), sent, follow=True)
        assert "is answered with yes" in after.content.decode()

    result = ac.run(Command, ask="wait", lease_seconds=0.5)
    assert (result.status, answers) == ("succeeded", [True])
    assert RunLog.objects.filter(run_id=result.run_id, message__endswith="was answered with yes by root.").exists()


def test_only_the_question_that_was_read_is_answered_and_only_once(root: Client) -> None:
    run = made_run("waiting", question=QUESTION)
    asks = unescape(root.get(address(run, "answer")).content.decode())
    assert QUESTION in asks
    for wrong, told in (
        ({"_yes": "Yes", "question": "Delete 4 rows?"}, "asks something else by now"),
        ({"_yes": "Yes", "_no": "No", "question": QUESTION}, "Say yes or no"),
        ({}, "Say yes or no"),
    ):
        assert told in root.post(address(run, "answer"), wrong, follow=True).content.decode()
    run.refresh_from_db()
    assert run.orders == {}
    assert not LogEntry.objects.exists()
    for _ in range(2):
        html = root.post(address(run, "answer"), {"_no": "No", "question": QUESTION}, follow=True).content.decode()
    assert "was answered before: no by root" in html
    assert "Answered with <strong>no</strong> by root" in html
    assert address(run, "answer") not in html
    assert LogEntry.objects.count() == 1


def test_limits_are_shown_as_they_are_and_what_does_not_fit_is_said_beside_its_field(root: Client) -> None:
    run = made_run()
    html = root.get(address(run, "limits")).content.decode()
    for shown in ('name="threads" value="20"', 'name="per_second" value="2"', 'name="per_host"', 'name="max_failures"'):
        assert shown in html
    for fixed in ("db_lanes", "batch_size", "item_timeout", "processes"):
        assert f'name="{fixed}"' not in html
    for given, told in (
        ({"threads": "0"}, "found '0': at least 1 is needed"),
        ({"threads": ""}, "a whole number is needed"),
        ({"threads": "many"}, "found 'many'"),
        ({"per_second": "-1"}, "more than 0 is needed"),
        ({"timeout": "soon"}, "found 'soon'"),
        ({"max_failures": "110%"}, 'a share from "0%" to "100%", is needed'),
        ({}, "All limits are as they were"),
    ):
        answer = root.post(address(run, "limits"), {"threads": "20", **given, "initial-threads": "20"})
        html = unescape(answer.content.decode())
        assert (answer.status_code, told in html) == (200, True), told
    run.refresh_from_db()
    assert (run.orders, LogEntry.objects.count()) == ({}, 0)


def test_limits_that_were_left_as_they_are_stay_as_another_person_made_them(root: Client) -> None:
    run = made_run()
    form = {"threads": "20", "per_host": "", "per_second": "", "timeout": "1h30m"}
    form |= {"initial-threads": "20", "initial-per_host": "", "initial-per_second": "2", "initial-timeout": ""}
    ac.change_limits(run.pk, by="ada", threads=5)
    html = root.post(address(run, "limits"), form, follow=True).content.decode()
    run.refresh_from_db()
    assert (run.limits["threads"], run.limits["per_second"], run.limits["timeout"]) == (5, None, 5400.0)
    assert "<strong>threads 5</strong> by ada" in html
    assert "<strong>per_second none</strong> by root" in html
    assert LogEntry.objects.get().change_message.startswith("Change limits: per_second 2 → none, timeout none → 5400")


def test_what_is_refused_says_why(root: Client) -> None:
    shard = made_run(parent=made_run(), shard=0)
    for action, data in (("pause", {}), ("limits", {"threads": "3", "initial-threads": "20"})):
        assert "ask this of that one" in root.post(address(shard, action), data, follow=True).content.decode()
    one_piece = made_run()
    Run.objects.filter(pk=one_piece.pk).update(pausable=False)
    assert "before which it could wait" in root.post(address(one_piece, "pause"), follow=True).content.decode()
    ended = made_run("succeeded")
    for action in ("pause", "continue", "limits"):
        data = {"threads": "3", "initial-threads": "20"}
        assert "is not at work" in root.post(address(ended, action), data, follow=True).content.decode()
        assert "nothing to be done in this way" in root.get(address(ended, action)).content.decode()
    assert not LogEntry.objects.exists()


def test_an_open_page_shows_what_was_asked_at_once(root: Client) -> None:
    run = made_run()
    Run.objects.filter(pk=run.pk).update(orders={"pause": asked("ada")})
    news = root.get(f"/admin/async_commander/run/{run.pk}/live/?cursor=0.0").json()
    assert news["state"] == "paused"
    assert "It is paused</strong> by ada" in news["parts"]["now"]
    assert "Continue</button>" in news["parts"]["actions"]
    assert "csrf" not in news["parts"]["actions"]  # it would differ each time
    assert '<span class="ac-state">paused</span>' in root.get("/admin/async_commander/run/").content.decode()
    Run.objects.filter(pk=run.pk).update(status="waiting", question=QUESTION, orders={})
    news = root.get(f"/admin/async_commander/run/{run.pk}/live/?cursor=0.0").json()
    assert "Delete 5 rows?\n&lt;b&gt;Of ACME&lt;/b&gt;" in news["parts"]["now"]
    assert address(run, "answer") in news["parts"]["actions"]


def test_who_may_only_look_reads_the_question_and_has_no_button() -> None:
    run = made_run("waiting", question=QUESTION)
    user = User.objects.create_user("reader", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_run"))
    reader = Client()
    reader.force_login(user)
    html = page(reader, run)
    assert f"<q>{QUESTION}</q>" in html
    assert "/do/" not in html
