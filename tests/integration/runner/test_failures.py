"""What fails, who is to blame, and what the run says about it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
import re
import threading
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured

import async_commander as ac
from async_commander.history import database_recorder
from async_commander.models import Run, RunErrorKind, RunItem
from tests.testapp.models import Tag

from .ledger import items_of, labels_of, row_of

QUICK = ac.Retry(attempts=3, initial=0.001, maximum=0.002)


class Items(ac.IterateDownloadCommand[str, str]):
    """Items a to f, each saved as a tag; `fail(item)` is for the tests."""

    retry = QUICK

    async def iterate(self):
        return list("abcdef")

    async def download(self, item: str) -> str:
        self.fail(item)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=payload))

    def fail(self, item: str) -> None: ...


class Counted(Items):
    count: int = 2


def tags() -> str:
    return "".join(sorted(Tag.objects.values_list("name", flat=True)))


def failed(run: Any, command: ac.AsyncCommand, **options: Any) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command, **options)
    return raised.value.result


def http_error(status: int, **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://example.org/")
    return httpx.HTTPStatusError(str(status), request=request, response=httpx.Response(status, headers=headers))


def test_an_item_that_fails_is_dead_and_the_others_are_done(run: Any) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            if item in "bd":
                raise ValueError(f"{item} is no good")

    result = run(Command())
    assert result.status is ac.RunStatus.PARTIAL
    assert tags() == "acef"
    assert [(one.kind, one.count) for one in result.errors] == [("ValueError", 2)]
    dead = items_of(result, state="dead")
    assert [(one.label, one.reason, one.error_kind, one.error, one.attempts, one.item) for one in dead] == [
        ("b", "permanent", "ValueError", "b is no good", 1, "b"),
        ("d", "permanent", "ValueError", "d is no good", 1, "d"),
    ]
    said = row_of(result).logs.filter(message__contains="for good").values_list("message", flat=True)
    assert all(
        re.search(r"b|d failed .*: ValueError: . is no good \(.*test_failures\.py:\d+ in fail\)$", one) for one in said
    )
    assert len(said) == 2
    kind = RunErrorKind.objects.get()
    assert (kind.kind, kind.count, kind.item in "bd") == ("ValueError", 2, True)
    assert row_of(result).status == "partial"


def test_an_error_that_passes_is_tried_again(run: Any) -> None:
    tries: Counter[str] = Counter()

    class Command(Items):
        def fail(self, item: str) -> None:
            tries[item] += 1
            if item == "c" and tries[item] < 3:
                raise TimeoutError

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert tries == Counter(a=1, b=1, c=3, d=1, e=1, f=1)
    assert tags() == "abcdef"
    assert [item.attempts for item in items_of(result, label="c")] == [3]
    assert row_of(result).error_kinds.get().count == 2


def test_an_error_that_does_not_pass_in_time_exhausts_its_attempts(run: Any) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            if item == "c":
                raise ConnectionError("refused")

    result = run(Command())
    dead = items_of(result, state="dead")[0]
    assert (dead.reason, dead.attempts, dead.error_kind) == ("exhausted", 3, "ConnectionError")
    assert row_of(result).error_kinds.get().count == 3


@pytest.mark.parametrize(
    ("error", "reason", "kind"),
    [
        (http_error(404), "permanent", "HTTPStatusError 404"),
        (http_error(503), "exhausted", "HTTPStatusError 503"),
        (AssertionError("wrong"), "permanent", "AssertionError"),
        (RecursionError("deep"), "permanent", "RecursionError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "permanent", "UnicodeDecodeError"),
        (ExceptionGroup("many", [ValueError("one of one")]), "permanent", "ValueError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_dead_items_say_why(run: Any, error: Exception, reason: str, kind: str) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            if item == "a":
                raise error

    result = run(Command())
    dead = items_of(result, state="dead")
    assert [(one.reason, one.error_kind) for one in dead] == [(reason, kind)]
    row_of(result)


def test_an_item_that_raises_cancelled_error_fails_alone(run: Any) -> None:
    class Command(Items):
        async def download(self, item: str) -> str:
            if item == "b":
                raise anyio.get_cancelled_exc_class()
            return item

    result = run(Command())
    assert tags() == "acdef"
    assert [one.error_kind for one in items_of(result, state="dead")] == ["CancelledError"]
    row_of(result)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_no_item_may_survive_ends_the_run(run: Any, error: type[BaseException]) -> None:
    class Command(Items):
        limits = ac.Limits(threads=1)

        def fail(self, item: str) -> None:
            if item == "c":
                raise error

    result = failed(run, Command())
    row = row_of(result)
    assert row.status == "failed"
    assert error.__name__ in row.error
    assert row.dead == 0
    assert row.logs.filter(message__startswith=f"{error.__name__} in item “c” ends the run").exists()


def test_a_failed_run_can_be_told_to_another_process(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            raise http_error(404)

    with pytest.raises(ac.RunFailed) as raised:
        run(Command())
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (str(copy), copy.result) == (str(raised.value), raised.value.result)


def test_should_retry_decides_what_is_tried_again(run: Any) -> None:
    class Command(Items):
        def should_retry(self, error: Exception) -> bool:
            return isinstance(error, KeyError)

        def fail(self, item: str) -> None:
            if item == "a":
                raise KeyError(item)
            if item == "b":
                raise TimeoutError

    dead = items_of(run(Command()), state="dead")
    assert [(one.label, one.reason, one.attempts) for one in dead] == [("a", "exhausted", 3), ("b", "timeout", 1)]


def test_retry_after_is_obeyed_and_capped(run: Any) -> None:
    """A thousand seconds are asked for, two thousandths are the cap."""
    tries: Counter[str] = Counter()

    class Command(Items):
        retry = ac.Retry(attempts=2, initial=0.001, retry_after_cap=0.002)

        def fail(self, item: str) -> None:
            tries[item] += 1
            if item == "a" and tries[item] == 1:
                raise http_error(503, **{"Retry-After": "1000"})

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert tries["a"] == 2


def test_a_pause_that_a_server_asks_for_costs_no_attempt(run: Any) -> None:
    tries: Counter[str] = Counter()

    class Command(Items):
        retry = ac.Retry(attempts=1, initial=0.001, maximum=0.002)

        def fail(self, item: str) -> None:
            tries[item] += 1
            if tries[item] < 4:
                raise http_error(429, **({"Retry-After": "0"} if item in "abc" else {}))

    result = run(Command())
    assert result.counts["done"] == 6
    assert {one.attempts for one in items_of(result, state="done")} == {1}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_host_that_refuses_after_a_pause_is_approached_step_by_step(run: Any, wrapped: bool) -> None:
    """With a client of the command's own, of which the run sees the errors only: a 404 is an answer."""
    busy = Counter[str]()

    class Command(ac.IterateDownloadCommand[int, str]):
        limits = ac.Limits(threads=10, max_failures=None)
        retry = ac.Retry(attempts=2, initial=0.001, maximum=0.002)

        async def iterate(self):
            return range(60)

        def throttle_key(self, item: int) -> str:
            return "shop.example"

        async def download(self, item: int) -> str:
            first, behind_the_pause = not busy["asked"], busy["asked"] >= 10
            busy["asked"] += 1
            busy["now"] += 1
            await asyncio.sleep(0.002)
            if behind_the_pause:
                busy["most"] = max(busy["most"], busy["now"])
            busy["now"] -= 1
            request = httpx.Request("GET", "https://shop.example/")
            response = httpx.Response(429, headers={"Retry-After": "0"}) if first else httpx.Response(404)
            try:
                raise httpx.HTTPStatusError("no", request=request, response=response)
            except httpx.HTTPStatusError as error:
                if wrapped and not first:
                    raise ac.SkipItem("gone") from error
                raise

        async def parse_and_save(self, item: int, payload: str) -> None: ...

    with contextlib.suppress(ac.RunFailed):
        run(Command())
    assert busy["asked"] == 61
    assert busy["most"] > 2


