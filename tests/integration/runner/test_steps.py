"""Steps of `handle()`: done once, kept with what they wrote, and returned on a resume."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import anyio
import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F

import async_commander as ac
from async_commander.database.transaction import LaneTransaction
from async_commander.history.lease import lease_name
from async_commander.models import Lease, Run, RunItem, RunLog
from async_commander.runner.signals import open_run
from async_commander.runner.steps import LARGEST
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Author, Tag

from .work import double

pytestmark = pytest.mark.timeout(60)


class Stepping(ac.AsyncCommand):
    """Does its `work`, a coroutine function of the test's; `calls` are the functions that were called, in order."""

    work: Any

    @asynccontextmanager
    async def lifespan(self):
        self.calls: list[Any] = []
        yield

    async def handle(self):
        return await type(self).work(self)

    async def tag(self, name: str) -> str:
        self.calls.append(name)
        await Tag.objects.acreate(name=name)
        return name.upper()


def stepping(work: Any, **attributes: Any) -> ac.AsyncCommand:
    """A new command of one name and identity: each sitting of a run may have work of its own."""
    cls = type("Command", (Stepping,), {"work": staticmethod(work), "__annotations__": {}, **attributes})
    return cls()


Stepping.__annotations__.clear()


def failed(run: Any, command: ac.AsyncCommand, **options: Any) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command, **options)
    return raised.value.result


def tags() -> list[str]:
    return sorted(Tag.objects.values_list("name", flat=True))


def steps_of(result: ac.RunResult) -> list[str]:
    return list(RunItem.objects.filter(run_id=result.run_id).order_by("pk").values_list("label", flat=True))


async def three(command: Any) -> list[str]:
    return [await command.step("tag", command.tag, name) for name in ("a", "b", "c")]


async def breaks_at_c(command: Any) -> None:
    await command.step("tag", command.tag, "a")
    await command.step("tag", command.tag, "b")
    raise ValueError("broken before c")


def test_steps_are_kept_and_not_done_again_on_resume(run: Any) -> None:
    first = stepping(breaks_at_c)
    result = failed(run, first)
    assert (first.calls, steps_of(result), tags()) == (["a", "b"], ["tag(a)", "tag(b)"], ["a", "b"])
    second = stepping(three)
    resumed = run(second, resume=True)
    assert resumed.run_id == result.run_id
    assert (second.calls, resumed.value, tags()) == (["c"], ["A", "B", "C"], ["a", "b", "c"])
    row = Run.objects.get(pk=resumed.run_id)
    assert (row.status, row.accounts, row.taken) == ("succeeded", True, 0)


def test_a_run_is_resumed_by_its_number(run: Any) -> None:
    result = failed(run, stepping(breaks_at_c))
    second = stepping(three)
    assert run(second, resume_run=result.run_id).value == ["A", "B", "C"]
    assert second.calls == ["c"]


def test_a_new_run_begins_anew(run: Any) -> None:
    failed(run, stepping(breaks_at_c))
    Tag.objects.all().delete()
    second = stepping(three)
    run(second)
    assert second.calls == ["a", "b", "c"]


def test_what_a_step_writes_in_any_way_is_rolled_back_with_it(run: Any) -> None:
    async def writes(command: Any) -> None:
        async def step() -> None:
            await Tag.objects.acreate(name="by a coroutine")
            await command.db(Tag.objects.create, name="by a function")
            command.db.add(Tag(name="queued"))
            await command.db.flush()
            command.db.add(Tag(name="queued late"))
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await command.step("write", step)
        return await command.step("look", Tag.objects.count)

    result = run(stepping(writes))
    assert result.value == 0
    assert (steps_of(result), tags()) == (["look"], [])


