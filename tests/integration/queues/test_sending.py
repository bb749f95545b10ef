"""Runs that are sent to a worker: their rows, what is refused, and what becomes of a message."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import anyio
import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.utils import timezone

import async_commander as ac
from async_commander.history import runs
from async_commander.history.lease import take_over
from async_commander.history.recorder import Ending
from async_commander.models import Run, RunLog
from async_commander.queues import rescue
from async_commander.queues.carrying import acarry, carry
from async_commander.runner.signals import StopRequests
from tests.integration.runner.ledger import assert_ledger_adds_up, end_without_a_word, give_lease
from tests.testapp.models import Effect, Tag


class Sink(ac.Engine):
    """Keeps what it is given, or loses it."""

    sent: list[tuple[int, str, float]] = []
    broken = False

    def send(self, run_id: int, *, database: str, delay: float = 0) -> None:
        if self.broken:
            raise ConnectionRefusedError("no broker here")
        self.sent.append((run_id, database, delay))


class Within(Sink):
    """Sends in the caller's transaction."""

    def sends_within(self, database: str) -> bool:
        return True


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> type[Sink]:
    monkeypatch.setattr(Sink, "sent", [])
    monkeypatch.setattr(rescue, "_looked", {})
    return Sink


def rows(**lookups: Any) -> list[str]:
    return list(Run.objects.filter(**lookups).order_by("pk").values_list("status", flat=True))


def test_a_run_is_queued_and_carried_once(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="one", count=7, threads=3, user="ada")
    row = Run.objects.get(pk=handle.run_id)
    assert (row.status, row.engine, row.user, row.trigger) == ("queued", "worker", "ada", "call")
    assert handle.status_sync() is ac.RunStatus.QUEUED
    result = carry(handle.run_id)
    assert result is not None
    row.refresh_from_db()
    assert (row.status, row.done, row.limits["threads"], row.user) == ("succeeded", 7, 3, "ada")
    assert_ledger_adds_up(row)
    assert handle.result_sync(timeout=0).counts == result.counts
    assert [carry(handle.run_id) for _ in range(3)] == [None] * 3
    assert Effect.objects.count() == 7
    assert Run.objects.count() == 1


@pytest.mark.asyncio
async def test_it_is_so_on_a_running_loop(arun_db: None) -> None:
    handle = await ac.adispatch("answers", what="loop", since=date(2026, 1, 31))
    assert await handle.status() is ac.RunStatus.QUEUED
    with pytest.raises(TimeoutError, match=f"Run {handle.run_id} has not ended"):
        await handle.result(timeout=0.01)
    await acarry(handle.run_id)
    result = await handle.result(timeout=5)
    assert result.value == {"since": "2026-01-31", "threads": None, "what": "loop"}
    assert (result.run_id, result.status) == (handle.run_id, ac.RunStatus.SUCCEEDED)


def test_inside_a_transaction_it_is_part_of_it(db: None) -> None:
    handle = ac.dispatch("effects", label="shared", count=3)
    with pytest.raises(ac.AsyncCommanderError, match="no worker sees it before COMMIT"):
        handle.result_sync(timeout=60)
    carry(handle.run_id)
    assert handle.result_sync(timeout=0).counts["done"] == 3


@pytest.mark.parametrize("given", [ac.Engine, "async_commander.queues.engine.Engine", Tag, "nobody", ""])
def test_what_is_no_queue_is_refused_before_anything_is_written(transactional_db: None, given: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match=r"the dotted path of (an|a subclass of) Engine"):
        ac.dispatch("answers", engine=given)
    assert not Run.objects.exists()


@pytest.mark.parametrize("kind", [Sink, Within])
def test_a_message_comes_with_the_commit_or_not_at_all(transactional_db: None, kind: type[Sink]) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        gone = ac.dispatch("answers", engine=kind)
        raise ZeroDivisionError
    assert not Run.objects.exists()
    assert kind.sent == ([] if kind is Sink else [(gone.run_id, "default", 0)])
    kind.sent.clear()
    with transaction.atomic():
        handle = ac.dispatch("answers", engine=kind)
        assert len(kind.sent) == (kind is Within)
    assert kind.sent == [(handle.run_id, "default", 0)]
    assert Run.objects.get().sent is not None


