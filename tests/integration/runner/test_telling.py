"""Signals about runs, and mail to ADMINS: who listens is told, and nobody who listens harms a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django
import pytest
from django.core.checks import Error
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import call_command
from django.dispatch import Signal
from django.test import override_settings

import async_commander as ac
from async_commander.checks import check_settings
from async_commander.models import Lease, Run, RunItem
from async_commander.results import RunStatus
from async_commander.runner import telling as runner_telling
from tests.testapp.models import Effect

SECRET = "hunter2-xyz"
ADMINS: list[Any] = ["admin@example.org"] if django.VERSION >= (6, 0) else [("Admin", "admin@example.org")]


class Words(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=2, max_failures=None)
    words: list[str] = ["good", "bad", "worse"]
    token: str = ""

    async def iterate(self):
        return self.words

    async def download(self, word: str) -> str:
        if word != "good":
            raise ValueError(f"{word}, said {self.token}")
        return word

    async def parse_and_save(self, word: str, payload: str) -> None:
        self.db.add(Effect(key=word))


@contextmanager
def heard(signal: Signal, receiver: Callable[..., Any]) -> Iterator[None]:
    signal.connect(receiver)
    try:
        yield
    finally:
        signal.disconnect(receiver)


def test_receivers_hear_of_the_run_and_see_what_is_committed(run: Any) -> None:
    told: list[tuple[str, Any]] = []

    def started(sender: Any, run_id: int, command: str, parameters: dict[str, Any], **facts: Any) -> None:
        assert Run.objects.get(pk=run_id).status == "running"
        assert (facts["resumed"], facts["testing"]) == (False, False)
        told.append(("started", (sender, command, parameters["words"])))

    def failed(sender: Any, run_id: int, item: str, **facts: Any) -> None:
        row = RunItem.objects.get(run=run_id, state="dead", label=item)
        assert (facts["reason"], facts["error_kind"], facts["label"]) == (row.reason, "ValueError", item)
        told.append(("failed", item))

    async def finished(sender: Any, run_id: int, result: ac.RunResult, **facts: Any) -> None:
        row = await Run.objects.aget(pk=run_id)
        assert row.status == result.status == "partial"
        assert row.finished is not None
        told.append(("finished", sender))

    def writes(sender: Any, **facts: Any) -> None:
        Effect.objects.create(key="by the receiver")

    with heard(ac.run_started, started), heard(ac.item_failed, failed), heard(ac.run_finished, finished):
        with heard(ac.run_finished, writes):
            run(Words())
    assert told[0] == ("started", (Words, told[0][1][1], ["good", "bad", "worse"]))
    assert sorted(told[1:3]) == [("failed", "bad"), ("failed", "worse")]
    assert told[3] == ("finished", Words)
    assert Effect.objects.filter(key="by the receiver").count() == 1


def test_a_receiver_of_one_command_is_not_told_of_others(run: Any) -> None:
    told: list[Any] = []

    class Others(Words):
        pass

    def finished(**facts: Any) -> None:
        told.append(facts["command"])

    ac.run_finished.connect(finished, sender=Others)
    try:
        run(Words(words=["good"]))
        run(Others(words=["good"]))
    finally:
        ac.run_finished.disconnect(finished, sender=Others)
    assert len(told) == 1


def test_what_a_receiver_raises_is_logged_and_the_run_goes_on(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def fails(**facts: Any) -> None:
        raise RuntimeError("of the receiver")

    def fails_too(**facts: Any) -> None:
        raise RuntimeError("of the plain receiver")

    for signal in (ac.run_started, ac.item_failed, ac.run_finished):
        with heard(signal, fails), heard(signal, fails_too):
            assert run(Words()).status is RunStatus.PARTIAL
    assert "of the receiver" in caplog.text
    assert "of the plain receiver" in caplog.text


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("name", ["run_started", "item_failed", "run_finished"])
def test_a_receiver_that_hangs_is_left(
    run_on_lanes: Any, kind: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_telling, "PATIENCE", 0.2)
    released, calls = threading.Event(), []

    def plain(**facts: Any) -> None:
        calls.append(facts["command"])
        released.wait(60)

    async def waits(**facts: Any) -> None:
        calls.append(facts["command"])
        await asyncio.sleep(60)

    with heard(getattr(ac, name), plain if kind == "plain" else waits):
        assert run_on_lanes(Words()).status is RunStatus.PARTIAL
    released.set()
    assert len(calls) == 1
    assert "A receiver of a signal did not return within 0.2 s" in caplog.text


def test_a_dry_run_tells_nobody(run: Any) -> None:
    told: list[Any] = []

    def hears(**facts: Any) -> None:
        told.append(facts)

    with heard(ac.run_started, hears), heard(ac.run_finished, hears), heard(ac.item_failed, hears):
        run(Words(), dry_run=True)
    assert not told


def test_a_run_that_is_skipped_is_told_of(run: Any) -> None:
    class Once(Words):
        run_once = True

    told: list[ac.RunResult] = []

    def finished(result: ac.RunResult, **facts: Any) -> None:
        assert facts["run_id"] is None or result.status is RunStatus.SUCCEEDED
        told.append(result)

    with heard(ac.run_finished, finished):
        run(Once(words=["good"]))
        run(Once(words=["good"]))
    assert [one.status for one in told] == ["succeeded", "skipped"]


def test_an_interrupted_and_a_resumed_run_are_told_of(run: Any) -> None:
    from async_commander.testing import run_command

    told: list[Any] = []

    def started(resumed: bool, **facts: Any) -> None:
        told.append(resumed)

    def finished(result: ac.RunResult, **facts: Any) -> None:
        told.append(result.status)

    with heard(ac.run_started, started), heard(ac.run_finished, finished):
        run_command(Words(words=["good"] * 2 + ["well"]), interrupt_at="item:1", threads=1)
        run(Words(words=["good"] * 2 + ["well"]), resume=True)
    assert told[:3] == [False, RunStatus.INTERRUPTED, True]
    assert len(told) == 4


# -- plain commands, and what nobody lives to tell ---------------------------------------------------------------------


class Managed(ac.ManagedCommand):
    mail_admins = True

    def execute_command(self, *args: Any, **options: Any) -> str:
        raise ValueError("no use")


@ac.tracked
def count_words() -> int:
    return 3


@ac.tracked
async def count_later() -> int:
    return 4


@pytest.mark.django_db
def test_plain_commands_and_functions_are_told_of_in_a_transaction(mailoutbox: list[Any]) -> None:
    hear_of_plain_ones(mailoutbox)


def test_plain_commands_and_functions_are_told_of(transactional_db: None, mailoutbox: list[Any]) -> None:
    hear_of_plain_ones(mailoutbox)


def hear_of_plain_ones(mailoutbox: list[Any]) -> None:
    told: list[tuple[Any, str, Any]] = []

    def started(sender: Any, run_id: int, **facts: Any) -> None:
        assert Run.objects.get(pk=run_id).status == "running"
        told.append((sender, "started", run_id))

    def finished(sender: Any, run_id: int, result: ac.RunResult, **facts: Any) -> None:
        assert Run.objects.get(pk=run_id).status == result.status
        told.append((sender, result.status, result.value))

    with heard(ac.run_started, started), heard(ac.run_finished, finished):
        count_words()
        with override_settings(ADMINS=ADMINS), pytest.raises(ValueError, match="no use"):
            call_command(Managed())
    assert [one[1:] for one in told[1::2]] == [("succeeded", 3), ("failed", None)]
    assert told[0][0] is told[1][0]
    assert told[2][0] is Managed
    assert len(mailoutbox) == 1
    assert "no use" in mailoutbox[0].body


@pytest.mark.asyncio
async def test_coroutine_functions_are_told_of(arun_db: None) -> None:
    told: list[Any] = []

    async def finished(result: ac.RunResult, **facts: Any) -> None:
        told.append(result.value)

    with heard(ac.run_finished, finished):
        await count_later()
    assert told == [4]


def test_who_finds_a_crashed_run_tells_of_it(run_on_lanes: Any, mailoutbox: list[Any]) -> None:
    from async_commander.testing import run_command

    crashed = run_command(Words(words=["good", "well"]), crash_at="item:1")
    Run.objects.update(command="testapp_of_nobody")
    told: list[tuple[Any, Any]] = []

    def finished(sender: Any, run_id: int, result: ac.RunResult, **facts: Any) -> None:
        assert Run.objects.get(pk=run_id).status == result.status
        told.append((sender, result.status))

    with heard(ac.run_finished, finished):
        with override_settings(ASYNC_COMMANDER={"MAIL_ADMINS": True}, ADMINS=ADMINS):
            run_on_lanes(Words(words=["good"]))
    assert told == [(None, "crashed"), (Words, "succeeded")]
    assert [one.subject for one in mailoutbox] == [f"[Django] Run {crashed.run_id} of testapp_of_nobody has crashed"]
    assert not Lease.objects.filter(pid__isnull=False).exists()


# -- mail --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def admins() -> Iterator[None]:
    with override_settings(ADMINS=ADMINS):
        yield


def test_a_failed_run_is_mailed_once_and_without_secrets(run: Any, admins: None, mailoutbox: list[Any]) -> None:
    class Mailed(Words):
        mail_admins = True

    with pytest.raises(ac.RunFailed) as failed:
        run(Mailed(words=["bad", "worse"], token=SECRET))
    run(Mailed(words=["good"]))
    run(Mailed(words=["good", "bad"]))
    assert len(mailoutbox) == 1
    sent = mailoutbox[0]
    assert f"Run {failed.value.result.run_id} of " in sent.subject
    assert "2 items with ValueError" in sent.body
    assert "2 dead" in sent.body
    assert SECRET not in sent.body + sent.subject


def test_the_settings_say_it_for_all_and_a_command_for_itself(run: Any, admins: None, mailoutbox: list[Any]) -> None:
    class Quiet(Words):
        mail_admins = False

    with override_settings(ASYNC_COMMANDER={"MAIL_ADMINS": True}):
        for command in (Quiet(words=["bad"]), Words(words=["bad"])):
            with pytest.raises(ac.RunFailed):
                run(command)
        with pytest.raises(ac.RunFailed):
            run(Words(words=["bad"]), test=True)
        with pytest.raises(ac.RunFailed):
            run(Words(words=["bad"]), dry_run=True)
    assert len(mailoutbox) == 1
    with pytest.raises(ac.RunFailed):
        run(Words(words=["bad"]))
    assert len(mailoutbox) == 1


class Away(EmailBackend):
    def send_messages(self, messages: Any) -> int:
        raise ConnectionRefusedError("no mail server")


class Hangs(EmailBackend):
    released = threading.Event()

    def send_messages(self, messages: Any) -> int:
        self.released.wait(60)
        return 0


@pytest.mark.parametrize(("kind", "told"), [(Away, "ADMINS could not be told"), (Hangs, "not sent within 0.2 s")])
def test_a_mail_server_that_is_away_or_hangs_changes_nothing(
    run_on_lanes: Any,
    admins: None,
    kind: type,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(runner_telling, "PATIENCE", 0.2)
    Hangs.released.clear()
    backend = f"{kind.__module__}.{kind.__qualname__}"
    named: dict[str, Any] = {"EMAIL_BACKEND": backend}
    if django.VERSION >= (6, 1):
        named = {"MAILERS": {"default": {"BACKEND": backend}}}
    with override_settings(ASYNC_COMMANDER={"MAIL_ADMINS": True}, **named):
        with pytest.raises(ac.RunFailed):
            run_on_lanes(Words(words=["bad"]))
    Hangs.released.set()
    assert told in caplog.text
    assert Run.objects.get().status == "failed"


def test_the_setting_is_checked() -> None:
    with override_settings(ASYNC_COMMANDER={"MAIL_ADMINS": "yes"}):
        (found,) = check_settings(None)
    assert isinstance(found, Error)
    assert "MAIL_ADMINS" in found.msg