def test_an_error_is_caught_around_a_savepoint_in_a_step(run: Any) -> None:
    async def catches(command: Any) -> None:
        async def step() -> str:
            await command.tag("a")
            with pytest.raises(IntegrityError):
                async with command.db.atomic():
                    await command.tag("a")
            return await command.tag("b")

        return await command.step("tags", step)

    result = run(stepping(catches))
    assert (result.value, tags(), steps_of(result)) == ("B", ["a", "b"], ["tags"])


@pytest.mark.parametrize("kind", ["queued", "coroutine", "function"])
def test_what_a_step_writes_in_any_way_is_kept_with_it(run: Any, kind: str) -> None:
    async def writes(command: Any) -> None:
        async def coroutine() -> None:
            await Tag.objects.acreate(name="one")

        async def queued() -> None:
            command.db.add(Tag(name="one"))

        def function() -> None:
            assert transaction.get_connection().in_atomic_block
            Tag(name="one").save()

        assert (
            await command.step("write", {"queued": queued, "coroutine": coroutine, "function": function}[kind]) is None
        )

    result = run(stepping(writes))
    assert (steps_of(result), tags()) == (["write"], ["one"])


def test_a_step_whose_rows_the_database_refuses_is_not_kept_and_its_error_is_raised(run: Any) -> None:
    async def doubles(command: Any) -> str:
        await command.step("first", command.tag, "a")

        async def queues() -> None:
            command.db.add(Tag(name="a"))

        with pytest.raises(IntegrityError):
            await command.step("queued", queues)
        with pytest.raises(IntegrityError):
            await command.step("called", command.tag, "a")
        return "went on"

    result = run(stepping(doubles))
    assert (result.value, steps_of(result)) == ("went on", ["first(a)"])


def test_the_same_step_twice_is_done_once_and_other_arguments_make_another(run: Any) -> None:
    async def twice(command: Any) -> Any:
        await command.step("tag", command.tag, "a")
        again = await command.step("tag", command.tag, "a")
        return [again, await command.step("tag", command.tag, "b"), await command.step("other", str.upper, "a")]

    command = stepping(twice)
    result = run(command)
    assert result.value == ["A", "B", "A"]
    assert command.calls == ["a", "b"]
    assert steps_of(result) == ["tag(a)", "tag(b)", "other(a)"]


def test_who_asks_at_once_for_the_same_step_waits_for_it(run: Any) -> None:
    async def at_once(command: Any) -> Any:
        return await asyncio.gather(*(command.step("tag", command.tag, "a") for _ in range(5)))

    command = stepping(at_once)
    assert run(command).value == ["A"] * 5
    assert command.calls == ["a"]


def test_a_kept_result_is_nobody_elses_to_change(run: Any) -> None:
    shared = [1]

    async def changes(command: Any) -> Any:
        first = await command.step("list", lambda: shared)
        first.append(2)
        shared.append(3)
        return await command.step("list", lambda: shared)

    assert run(stepping(changes)).value == [1]


def test_concurrent_steps_have_lanes_of_their_own_and_no_more_than_there_are(run: Any) -> None:
    async def many(command: Any) -> Any:
        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(command.step, "tag", command.tag, f"{number:02}")

    result = run(stepping(many, limits=ac.Limits(db_lanes=2)))
    assert len(tags()) == len(steps_of(result)) == 12


def test_pool_and_log_serve_a_step(run: Any) -> None:
    async def uses(command: Any) -> Any:
        async def step(number: int) -> int:
            command.log.warning("from inside")
            return await command.cpu(double, number)

        return await command.step("double", step, 21), command.idempotency_key

    result = run(stepping(uses))
    assert result.value[0] == 42
    line = RunLog.objects.get(run_id=result.run_id, message="from inside")
    assert line.item_key == RunItem.objects.get(run_id=result.run_id).key


def test_other_systems_know_a_step_again_after_a_resume_and_not_in_another_run(run: Any) -> None:
    keys = []

    async def tells(command: Any) -> None:
        def step() -> None:
            keys.append(command.idempotency_key)
            if len(keys) == 1:
                raise ValueError("not yet")

        await command.step("send", step)

    failed(run, stepping(tells))
    run(stepping(tells), resume=True)
    run(stepping(tells))
    assert keys[0] == keys[1] != keys[2]