def test_a_broker_that_is_away_loses_no_run(transactional_db: None, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.setattr(Sink, "broken", True)
    handle = ac.dispatch("answers", engine=Sink)
    assert "no worker could be told of it: ConnectionRefusedError: no broker here" in caplog.text
    row = Run.objects.get()
    assert (row.status, row.sent) == ("queued", None)
    monkeypatch.setattr(Sink, "broken", False)
    assert rescue.rescue("default") == 0  # whoever wrote it may be about to send it
    Run.objects.update(started=row.started - rescue.YOUNG)
    assert rescue.rescue("default") == 1
    assert Sink.sent == [(handle.run_id, "default", 0)]
    assert rescue.rescue("default") == 0


def test_a_run_whose_worker_is_gone_goes_on_with_the_next_message(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="gone on", count=9, engine=Sink)
    carry(handle.run_id)
    end_without_a_word(handle.run_id, 3, 4)
    result = carry(handle.run_id)
    assert result is not None
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 9)
    assert RunLog.objects.filter(run_id=handle.run_id, message__contains="ended without a word").exists()


def test_a_run_whose_worker_is_gone_comes_back_to_its_queue(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="back", count=2, engine=Sink)
    carry(handle.run_id)
    Sink.sent.clear()
    end_without_a_word(handle.run_id, 1)
    rescue.rescue("default")
    assert rows() == ["queued"]
    assert Sink.sent == [(handle.run_id, "default", 0)]


def test_a_run_that_changes_hands_is_told_of_at_its_end_once(
    transactional_db: None, settings: Any, mailoutbox: list[Any]
) -> None:
    settings.ADMINS = [("Ada", "ada@example.org")]
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "MAIL_ADMINS": True}
    told: list[tuple[str, Any]] = []

    def began(resumed: bool, **_: Any) -> None:
        told.append(("began", resumed))

    def ended(result: ac.RunResult, **_: Any) -> None:
        told.append(("ended", result.status))

    ac.run_started.connect(began)
    ac.run_finished.connect(ended)
    try:
        handle = ac.dispatch("effects", label="told", count=5, engine=Sink)
        carry(handle.run_id)
        told.clear()
        end_without_a_word(handle.run_id, 3)
        rescue.rescue("default")
        assert told == []
        for _ in range(3):  # the message comes again and again
            carry(handle.run_id)
        assert told == [("began", True), ("ended", ac.RunStatus.SUCCEEDED)]
        assert mailoutbox == []
        while rows() != ["crashed"]:
            end_without_a_word(handle.run_id)
            rescue.rescue("default")
        assert told[2:] == [("ended", ac.RunStatus.CRASHED)]
        assert len(mailoutbox) == 1
    finally:
        ac.run_started.disconnect(began)
        ac.run_finished.disconnect(ended)


def test_workers_that_die_for_nothing_come_to_an_end(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="killer", count=1, engine=Sink)
    carry(handle.run_id)
    for _ in range(4):
        end_without_a_word(handle.run_id)
        assert rescue.rescue("default") == 1
    end_without_a_word(handle.run_id)
    assert rescue.rescue("default") == 0
    assert rows() == ["crashed"]
    with pytest.raises(ac.RunFailed, match="5 processes, one after another, ended without a word"):
        handle.result_sync(timeout=0)