def test_a_host_that_answers_nobody_is_given_up_with_a_reason_of_its_own(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(threads=5, max_failures=None)
        retry = ac.Retry(attempts=100, initial=0.01, maximum=0.05, host_budget=0.3)

        async def iterate(self):
            return [f"https://{host}.example.org/{number}" for number in range(40) for host in ("gone", "good")]

        async def download(self, item: str) -> str:
            if "gone" in item:
                request = httpx.Request("GET", item)
                raise httpx.HTTPStatusError("503", request=request, response=httpx.Response(503))
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    result = run(Command())
    dead = items_of(result, state="dead")
    assert (len(dead), result.counts["done"]) == (40, 40)
    assert {one.reason for one in dead} == {"throttled"}
    logs = row_of(result).logs
    assert logs.filter(message__contains="gone.example.org asks for time").exists()
    assert logs.filter(message__contains="its items are given up").exists()


def test_items_of_one_host_are_paced_and_others_go_on(run: Any) -> None:
    in_hand: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Command(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(threads=10, per_host=2)

        async def iterate(self):
            return [f"https://{host}.example.org/{number}" for number in range(6) for host in "ab"]

        async def download(self, item: str) -> str:
            host = item[8]
            in_hand[host] += 1
            most[host] = max(most[host], in_hand[host])
            await anyio.sleep(0.005)
            in_hand[host] -= 1
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    assert row_of(run(Command())).done == 12
    assert most == Counter(a=2, b=2)


def test_max_failures_as_a_number_ends_the_run(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=1, batch_size=1, max_failures=2)

        async def iterate(self):
            return range(1000)

        async def download(self, item: int) -> int:
            raise ValueError("none of them")

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    result = failed(run, Command())
    assert result.counts["dead"] < 10
    row = row_of(result)
    assert "items failed, 2 allowed (max_failures=2" in row.error


def test_max_failures_as_a_share_counts_after_a_hundred_items(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=4, max_failures="10%")
        every_nth = 5

        async def iterate(self):
            return range(400)

        async def download(self, item: int) -> int:
            if item % self.every_nth == 0:
                raise ValueError("every so often")
            return item

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    result = failed(run, Command())
    assert 100 <= result.counts["done"] + result.counts["dead"] < 400
    row_of(result)
    tolerable = Command()
    tolerable.every_nth = 11
    assert run(tolerable).status is ac.RunStatus.PARTIAL


def test_a_run_that_failed_too_often_is_not_made_partial_by_a_resume_without_work(run_on_lanes: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=1, batch_size=1, max_failures=1)
        retry = QUICK

        async def iterate(self):
            return range(2)

        async def download(self, item: int) -> int:
            raise ValueError("none of them")

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    first = failed(run_on_lanes, Command())
    again = failed(run_on_lanes, Command(), resume=True)
    assert again.run_id == first.run_id
    assert again.error == "2 items failed, 1 allowed (max_failures=1, 2 items finished)"
    allowed = failed(run_on_lanes, Command(), resume=True, max_failures=2)
    assert (allowed.run_id, allowed.error) == (first.run_id, "No item is done: 2 items dead.")


def test_failures_below_a_hundred_items_count_at_the_end(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=4, max_failures="10%")

        async def iterate(self):
            return range(120)

        async def download(self, item: int) -> int:
            if item < 50:
                raise ValueError("the first fifty")
            return item

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    result = failed(run, Command())
    assert result.error == "50 items failed, 12 allowed (max_failures='10%', 120 items finished)"
    assert row_of(result).done == 70


def test_max_items_cuts_the_source(run: Any) -> None:
    result = run(Items(), max_items=4)
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 4)
    row = row_of(result)
    assert row.options["max_items"] == 4
    assert row.total == 4


def test_an_item_that_takes_too_long_is_tried_again(run: Any) -> None:
    tries: Counter[str] = Counter()

    class Command(Items):
        limits = ac.Limits(item_timeout=0.05)
        retry = ac.Retry(attempts=2, initial=0.001)

        async def download(self, item: str) -> str:
            tries[item] += 1
            if item == "a" or (item == "b" and tries[item] == 1):
                await anyio.sleep_forever()
            return item

    result = run(Command())
    assert tags() == "bcdef"
    dead = items_of(result, state="dead")[0]
    assert (dead.label, dead.reason, dead.attempts) == ("a", "exhausted", 2)
    assert "0.05 s" in dead.error
    row_of(result)


@pytest.mark.parametrize("with_hook", [True, False])
def test_a_run_that_takes_too_long_is_stopped_in_order(run: Any, with_hook: bool) -> None:
    told: list[str] = []
    begun: list[str] = []

    class Command(Items):
        """Its second item waits for the time-out of the run."""

        limits = ac.Limits(threads=1, timeout=0.1)

        async def download(self, item: str) -> str:
            begun.append(item)
            while len(begun) > 1 and not self.stopping:
                await anyio.sleep(0.001)
            return item

    class Told(Command):
        async def on_timeout(self) -> None:
            told.append("time is up")

    result = failed(run, Told() if with_hook else Command())
    assert told == ["time is up"] * with_hook
    row = row_of(result)
    assert (row.status, row.error) == ("failed", "The run passed its time-out of 0.1 s and was stopped in order.")
    assert len(tags()) == row.done == len(begun) < 6


class TakesTooLong(Items):
    """Each item waits for the time-out of the run."""

    limits = ac.Limits(threads=1, timeout=0.05)

    async def download(self, item: str) -> str:
        while not self.stopping:
            await anyio.sleep(0.001)
        return item


def test_an_error_in_on_timeout_stops_the_run_all_the_same(run: Any) -> None:
    class Command(TakesTooLong):
        async def on_timeout(self) -> None:
            raise ValueError("not now")

    row = row_of(failed(run, Command()))
    assert "time-out" in row.error
    assert row.logs.filter(message__startswith="on_timeout() failed").count() == 1


def test_a_run_is_stopped_though_on_timeout_never_ends(run: Any) -> None:
    class Command(TakesTooLong):
        async def on_timeout(self) -> None:
            await anyio.sleep_forever()

    row = row_of(failed(run, Command(), grace=0.05))
    assert "time-out" in row.error
    assert row.logs.filter(message__startswith="on_timeout() did not end within the grace of 0.05 s").count() == 1


def test_a_plain_on_timeout_is_called_on_a_lane(run_on_lanes: Any) -> None:
    called_on: list[str] = []

    class Command(TakesTooLong):
        def on_timeout(self) -> None:
            called_on.append(threading.current_thread().name)

    row_of(failed(run_on_lanes, Command()))
    assert called_on == ["async-commander-lane"]


def test_a_key_met_twice_is_skipped_with_one_warning(run: Any) -> None:
    class Command(Items):
        async def iterate(self):
            return list("aabbcabc")

    result = run(Command())
    assert tags() == "abc"
    assert result.counts | {"skipped": 5, "done": 3, "taken": 8} == result.counts
    row = row_of(result)
    assert row.logs.filter(message__contains="skipped as duplicates").count() == 1


def test_an_item_without_a_key_is_dead_and_says_the_remedy(run: Any) -> None:
    class Command(Items):
        async def iterate(self):
            yield object()

    failed(run, Command())
    item = RunItem.objects.get()
    assert (item.state, item.reason, item.error_kind) == ("dead", "permanent", "UnfitItem")
    assert item.error.startswith("Item 1 of the source: the item 'object' has no stable key")
    assert "Define item_key(self, item)" in item.error


@pytest.mark.parametrize(
    ("hook", "value", "message"),
    [
        ("iterate", 5, r"Command\.iterate\(\) returned int 5; allowed: a queryset, or another iterable"),
        ("iterate", "text", r"Command\.iterate\(\) returned str 'text'; allowed: a queryset"),
        ("iterate", None, r"Command\.iterate\(\) returned NoneType None; allowed: a queryset"),
        ("total", "many", r"Command\.total\(\) returned str 'many'; allowed: the number of items"),
        ("item_key", 7, r"Command\.item_key\(\) returned int 7; allowed: a text that is not empty"),
        ("throttle_key", 7, r"Command\.throttle_key\(\) returned int 7; allowed: a text, or None"),
        ("lifespan", None, r"Command\.lifespan\(\) returned NoneType None; allowed: an async context manager"),
        ("http_client", 3, r"Command\.http_client\(\) returned int 3; allowed: an async context manager"),
    ],
)
def test_a_hook_that_returns_a_wrong_kind_of_thing_is_named(run: Any, hook: str, value: Any, message: str) -> None:
    written = {
        "iterate": lambda self: value,
        "total": lambda self: value,
        "item_key": lambda self, item: value,
        "throttle_key": lambda self, item: value,
        "lifespan": lambda self: value,
        "http_client": lambda self: value,
    }[hook]
    command = type("Command", (Items,), {hook: written})
    with pytest.raises(ac.RunFailed, match=message) as raised:
        run(command())
    assert isinstance(raised.value.__cause__, ac.InvalidCommand)
    assert row_of(raised.value.result).status == "failed"


def test_should_retry_that_returns_a_wrong_kind_of_thing_is_named(run: Any) -> None:
    class Command(Items):
        def should_retry(self, error: Exception) -> Any:
            return "perhaps"

        def fail(self, item: str) -> None:
            raise TimeoutError

    result = failed(run, Command())
    assert "should_retry() returned str 'perhaps'; allowed: True or False" in result.error
    row_of(result)


def test_a_coroutine_that_was_not_awaited_is_named(run: Any) -> None:
    made: list[Any] = []

    class Command(Items):
        def download(self, item: str) -> Any:
            made.append(self.later(item))
            return made[-1]

        async def later(self, item: str) -> str:
            return item

    result = failed(run, Command(), threads=1)
    for coroutine in made:
        coroutine.close()
    assert "Command.later(), which was not awaited; allowed: one finished value" in result.error


def test_a_failed_run_without_a_done_item_raises_with_the_most_frequent_error(run: Any) -> None:
    class Command(Items):
        def fail(self, item: str) -> None:
            raise ValueError("no price")

    with pytest.raises(ac.RunFailed, match=r"No item is done: \d+ items? dead\. \d+ × ValueError: no price"):
        run(Command())


def test_a_hook_with_a_wrong_signature_is_refused_before_there_is_a_run(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[str, str]):
        async def iterate(self):
            return []

        async def download(self) -> str:
            return ""

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    with pytest.raises(ac.InvalidCommand, match=r"download\(\) is `async def download\(self\)"):
        Command()
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads=0: at least 1"),
        ({"threads": "many"}, "threads"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"max_failures": "lots"}, "max_failures"),
        ({"max_body": "64 pounds"}, "64 pounds"),
        ({"max_items": 0}, "max_items=0: a whole number from 1"),
        ({"grace": -1}, "grace=-1: at least 0 seconds"),
        ({"database": "nowhere"}, "There is no database 'nowhere'; DATABASES has default"),
    ],
)
def test_a_value_out_of_range_is_refused_before_there_is_a_run(run: Any, options: Any, message: str) -> None:
    with pytest.raises(ac.InvalidCommand, match=message):
        run(Items(), **options)
    assert not Run.objects.exists()