VALUES = [
    None, 0, -1.5, 1e16, 2**70, "text", "\x00\ud800", [1, [2]], {"b": 1, "a": {"c": None}}, (1, "two"),
    date(2026, 2, 28), datetime(2026, 2, 28, 1, 2, 3), Decimal("1.10"), UUID(int=7), b"\x00\xff", {1: {2, 3}},
]  # fmt: skip


def test_a_resume_gives_the_same_result_of_the_same_type(run: Any) -> None:
    async def gives(command: Any) -> None:
        found = [await command.step("value", lambda number: VALUES[number], number) for number in range(len(VALUES))]
        assert [repr(one) for one in found] == [repr(one) for one in VALUES]
        if not command.again:
            raise ValueError("once more")

    result = failed(run, stepping(gives, again=None))
    assert run(stepping(gives, again=True), resume=True).run_id == result.run_id
    assert len(steps_of(result)) == len(VALUES)


class Thing:
    pass


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (Thing, r"a .*Thing cannot be kept as JSON; allowed: plain data, dates, Decimal, UUID, and dataclasses"),
        (lambda: {"rows": [Thing()]}, "cannot be kept as JSON"),
        (lambda: Author.objects.get_or_create(name="kept")[0], r"a testapp\.Author is a row.*give its primary key"),
        (lambda: "x" * LARGEST, r"is 1,048,578 characters of JSON; allowed are 1,048,576\. Write it to a table"),
        (lambda: asyncio.sleep(0), "is a coroutine that nobody awaited: give the function itself"),
        (lambda: "Bearer c%61nary-of-a-secret", "contains the value of a secret option"),
    ],
    ids=["object", "object inside", "row", "too long", "coroutine", "secret"],
)
def test_a_result_that_cannot_be_kept_is_refused_and_nothing_of_the_step_is_kept(
    run: Any, result: Any, told: str
) -> None:
    class Command(ac.AsyncCommand):
        api_token: Annotated[str, ac.Option(secret=True)] = ""

        async def handle(self) -> None:
            def step() -> Any:
                Tag.objects.create(name="half done")
                return result()

            with pytest.raises(ac.InvalidCommand, match=told):
                await self.step("give", step)

    ended = run(Command(api_token="canary-of-a-secret"))
    assert (steps_of(ended), tags()) == ([], [])


def test_a_secret_among_the_arguments_is_not_shown(run: Any) -> None:
    class Command(ac.AsyncCommand):
        api_token: Annotated[str, ac.Option(secret=True)] = ""

        async def handle(self) -> None:
            await self.step("log in", len, self.api_token)

    assert steps_of(run(Command(api_token="canary-of-a-secret"))) == ["log in(********)"]


def refusals() -> dict[str, Any]:
    async def without_a_name(command: Any) -> None:
        await command.step(" ", len, "a")

    async def called_already(command: Any) -> None:
        await command.step("tag", command.tag("a"))

    async def without_a_key(command: Any) -> None:
        await command.step("tag", len, object())

    async def nested(command: Any) -> None:
        await command.step("outer", lambda_step, command)

    async def lambda_step(command: Any) -> None:
        await command.step("inner", len, "a")

    async def forgets_to_await(command: Any) -> None:
        async def step() -> None:
            Tag.objects.acreate(name="never")

        await command.step("forgets", step)

    async def nested_named(command: Any) -> None:
        async def step(number: int) -> None:
            await command.step("inner", len, "a")

        await command.step("outer", step, 1)

    return {
        r"self\.step\(' ', …\): a step needs a name": without_a_name,
        r"self\.step\('tag', coroutine\): give a function and its arguments, and do not call it": called_already,
        r"arguments of self\.step\('tag'\) do not say which step it is: a builtins\.object has no": without_a_key,
        r"arguments of self\.step\('outer'\) do not say which step it is": nested,
        r"self\.step\('inner'\) in the step outer\(1\): they would be one transaction": nested_named,
        r"made the coroutine .*acreate.* and did not await it": forgets_to_await,
    }