def test_a_worker_that_dies_before_it_has_begun_leaves_the_run_to_be_sent_again(
    transactional_db: None, monkeypatch: Any
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise SystemExit

    handle = ac.dispatch("answers", engine=Sink)
    Run.objects.update(started=Run.objects.get().started - rescue.YOUNG)
    Sink.sent.clear()
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr("async_commander.queues.carrying.drive_from_call", dies)
        carry(handle.run_id)
    assert rows() == ["queued"]
    assert rescue.rescue("default") == 1
    assert Sink.sent == [(handle.run_id, "default", 0)]
    carry(handle.run_id)
    assert rows() == ["succeeded"]


def test_a_run_that_lives_is_left_alone(transactional_db: None, caplog: Any) -> None:
    handle = ac.dispatch("answers", engine=Sink)
    carry(handle.run_id)
    end_without_a_word(handle.run_id)
    give_lease(handle.run_id)
    caplog.set_level("INFO")
    assert carry(handle.run_id) is None
    assert f"Run {handle.run_id} of answers is running by process" in caplog.text


def test_a_cancelled_run_is_not_begun(transactional_db: None) -> None:
    handle = ac.dispatch("answers")
    assert handle.cancel_sync(user="ada") is True
    assert carry(handle.run_id) is None
    assert handle.result_sync(timeout=0).status is ac.RunStatus.INTERRUPTED
    assert Run.objects.get().error == "Cancelled by ada before it began."
    assert handle.cancel_sync() is False


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What receivers of `run_finished` hear."""
    heard: list[str] = []

    def finished(result: ac.RunResult, **_: Any) -> None:
        heard.append(str(result.status))

    ac.run_finished.connect(finished)
    yield heard
    ac.run_finished.disconnect(finished)


def test_a_cancel_outlives_the_worker_that_has_not_heard_of_it(transactional_db: None, told: list[str]) -> None:
    handle = ac.dispatch("effects", label="unheard", count=2)
    carry(handle.run_id)
    end_without_a_word(handle.run_id, 1)
    give_lease(handle.run_id)
    assert handle.cancel_sync(user="ada\x00") is True
    give_lease(handle.run_id, process_start=1)
    rescue.rescue("default")
    assert rows() == ["crashed"]
    assert told == ["succeeded", "crashed"]
    assert RunLog.objects.filter(message="The end of this run was asked for by ada.").exists()


def test_a_run_whose_worker_is_gone_is_cancelled_and_not_gone_on_with(transactional_db: None, told: list[str]) -> None:
    handle = ac.dispatch("effects", label="gone", count=2)
    carry(handle.run_id)
    end_without_a_word(handle.run_id, 1)
    assert handle.cancel_sync() is True
    assert Run.objects.get().error == "Cancelled before it went on."
    assert carry(handle.run_id) is None
    assert rows() == ["interrupted"]
    assert told == ["succeeded", "interrupted"]


def test_a_cancel_holds_while_a_worker_is_about_to_go_on(transactional_db: None, monkeypatch: Any) -> None:
    handle = ac.dispatch("effects", label="about", count=2)
    carry(handle.run_id)
    end_without_a_word(handle.run_id, 1)
    rescue.rescue("default")

    def cancelled_meanwhile(*_: Any) -> float:
        handle.cancel_sync()
        return 0

    monkeypatch.setattr(runs, "seconds_until_free", cancelled_meanwhile)
    carry(handle.run_id)
    assert rows() == ["interrupted"]


def test_a_cancel_holds_while_a_worker_gives_its_run_back(transactional_db: None, told: list[str]) -> None:
    handle = ac.dispatch("effects", label="given back", count=2)
    carry(handle.run_id)
    Run.objects.update(status="running", cancel_requested_at=timezone.now())
    back = Ending(status=ac.RunStatus.QUEUED)
    runs.close(take_over("default", handle.run_id), back, add_output=False, whole=False)
    assert rows() == ["interrupted"]
    assert told == ["succeeded", "interrupted"]


def test_a_run_that_goes_back_to_its_queue_is_not_told_of_as_ended(transactional_db: None, told: list[str]) -> None:
    handle = ac.dispatch("effects", label="back", count=2)
    stops = StopRequests()
    stops.ask()

    async def carried() -> None:
        await acarry(handle.run_id, stops=stops)
        await sync_to_async(connections.close_all)()  # of a thread that is gone with its loop

    anyio.run(carried)
    assert (rows(), told) == (["queued"], [])
    carry(handle.run_id)
    end_without_a_word(handle.run_id, 1)
    rescue.rescue("default")
    assert (rows(), told) == (["queued"], ["succeeded"])


def test_a_run_that_no_worker_can_begin_is_told_of(
    transactional_db: None, told: list[str], settings: Any, mailoutbox: list[Any]
) -> None:
    settings.ADMINS = [("Ada", "ada@example.org")]
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "MAIL_ADMINS": True}
    handle = ac.dispatch("answers")
    Run.objects.update(command="testapp.gone")
    carry(handle.run_id)
    assert (rows(), told) == (["failed"], ["failed"])
    assert f"Run {handle.run_id} of testapp.gone has failed" in mailoutbox[0].subject


def test_a_failure_is_raised_where_it_is_waited_for(transactional_db: None) -> None:
    handle = ac.dispatch("answers", what="error")
    carry(handle.run_id)
    with pytest.raises(ac.RunFailed, match="answers failed: ValueError: as it was told") as failure:
        handle.result_sync(timeout=0)
    assert failure.value.result.run_id == handle.run_id


def test_a_value_that_json_cannot_have_is_said_in_the_log(transactional_db: None) -> None:
    handle = ac.dispatch("answers", what="object")
    carry(handle.run_id)
    assert str(handle.result_sync(timeout=0).value).startswith("<object object")
    assert RunLog.objects.filter(run_id=handle.run_id, message__contains="cannot be kept as JSON").exists()


@pytest.mark.parametrize("number", [999_999, "12", None, -1, True, [1]])
def test_a_message_that_means_no_run_is_logged(transactional_db: None, number: Any, caplog: Any) -> None:
    assert carry(number) is None
    assert "which is not there" in caplog.text


# -- other kinds of runs ---------------------------------------------------------------------------------------------


def test_a_run_that_an_item_sends_belongs_to_the_item(transactional_db: None) -> None:
    result = ac.run("senders")
    assert (result.counts["done"], result.counts["dead"]) == (2, 1)
    sent = Run.objects.filter(command="answers").order_by("pk")
    assert sorted(run.parameters["what"] for run in sent) == ["a", "c"]
    assert {run.parent_id for run in sent} == {result.run_id}
    for run in sent:
        carry(run.pk)
    assert rows(command="answers") == ["succeeded"] * 2


def test_a_dry_run_keeps_nothing_at_its_worker_s_either(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="dry", count=3, dry_run=True)
    carry(handle.run_id)
    result = handle.result_sync(timeout=0)
    assert (result.dry_run, result.would) == (True, {"testapp.Effect": {"created": 3}})
    assert not Effect.objects.exists()


def test_a_dry_run_sends_nothing(transactional_db: None) -> None:
    ac.run("senders", dry_run=True)
    assert not Run.objects.filter(command="answers").exists()


def test_what_is_to_happen_once_is_skipped_the_second_time(transactional_db: None) -> None:
    ac.run("answers")
    handles = [ac.dispatch("once") for _ in range(2)]
    assert [carry(handle.run_id) is not None for handle in handles] == [True, True]
    assert rows(command="once") == ["succeeded", "skipped"]
    assert "succeeded" in handles[1].result_sync(timeout=0).reason


def test_what_it_depends_on_is_asked_for_at_the_worker_s(transactional_db: None) -> None:
    handle = ac.dispatch("once", needs="there")
    carry(handle.run_id)
    with pytest.raises(ac.RunFailed, match="answers"):
        handle.result_sync(timeout=0)
    after = ac.dispatch("once", needs="there", run_dependencies=True)
    carry(after.run_id)
    assert after.result_sync(timeout=0).value == "once"


def test_a_trial_run_is_one_at_the_worker_s(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="trial", count=2, test=True)
    carry(handle.run_id)
    run = Run.objects.get()
    assert (run.testing, run.status) == (True, "succeeded")


def test_a_queued_run_is_shown(transactional_db: None) -> None:
    handle = ac.dispatch("answers")
    assert "queued" in aruns("show", handle.run_id)
    assert json.loads(aruns("show", handle.run_id, json=True))["status"] == "queued"
    assert f"{handle.run_id}  answers" in aruns()


# -- another release at the worker's --------------------------------------------------------------------------------


def test_a_command_that_the_worker_does_not_have_fails_the_run(transactional_db: None) -> None:
    handle = ac.dispatch("answers")
    Run.objects.update(command="answered")
    assert carry(handle.run_id) is None
    with pytest.raises(ac.RunFailed, match="answered"):
        handle.result_sync(timeout=0)


def test_an_argument_that_is_gone_fails_the_run(transactional_db: None) -> None:
    handle = ac.dispatch("answers")
    Run.objects.update(parameters={"what": "x", "whither": "there"})
    assert carry(handle.run_id) is None
    with pytest.raises(ac.RunFailed, match="answers has no argument whither in this worker"):
        handle.result_sync(timeout=0)


def test_a_value_that_the_worker_does_not_take_fails_the_run(transactional_db: None) -> None:
    handle = ac.dispatch("effects", label="x")
    Run.objects.update(parameters={"label": "x", "count": "many", "pause": 0.0})
    assert carry(handle.run_id) is None
    assert rows() == ["failed"]
    assert "count" in Run.objects.get().error


# -- what is refused -------------------------------------------------------------------------------------------------


def test_arguments_are_checked_before_anything_is_written(transactional_db: None) -> None:
    for wrong, arguments in (
        (TypeError, {"label": "x", "cuont": 3}),
        (ac.InvalidCommand, {"label": "x", "count": "many"}),
        (ac.InvalidCommand, {"label": "x", "threads": 0}),
        (ac.InvalidCommand, {"label": "x", "resume": True}),
        (ac.InvalidCommand, {"label": "x", "stdout": io.StringIO()}),
        (ac.InvalidCommand, {"label": "x", "engine": "rabbits"}),
        (ac.InvalidCommand, {"label": "x", "engine": "builtins.dict"}),
    ):
        with pytest.raises(wrong):
            ac.dispatch("effects", **arguments)
    with pytest.raises(ac.CommandNotFound):
        ac.dispatch("efects")
    assert not Run.objects.exists()


def test_a_class_that_no_worker_finds_is_refused(transactional_db: None) -> None:
    class Here(ac.AsyncCommand):
        async def handle(self) -> None: ...

    with pytest.raises(ac.InvalidCommand, match="in no commands folder"):
        ac.dispatch(Here)


def test_a_secret_is_refused_unless_the_worker_has_it(transactional_db: None, monkeypatch: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match=r"password has a secret in it.*Declare it with Option"):
        ac.dispatch("answers", password="hunter2")
    with pytest.raises(ac.InvalidCommand, match=r"token has a secret in it.*environment variable QUEUED_TOKEN"):
        ac.dispatch("answers", what="token", token="abc")  # the sender has no such variable; a worker may have another
    monkeypatch.setenv("QUEUED_TOKEN", "abc")
    with pytest.raises(ac.InvalidCommand, match=r"token has a secret in it.*environment variable QUEUED_TOKEN"):
        ac.dispatch("answers", what="token", token="abcd")
    handle = ac.dispatch("answers", what="token", token="abc")
    assert "abc" not in json.dumps(Run.objects.values().get(), default=str)
    monkeypatch.setenv("QUEUED_TOKEN", "abcde")
    carry(handle.run_id)
    assert handle.result_sync(timeout=0).value == 5
    other = ac.dispatch("answers", what="token")
    monkeypatch.delenv("QUEUED_TOKEN")
    carry(other.run_id)
    with pytest.raises(ac.RunFailed, match="No queued run keeps the value of token"):
        other.result_sync(timeout=0)


# -- in the terminal -------------------------------------------------------------------------------------------------


def arun(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("arun", *words, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_detach_says_the_number(transactional_db: None) -> None:
    told = arun("answers", "--detach")
    run = Run.objects.get()
    assert told == f"Run {run.pk} of answers is queued (worker). To see it:  manage.py aruns show {run.pk}\n"
    document = json.loads(arun("answers", "--detach", "--json"))
    assert document == {"run": run.pk + 1, "command": "answers", "status": "queued", "engine": "worker"}
    with pytest.raises(CommandError, match=r"password has a secret"):
        arun("answers", "--detach", "--password", "hunter2")


@pytest.mark.parametrize("how", ["the terminal", "code"])
def test_dead_items_are_left_to_a_worker(transactional_db: None, how: str) -> None:
    run = ac.run("mendable")
    assert (run.counts["done"], run.counts["dead"]) == (6, 1)
    Tag.objects.create(name="mended")
    if how == "the terminal":
        told = arun("mendable", "--retry-failed", str(run.run_id), "--detach", "--threads", "2")
        assert f"Run {run.run_id} of mendable is queued (worker)" in told
        handle = ac.RunHandle(run.run_id)
    else:
        handle = ac.dispatch("mendable", retry_failed=run.run_id, threads=2, engine=Sink)
        assert Sink.sent == [(run.run_id, "default", 0)]
    assert (handle.run_id, handle.status_sync()) == (run.run_id, ac.RunStatus.QUEUED)
    carry(run.run_id)
    carry(run.run_id)
    assert handle.result_sync().counts["done"] == 7
    assert Effect.objects.count() == 7
    assert Run.objects.get().limits["threads"] == 2


def test_dead_items_of_all_shards_are_left_to_a_worker(transactional_db: None) -> None:
    run = ac.run("mendable", shards=2)
    assert (run.counts["done"], run.counts["dead"]) == (6, 1)
    Tag.objects.create(name="mended")
    handle = ac.dispatch("mendable", retry_failed=run.run_id, engine=Sink)
    row = Run.objects.get(pk=run.run_id)
    assert (row.status, row.taken, row.done, row.retry, row.dead) == ("queued", 7, 6, 1, 0)
    carry(run.run_id)
    assert handle.result_sync().counts["done"] == 7
    assert Effect.objects.count() == 7


def test_a_worker_takes_the_oldest_first(transactional_db: None) -> None:
    handles = [ac.dispatch("effects", label=f"row {number}", count=2) for number in range(3)]
    other = ac.dispatch("answers", engine=Sink)
    call_command("aworker", "--once", stderr=io.StringIO())
    assert [handle.status_sync().value for handle in handles] == ["succeeded", "queued", "queued"]
    told = io.StringIO()
    call_command("aworker", "--burst", "--concurrency", "2", stderr=told)
    assert rows(engine="worker") == ["succeeded"] * 3
    assert f"effects #{handles[2].run_id}: succeeded" in told.getvalue()
    assert other.status_sync() is ac.RunStatus.QUEUED


# -- once more -------------------------------------------------------------------------------------------------------


def aruns(*words: object, **options: Any) -> str:
    out = io.StringIO()
    call_command("aruns", *map(str, words), stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_a_run_that_failed_is_sent_once_more(transactional_db: None) -> None:
    handle = ac.dispatch("answers", what="error")
    carry(handle.run_id)
    assert aruns("requeue", handle.run_id) == f"Run {handle.run_id} of answers is queued (worker).\n"
    row = Run.objects.get()
    assert (row.status, row.finished) == ("queued", None)
    carry(handle.run_id)
    assert rows() == ["failed"]


def test_a_run_that_nobody_sent_goes_on_in_a_queue(transactional_db: None) -> None:
    ac.run("effects", label="cut", count=9, max_items=4)
    run = Run.objects.get()
    with pytest.raises(CommandError, match=f"Run {run.pk} is {run.status}: only queued"):
        aruns("requeue", run.pk)
    end_without_a_word(run.pk, 1)
    assert json.loads(aruns("requeue", run.pk, json=True)) == {"run": run.pk, "status": "queued", "engine": "worker"}
    carry(run.pk)
    assert Effect.objects.count() == len(set(Effect.objects.values_list("key", flat=True)))
    with pytest.raises(CommandError, match="There is no run 999999"):
        aruns("requeue", 999_999)


def test_what_was_lost_is_sent_by_hand(transactional_db: None) -> None:
    handle = ac.dispatch("answers", engine=Sink)
    Run.objects.update(sent=None, started=Run.objects.get().started - rescue.YOUNG)
    Sink.sent.clear()
    assert aruns("requeue") == "Runs sent again: 1.\n"
    assert Sink.sent == [(handle.run_id, "default", 0)]
    Run.objects.update(sent=Run.objects.get().sent - rescue.RESENT_AFTER)
    assert rescue.rescue("default") == 1


@pytest.mark.parametrize("name", ["rabbits", "builtins.dict", "tests.nothing.Here"])
def test_a_queue_that_is_none_is_a_system_check_error(settings: Any, name: str) -> None:
    from async_commander.checks import check_settings

    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "ENGINE": name}
    [error] = check_settings(None)
    assert error.id == "async_commander.E001"
    assert f"ASYNC_COMMANDER['ENGINE'] is {name!r}" in error.msg