def test_misspelt_arguments_are_refused_with_a_suggestion(run: Any) -> None:
    with pytest.raises(TypeError, match=r"'cuont'\. Did you mean 'count'"):
        run("pages", cuont=3)
    for command in ("pages", Items()):
        with pytest.raises(TypeError, match=r"'treads'\. Did you mean 'threads'"):
            run(command, treads=3)
    with pytest.raises(TypeError, match="has its arguments already; count cannot be given again"):
        run(Counted(), count=3)
    with pytest.raises(TypeError, match="make an instance of it"):
        run(Items)
    with pytest.raises(ac.CommandNotFound, match="Did you mean pages"):
        run("pagse")


def test_resume_and_a_number_to_resume_contradict_each_other(run: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match="resume=True and resume_run contradict each other"):
        run(Items(), resume=True, resume_run=1)
    assert not Run.objects.exists()


def test_a_number_to_resume_goes_before_a_default_of_the_class(run_on_lanes: Any) -> None:
    tries = itertools.count()

    class Command(Items):
        option_defaults = {"resume": True}

        def fail(self, item: str) -> None:
            if next(tries) == 0:
                raise MemoryError

    first = failed(run_on_lanes, Command())
    assert run_on_lanes(Command(), resume_run=first.run_id).run_id == first.run_id