@pytest.mark.parametrize(("told", "work"), refusals().items(), ids=[work.__name__ for work in refusals().values()])
def test_what_is_no_step_is_refused(run: Any, told: str, work: Any) -> None:
    command = stepping(work)
    with pytest.raises(ac.RunFailed, match=told) as raised:
        run(command)
    assert (steps_of(raised.value.result), tags()) == ([], [])


def test_a_plain_handle_is_told_to_become_async(run: Any) -> None:
    class Command(ac.AsyncCommand):
        def handle(self) -> None:
            async_to_sync(self.step)("len", len, "a")

    with pytest.raises(ac.RunFailed, match="write `async def handle"):
        run(Command())


def test_a_step_outside_of_handle_is_refused(run: Any) -> None:
    class Items(ac.IterateDownloadCommand[int, int]):
        async def iterate(self):
            yield 1

        async def download(self, item: int) -> int:
            return await self.step("len", len, "a")

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    class Cleaning(ac.AsyncCommand):
        async def handle(self) -> None: ...

        async def cleanup(self) -> None:
            await self.step("len", len, "a")

    told = r"self\.step\('len'\) belongs to handle\(\)"
    for command in (Items(), Cleaning()):
        with pytest.raises(ac.RunFailed, match=told):
            run(command)
    with pytest.raises(ac.AsyncCommanderError, match="exists only while a run is open"):
        async_to_sync(Cleaning().step)("len", len, "a")


@pytest.mark.parametrize("attribute", ["always_on", "keep_history"])
def test_a_command_that_is_not_resumed_has_no_steps(run: Any, attribute: str) -> None:
    with pytest.raises(ac.RunFailed, match=r"self\.step\('tag'\) keeps what it comes to for a resume"):
        run(stepping(three, **{attribute: attribute == "always_on"}))


def test_a_run_within_a_step_has_steps_of_its_own(run_on_lanes: Any) -> None:
    async def inner(command: Any) -> str:
        return await command.step("tag", command.tag, "inner")

    async def outer(command: Any) -> Any:
        async def begin() -> str:
            return (await ac.arun(stepping(inner))).value

        return await command.step("begin", begin)

    result = run_on_lanes(stepping(outer))
    assert result.value == "INNER"
    assert sorted(RunItem.objects.values_list("label", flat=True)) == ["begin", "tag(inner)"]


def stop() -> None:
    run = open_run.get()
    assert run is not None
    run.stops.ask()


def test_after_a_request_to_stop_the_step_in_hand_is_kept_and_none_is_begun(run: Any) -> None:
    async def stops_in_b(command: Any) -> Any:
        async def tag(name: str) -> None:
            if name == "b":
                stop()
                while not command.stopping:
                    await asyncio.sleep(0.001)
            await command.tag(name)

        for name in ("a", "b", "c"):
            await command.step("tag", tag, name)

    result = run(stepping(stops_in_b), grace=30)
    assert (result.status, tags()) == ("interrupted", ["a", "b"])
    second = stepping(three)
    assert run(second, resume=True).status == "succeeded"
    assert second.calls == ["c"]


def test_a_step_that_is_cancelled_is_rolled_back(run: Any) -> None:
    async def hangs(command: Any) -> None:
        async def tag() -> None:
            await Tag.objects.acreate(name="half")
            await asyncio.sleep(60)

        with anyio.move_on_after(0.05):
            await command.step("hang", tag)
        await command.step("tag", command.tag, "after")

    result = run(stepping(hangs))
    assert (steps_of(result), tags()) == (["tag(after)"], ["after"])


