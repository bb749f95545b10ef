"""`@ac.cached` in runs: what is found again, what is not, and who shares it."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from django.core.files.storage import FileSystemStorage

import async_commander as ac
from async_commander.cache import keeper
from async_commander.exceptions import InvalidCommand
from async_commander.testing import InMemoryRecorder

URLS = ["https://example.org/a?b=c/d", "https://example.org/" + "long/" * 100, "ünïcode", "../../etc/passwd", ""]


class Pages(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=8)
    keep_values = True
    calls: ClassVar[list[str]] = []

    def iterate(self) -> list[str]:
        return URLS

    @ac.cached
    async def download(self, url: str) -> str:
        self.calls.append(url)
        return f"page of {url}"

    async def parse_and_save(self, url: str, page: str) -> str:
        return page


@pytest.fixture
def calls() -> list[str]:
    Pages.calls = []
    return Pages.calls


def kept_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_second_run_downloads_nothing_and_gets_the_same(run: Any, calls: list[str], folder: Path) -> None:
    first = run(Pages())
    second = run(Pages())
    assert sorted(first.values) == sorted(second.values) == sorted(f"page of {url}" for url in URLS)
    assert sorted(calls) == sorted(URLS)
    assert len(kept_in(folder)) == len(URLS)


def test_refresh_cache_makes_all_anew_and_keeps_it(run: Any, calls: list[str]) -> None:
    run(Pages())
    run(Pages(), refresh_cache=True)
    assert len(calls) == 2 * len(URLS)
    run(Pages())
    assert len(calls) == 2 * len(URLS)


def test_a_plain_download_is_cached_as_well(run: Any) -> None:
    threads = []

    class Plain(ac.IterateDownloadCommand[int, bytes]):
        keep_values = True

        def iterate(self) -> list[int]:
            return [1, 2, 3]

        @ac.cached(ttl=3600)
        def download(self, number: int) -> bytes:
            threads.append(threading.current_thread().name)
            return bytes([number])

        def parse_and_save(self, number: int, payload: bytes) -> list[Any]:
            return [number, payload]

    first, second = run(Plain()), run(Plain())
    assert sorted(first.values) == sorted(second.values) == [[1, b"\1"], [2, b"\2"], [3, b"\3"]]
    assert len(threads) == 3


def test_the_one_download_of_a_command_is_cached(run: Any) -> None:
    made = []

    class Feed(ac.DownloadIterateCommand[list[int], int]):
        keep_values = True

        @ac.cached
        async def download(self) -> list[int]:
            made.append(1)
            return [1, 2]

        def iterate(self, payload: list[int]) -> list[int]:
            return payload

        async def parse_and_save(self, item: int) -> int:
            return item

    assert [sorted(run(Feed()).values) for _ in range(2)] == [[1, 2], [1, 2]]
    assert made == [1]


def a_job(function: Any, **attributes: Any) -> type[ac.AsyncCommand]:
    """A plain command whose `handle()` returns what `function(self)` does."""

    class Job(ac.AsyncCommand):
        async def handle(self) -> Any:
            return await function(self)

    for name, value in attributes.items():
        setattr(Job, name, value)
    return Job


VALUES = [
    None, [], {}, "", b"", 0, False, "text", b"\0\xff", 1.5, [1, "a", None], {"b": {"a": 1}}, (1, (2,)), {"t": ((),)},
    {"$tuple": [1]}, {"$dict": 1, "a": (1,)}, "\ud800", 10**300, True, [True, 1, 1.0],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_comes_back_is_what_was_returned_also_nothing(run_on_lanes: Any, value: Any) -> None:
    made, got = [], []

    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> Any:
            made.append(1)
            return value

        async def handle(self) -> None:
            got.append(await self.one())
            got.append(await self.one())

    run_on_lanes(Job())
    assert made == [1]
    assert [repr(each) for each in got] == [repr(value)] * 2


def test_a_data_frame_comes_back_as_one(run_on_lanes: Any) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"day": [date(2026, 1, 31), None], "n": [1, 2], "list": [[1], []]})
    made, got = [], []

    class Job(ac.AsyncCommand):
        @ac.cached
        def frame(self) -> Any:
            made.append(1)
            return frame

        def handle(self) -> None:
            got.extend([self.frame(), self.frame()])

    run_on_lanes(Job())
    assert made == [1]
    assert all(each.equals(frame) and each.schema == frame.schema for each in got)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (object(), "return its text"),
        ({1, 2}, "return a sorted list"),
        ({1: "a"}, "whose keys are texts"),
        (float("nan"), "return None in its place"),
        (bytearray(b"x"), "return bytes"),
        ([date(2026, 1, 1)], "datetime.date, allowed: text, bytes"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused_with_the_remedy(run_on_lanes: Any, value: Any, remedy: str) -> None:
    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> Any:
            return value

        async def handle(self) -> None:
            await self.one()

    with pytest.raises(ac.RunFailed, match=remedy) as caught:
        run_on_lanes(Job())
    assert isinstance(caught.value.__cause__, InvalidCommand)


def test_two_who_get_one_result_do_not_share_the_object(run_on_lanes: Any) -> None:
    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> list[int]:
            await asyncio.sleep(0)
            return [1]

        async def handle(self) -> list[Any]:
            first, second = await asyncio.gather(self.one(), self.one())
            first.append(2)
            return [second, await self.one()]

    assert run_on_lanes(Job()).value == [[1], [1]]


class Search(ac.AsyncCommand):
    word: str = "a"
    language: Annotated[str, ac.Option(identity=False)] = "en"
    pages: Annotated[int, ac.Option(identity=False)] = 1
    made: ClassVar[list[Any]] = []

    @ac.cached(vary="language")
    async def search(self, *args: Any, day: date | None = None, **filters: Any) -> int:
        self.made.append((args, day, filters))
        return len(self.made)

    async def handle(self) -> int:
        return await self.search(1, {"b": 2, "a": 1}, x=1, y=2)


def test_identity_and_the_options_that_vary_names_tell_results_apart(run_on_lanes: Any) -> None:
    Search.made = []
    one = {run_on_lanes(Search(**given)).value for given in ({}, {"pages": 2}, {"word": "a"})}
    others = [run_on_lanes(Search(**given)).value for given in ({"word": "b"}, {"language": "de"})]
    assert (one, others) == ({1}, [2, 3])


def test_arguments_are_told_apart_exactly_and_dicts_in_any_order_are_one(run_on_lanes: Any) -> None:
    Search.made = []

    async def ask(self: Any) -> list[int]:
        same = [
            await self.search(1, {"b": 2, "a": 1}, x=1, y=2),
            await self.search(1, {"a": 1, "b": 2}, y=2, x=1),
        ]
        other = [
            await self.search(*args, day=day)
            for args, day in [
                ((), date(2026, 1, 1)), (("2026-01-01",), None), ((1,), None), ((True,), None), ((1.0,), None),
                (("1",), None), (([1],), None), (((1,),), None), (({1},), None), ((b"1",), None), (("31",), None),
            ]
        ]  # fmt: skip
        return [*same, *other]

    class Job(Search):
        async def handle(self) -> Any:
            return await ask(self)

    found = run_on_lanes(Job()).value
    assert found[:2] == [1, 1]
    assert len(set(found[1:])) == len(found) - 1


def test_an_argument_without_a_stable_key_is_refused_and_a_key_function_helps(run_on_lanes: Any) -> None:
    class Session:
        url = "https://example.org"

    class Job(ac.AsyncCommand):
        @ac.cached
        async def without(self, session: Session) -> str:
            return session.url

        @ac.cached(key=lambda self, session: session.url)
        async def with_key(self, session: Session) -> str:
            return session.url

        async def handle(self) -> list[str]:
            with pytest.raises(InvalidCommand, match=r"no stable key.*ac.cached.key=lambda self"):
                await self.without(Session())
            return [await self.with_key(Session()), await self.with_key(Session())]

    assert run_on_lanes(Job()).value == ["https://example.org"] * 2


def test_a_result_that_is_too_old_is_made_anew(run_on_lanes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Job(ac.AsyncCommand):
        @ac.cached(ttl=timedelta(minutes=1))
        async def one(self) -> int:
            made.append(1)
            return len(made)

        async def handle(self) -> int:
            return await self.one()

    now = time.time()
    values = []
    for passed in (0, 59, 61, 62):
        monkeypatch.setattr(keeper.time, "time", lambda passed=passed: now + passed)
        values.append(run_on_lanes(Job()).value)
    assert values == [1, 1, 2, 2]


def test_another_version_is_another_result(run_on_lanes: Any) -> None:
    def job(version: int) -> ac.AsyncCommand:
        class Job(ac.AsyncCommand):
            @ac.cached(version=version)
            async def one(self) -> int:
                return version

            async def handle(self) -> int:
                return await self.one()

        return Job()

    assert [run_on_lanes(job(version)).value for version in (1, 2, 1)] == [1, 2, 1]


def test_fifty_callers_of_one_key_make_one_download(run: Any) -> None:
    made = []

    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> int:
            made.append(1)
            await asyncio.sleep(0.05)
            return 7

        async def handle(self) -> list[int]:
            return await asyncio.gather(*(self.one() for _ in range(50)))

    assert run(Job()).value == [7] * 50
    assert made == [1]


def test_fifty_plain_downloads_of_one_thing_make_one(run_on_lanes: Any) -> None:
    made = []

    class Job(ac.IterateDownloadCommand[int, int]):
        limits = ac.Limits(threads=50)

        def iterate(self) -> range:
            return range(50)

        @ac.cached(key=lambda self, item: "one for all")
        def download(self, item: int) -> int:
            made.append(item)
            time.sleep(0.1)
            return 1

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    assert run_on_lanes(Job()).counts["done"] == 50
    assert len(made) == 1


def test_an_error_is_shared_and_not_kept(run: Any) -> None:
    made = []

    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> int:
            made.append(1)
            await asyncio.sleep(0.02)
            if len(made) == 1:
                raise ac.SkipItem("not today")
            return 5

        async def handle(self) -> list[Any]:
            first = await asyncio.gather(*(self.one() for _ in range(5)), return_exceptions=True)
            return [[type(each).__name__ for each in first], await self.one()]

    assert run(Job()).value == [["SkipItem"] * 5, 5]
    assert len(made) == 2


def test_a_leader_that_is_cancelled_hands_over(run: Any) -> None:
    made = []

    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> int:
            made.append(1)
            await asyncio.sleep(0.05)
            return len(made)

        async def handle(self) -> list[Any]:
            async with asyncio.TaskGroup() as group:
                leader = group.create_task(self.one())
                while not made:
                    await asyncio.sleep(0.005)
                others = [group.create_task(self.one()) for _ in range(3)]
                await asyncio.sleep(0.01)
                leader.cancel()
            return [task.result() for task in others]

    assert run(Job()).value == [2, 2, 2]


def test_a_follower_that_is_cancelled_leaves_the_others_alone(run: Any) -> None:
    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> int:
            await asyncio.sleep(0.05)
            return 1

        async def handle(self) -> list[Any]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.one()) for _ in range(3)]
                await asyncio.sleep(0.02)
                tasks[1].cancel()
            return [task.result() for task in tasks if not task.cancelled()]

    assert run(Job()).value == [1, 1]


def test_a_cached_method_may_call_the_cached_one_that_it_overrides(run: Any) -> None:
    class Base(ac.AsyncCommand):
        @ac.cached
        async def one(self, n: int) -> int:
            return n

        async def handle(self) -> int:
            return await self.one(3)

    class Job(Base):
        @ac.cached
        async def one(self, n: int) -> int:
            return 10 * await super().one(n)

    assert [run(Job()).value for _ in range(2)] == [30, 30]


def test_a_cached_method_may_call_itself(run: Any) -> None:
    class Job(ac.AsyncCommand):
        depth = 0

        @ac.cached
        async def one(self) -> int:
            self.depth += 1
            return 1 if self.depth > 2 else 1 + await self.one()

        async def handle(self) -> int:
            return await self.one()

    assert run(Job()).value == 3


def test_an_item_with_an_open_transaction_waits_for_nobody(run_on_lanes: Any) -> None:
    """Two items with a lane each, one of which makes what the other one wants."""
    from tests.testapp.models import Page

    class Job(ac.IterateDownloadCommand[int, None]):
        limits = ac.Limits(threads=4, db_lanes=1)

        def iterate(self) -> range:
            return range(4)

        async def download(self, item: int) -> None: ...

        @ac.cached
        async def one(self) -> int:
            await Page.objects.acount()
            return 1

        async def parse_and_save(self, item: int, payload: None) -> None:
            if item % 2:
                await Page.objects.acount()
            await self.one()

    assert run_on_lanes(Job()).counts["done"] == 4


def test_outside_of_a_run_the_function_is_simply_called(folder: Path) -> None:
    assert asyncio.run(Pages().download("x")) == "page of x"
    assert kept_in(folder) == []


def test_a_trial_run_has_an_area_of_its_own(run: Any, folder: Path, calls: list[str]) -> None:
    run(Pages())
    run(Pages(), test=True)
    run(Pages(), test=True)
    assert len(calls) == 2 * len(URLS)
    areas = sorted(path.name for path in (folder / "async_commander").iterdir())
    assert areas == ["results", "test"]


class Slow(FileSystemStorage):
    """A storage that is far away."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        time.sleep(0.2)
        return super()._open(name, mode)

    def _save(self, name: str, content: Any) -> str:
        time.sleep(0.2)
        return super()._save(name, content)


def test_a_slow_storage_does_not_hold_up_the_event_loop(run_on_lanes: Any, settings: Any, folder: Path) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "kept": {"BACKEND": f"{__name__}.Slow", "OPTIONS": {"location": folder}},
    }

    class Job(ac.AsyncCommand):
        @ac.cached
        async def one(self, n: int) -> int:
            return n

        async def handle(self) -> float:
            longest, last, ended = 0.0, time.monotonic(), asyncio.Event()

            async def watch() -> None:
                nonlocal longest, last
                while not ended.is_set():
                    await asyncio.sleep(0.001)
                    longest, last = max(longest, time.monotonic() - last), time.monotonic()

            async with asyncio.TaskGroup() as group:
                group.create_task(watch())
                await asyncio.gather(*(self.one(n) for n in range(3)))
                ended.set()
            return longest

    assert min(run_on_lanes(Job(), refresh_cache=True).value for _ in range(3)) < 0.15


def test_a_run_that_no_database_records_has_the_cache_too(calls: list[str]) -> None:
    for _ in range(2):
        recorder = InMemoryRecorder()
        result = ac.run(Pages(), recorder=recorder)
        assert result.counts["done"] == len(URLS)
    assert sorted(calls) == sorted(URLS)