def test_a_command_serves_one_run(run: Any) -> None:
    command = Items()
    first = run(command)
    with pytest.raises(ac.InvalidCommand, match="a command serves one run; make a new one"):
        run(command)
    assert row_of(first)
    assert Run.objects.count() == 1


def test_the_traceback_of_a_failed_run_is_kept(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.inner()

        def inner(self) -> None:
            raise LookupError("in here")

    row = row_of(failed(run, Command()))
    assert "in inner" in row.traceback
    assert row.traceback.rstrip().endswith("LookupError: in here")
    assert row.duration < timedelta(minutes=1)


@pytest.mark.parametrize("where", ["lifespan", "end of lifespan", "total"])
def test_an_error_outside_of_the_items_fails_the_run(run: Any, where: str) -> None:
    class Command(Items):
        @asynccontextmanager
        async def lifespan(self):
            if where == "lifespan":
                raise LookupError(where)
            yield
            if where == "end of lifespan":
                raise LookupError(where)

        async def total(self) -> int:
            if where == "total":
                raise LookupError(where)
            return 6

    row = row_of(failed(run, Command()))
    assert row.error == f"LookupError: {where}"
    assert row.done == (6 if where == "end of lifespan" else 0)


def test_a_source_whose_connection_breaks_is_asked_again(run: Any) -> None:
    class Command(Items):
        times = 0

        async def iterate(self):
            type(self).times += 1
            for item in "abcdef":
                if item == "d" and self.times == 1:
                    raise ConnectionError("gone")
                yield item

    result = run(Command())
    assert (result.status, tags(), Command.times) == (ac.RunStatus.SUCCEEDED, "abcdef", 2)
    assert row_of(result).taken == 6


def test_the_ledger_tells_hostile_text_as_it_came(run: Any) -> None:
    text = "<script>alert('x')</script>\x00\x1b[31m\udcff"

    class Command(Items):
        async def iterate(self):
            return [text]

        def fail(self, item: str) -> None:
            raise ValueError(text)

    result = failed(run, Command())
    assert result.counts["dead"] == 1
    assert "<script>" in labels_of(result)[0]
    row_of(result)


def test_a_database_that_cannot_be_configured_so_is_named(run_on_lanes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(alias: str) -> None:
        raise ImproperlyConfigured("Pooling doesn't support persistent connections.")

    monkeypatch.setattr(database_recorder, "_connect", refuse)
    with pytest.raises(ac.AsyncCommanderError, match=r"DATABASES\['default'\] has it: Pooling .* No run was begun"):
        run_on_lanes(Items())
    assert not Run.objects.exists()