def test_a_time_out_of_the_run_rolls_the_step_back(run: Any) -> None:
    async def hangs(command: Any) -> None:
        async def tag() -> None:
            await Tag.objects.acreate(name="half")
            await asyncio.sleep(60)

        await command.step("hang", tag)

    result = failed(run, stepping(hangs), timeout=0.05, grace=0.05)
    assert "time-out" in result.error
    assert (steps_of(result), tags()) == ([], [])


def test_an_outage_in_a_step_is_waited_out(run_on_lanes: Any) -> None:
    tries = []

    async def meets_it(command: Any) -> None:
        async def tag() -> None:
            await command.tag("a")
            tries.append(1)
            if len(tries) < 3:
                raise away()

        await command.step("tag", tag)

    result = run_on_lanes(stepping(meets_it, retry=ac.Retry(initial=0.001, maximum=0.002)))
    assert (len(tries), tags(), steps_of(result)) == (3, ["a"], ["tag"])


def away() -> OperationalError:
    cause = sqlite3.OperationalError("unable to open database file")
    cause.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("kind", ["called", "queued"])
def test_a_commit_without_an_answer_is_looked_up(run_on_lanes: Any, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    commit, lost = LaneTransaction.commit, []

    def commit_and_lose(self: LaneTransaction) -> None:
        commit(self)
        if armed and not lost:
            lost.append(1)
            self.committed, self._committing = False, True
            raise away()

    monkeypatch.setattr(LaneTransaction, "commit", commit_and_lose)
    armed: list[int] = []

    async def one(command: Any) -> None:
        async def queued() -> str:
            command.calls.append("a")
            command.db.add(Tag(name="a"))
            armed.append(1)
            return "A"

        async def called() -> str:
            armed.append(1)
            return await command.tag("a")

        return await command.step("tag", {"queued": queued, "called": called}[kind])

    command = stepping(one)
    result = run_on_lanes(command)
    assert lost
    assert (result.value, command.calls, tags(), steps_of(result)) == ("A", ["a"], ["a"], ["tag"])


def test_a_run_that_is_somebody_elses_keeps_no_step(run_on_lanes: Any) -> None:
    async def loses(command: Any) -> None:
        await Lease.objects.filter(name=lease_name(command.record.pk)).aupdate(epoch=F("epoch") + 1)
        await command.step("tag", command.tag, "stale")

    with pytest.raises(ac.RunLocked, match="was taken over"):
        run_on_lanes(stepping(loses))
    assert not RunItem.objects.exists()
    assert tags() == []


def test_a_handle_that_is_left_in_a_step_keeps_nothing_of_it(run_on_lanes: Any) -> None:
    async def stubborn(command: Any) -> None:
        async def tag() -> None:
            await Tag.objects.acreate(name="half")
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue

        await command.step("stubborn", tag)

    result = failed(run_on_lanes, stepping(stubborn), timeout=0.05, grace=0.1)
    assert (steps_of(result), tags()) == ([], [])


def test_a_plain_function_that_does_not_return_is_left_and_keeps_nothing(run_on_lanes: Any) -> None:
    returns = threading.Event()

    async def hangs(command: Any) -> None:
        def tag() -> None:
            Tag.objects.count()
            returns.wait(30)
            Tag.objects.create(name="late")

        await command.step("hang", tag)

    result = failed(run_on_lanes, stepping(hangs), timeout=0.05, grace=0.1)
    returns.set()
    assert result.duration < 20
    assert (steps_of(result), tags()) == ([], [])


@pytest.mark.django_db
def test_steps_are_kept_in_memory_for_tests() -> None:
    recorder = InMemoryRecorder()
    with pytest.raises(ac.RunFailed):
        ac.run(stepping(breaks_at_c), recorder=recorder)
    assert [step.label for step in recorder.steps.values()] == ["tag(a)", "tag(b)"]
    second = stepping(three)
    assert ac.run(second, recorder=recorder, resume=True).value == ["A", "B", "C"]
    assert (second.calls, recorder.items) == (["c"], {})
