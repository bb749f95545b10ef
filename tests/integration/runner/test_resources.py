"""What hangs on `self` while a run is open."""

from __future__ import annotations

import io
import os
import threading
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest

import async_commander as ac
from async_commander.models import Run
from tests.testapp.models import Effect, Tag

from . import work
from .ledger import items_of, labels_of, row_of

QUICK = ac.Retry(attempts=3, initial=0.001, maximum=0.002)


class Letters(ac.IterateDownloadCommand[str, str]):
    letters = "abc"
    retry = QUICK

    async def iterate(self):
        return list(self.letters)

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...


def failed(run: Any, command: ac.AsyncCommand, **options: Any) -> ac.RunResult:
    with pytest.raises(ac.RunFailed) as raised:
        run(command, **options)
    return raised.value.result


# -- follow() ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["download", "parse_and_save"])
def test_an_item_brings_up_others(run: Any, hook: str) -> None:
    class Command(Letters):
        letters = "a"

        async def download(self, item: str) -> str:
            if hook == "download" and len(item) < 4:
                self.follow(item + "x", item + "y")
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            if hook == "parse_and_save" and len(item) < 4:
                self.follow(item + "x", item + "y")
            self.db.add(Effect(key=item))

    result = run(Command())
    assert result.status is ac.RunStatus.SUCCEEDED
    assert Effect.objects.count() == result.counts["done"] == 1 + 2 + 4 + 8
    assert Effect.objects.values("key").distinct().count() == 15
    row_of(result)


def test_items_that_are_brought_up_twice_run_once(run: Any) -> None:
    class Command(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Effect(key=item))
            self.follow("a", "b", "z", "z", item)

    result = run(Command())
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["a", "b", "c", "z"]
    row_of(result)


def test_an_item_that_fails_brings_up_nothing(run: Any) -> None:
    class Command(Letters):
        letters = "a"

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.follow("b")
            raise ValueError("not this one")

    result = failed(run, Command())
    assert labels_of(result) == ["a"]
    row_of(result)


def test_followed_items_are_of_the_type_that_they_were(run: Any) -> None:
    seen: list[Any] = []

    class Command(ac.IterateDownloadCommand[Any, Any]):
        async def iterate(self):
            yield "root"

        async def download(self, item: Any) -> Any:
            return item

        async def parse_and_save(self, item: Any, payload: Any) -> None:
            if item == "root":
                tag = await Tag.objects.acreate(name="a row")
                self.follow(tag, ("tuple", 1), {"a": [1, 2]}, b"bytes")
            else:
                seen.append(item)

    row_of(run(Command()))
    assert ("tuple", 1) in seen
    assert {"a": [1, 2]} in seen
    assert b"bytes" in seen
    assert Tag.objects.get() in seen


def test_what_cannot_be_kept_cannot_be_followed(run: Any) -> None:
    class Command(Letters):
        letters = "a"

        def item_key(self, item: Any) -> str:
            return "same"

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.follow(object())  # type: ignore[arg-type]

    result = failed(run, Command())
    assert "cannot be kept as JSON" in items_of(result, state="dead")[0].error


def test_follow_outside_of_an_item_is_refused(run: Any) -> None:
    class Command(Letters):
        async def iterate(self):
            self.follow("x")
            yield "a"

    assert "self.follow() belongs to an item" in failed(run, Command()).error


# -- keys, rows ------------------------------------------------------------------------------------------------------


def test_the_idempotency_key_is_the_same_in_every_attempt_and_every_run(run: Any) -> None:
    keys: dict[str, list[str]] = {}

    class Command(Letters):
        async def download(self, item: str) -> str:
            keys.setdefault(item, []).append(self.idempotency_key)
            if item == "a" and len(keys[item]) < 3:
                raise TimeoutError
            return item

    run(Command())
    run(Command())
    assert len(keys["a"]) == 4
    assert [len(set(each)) for each in keys.values()] == [1, 1, 1]
    assert len({each[0] for each in keys.values()}) == 3


def test_another_identity_has_other_idempotency_keys(run: Any) -> None:
    keys: list[str] = []

    class Command(Letters):
        letters = "a"
        number: int = 0

        async def download(self, item: str) -> str:
            keys.append(self.idempotency_key)
            return item

    run(Command(number=1))
    run(Command(number=2))
    assert len(set(keys)) == 2


def test_record_and_previous_are_rows(run: Any) -> None:
    class Command(ac.AsyncCommand):
        number: int = 0
        fail: bool = False

        async def handle(self) -> Any:
            if self.fail:
                raise ValueError
            return [self.record.pk, self.previous and self.previous.pk]

        @property
        def parameters(self) -> dict[str, Any]:
            return {"number": self.number}

    first = run(Command(number=1))
    assert first.value == [first.run_id, None]
    failed(run, Command(number=1, fail=True))
    run(Command(number=2))
    second = run(Command(number=1))
    assert second.value == [second.run_id, first.run_id]


def test_a_run_cut_by_max_items_is_no_previous_one(run: Any) -> None:
    class Command(Letters):
        async def cleanup(self) -> None:
            self.before = self.previous

    run(Command(), max_items=1)
    command = Command()
    run(command)
    assert command.before is None


def test_resources_are_gone_before_and_after_the_run(run: Any) -> None:
    command = Letters()
    for _ in range(2):
        for name in ("http", "db", "log", "stdout", "record", "idempotency_key", "stopping", "verbosity"):
            with pytest.raises(ac.AsyncCommanderError, match=rf"self\.{name} exists only while a run is open"):
                getattr(command, name)
        if command.__dict__["_served"] is False:
            run(command)


# -- talking -------------------------------------------------------------------------------------------------------


class Asks(ac.AsyncCommand):
    async def handle(self) -> bool:
        return await self.confirm("Delete them all?")


def test_yes_answers(run: Any) -> None:
    assert run(Asks(), yes=True).value is True


def test_without_a_terminal_a_question_is_an_error(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "cannot be asked without a terminal. Give yes=True to agree" in failed(run, Asks()).error


def test_progress_of_a_plain_command_is_stored(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.progress(3, 12)
            self.progress(7)

    row = Run.objects.get(pk=run(Command()).run_id)
    assert (row.done, row.total, row.accounts) == (7, 12, True)


def test_output_is_passed_on_and_kept(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            self.stdout.write("to the one")
            self.stderr.write(self.style.SUCCESS("to the other"))

    stdout, stderr = io.StringIO(), io.StringIO()
    row = row_of(run(Command(), stdout=stdout, stderr=stderr))
    assert stdout.getvalue() == "to the one\n"
    assert "to the other" in stderr.getvalue()
    assert "to the one\n" in row.output
    assert "to the other" in row.output


def test_output_tells_no_secrets_on_the_terminal_either(run: Any) -> None:
    class Command(ac.AsyncCommand):
        pin: Annotated[str, ac.Option(secret=True)] = ""

        async def handle(self) -> None:
            self.stdout.write(f"the pin is {self.pin}")
            self.stderr.write(f"the pin is {self.pin}")
            for part in ("can", "ary"):
                self.stdout.write(part, ending="")

    stdout, stderr = io.StringIO(), io.StringIO()
    result = run(Command(pin="canary"), stdout=stdout, stderr=stderr, no_color=True)
    assert (stdout.getvalue(), stderr.getvalue()) == ("the pin is ********\ncanary", "the pin is ********\n")
    assert "canary" not in row_of(result).output


def test_what_a_plain_thread_says_by_the_commands_own_logger_is_kept(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            thread = threading.Thread(target=self.log.warning, args=["from a thread"])
            thread.start()
            thread.join()

    assert row_of(run(Command())).logs.filter(message="from a thread").count() == 1


def test_much_output_is_kept_by_its_end(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            for number in range(3000):
                self.stdout.write(f"{number:05} {'x' * 100}")

    row = row_of(run(Command(), stdout=io.StringIO()))
    assert len(row.output) == 100_000
    assert row.output.rstrip().endswith("02999 " + "x" * 100)


def test_stopping_and_verbosity_are_told(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> list[Any]:
            return [self.stopping, self.verbosity, self.dry_run, self.testing, self.force]

    assert run(Command(), verbosity=3, force=True).value == [False, 3, False, False, True]


def test_a_value_that_json_cannot_say_is_kept_as_text(run: Any) -> None:
    class Command(ac.AsyncCommand):
        what: str = ""

        async def handle(self) -> Any:
            return {"nan": float("nan"), "object": object(), "nul": "a\x00b\udcff", "long": "x" * 50_000}[self.what]

    assert row_of(run(Command(what="nan"))).value == "nan"
    assert "object object" in row_of(run(Command(what="object"))).value
    assert row_of(run(Command(what="nul"))).value == "a�b�"
    assert len(row_of(run(Command(what="long"))).value) < 21_000


# -- the pool ------------------------------------------------------------------------------------------------------


def test_the_pool_returns_results_one_by_one(run: Any) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        keep_values = True

        async def iterate(self):
            return range(30)

        async def download(self, item: int) -> int:
            return await self.cpu(work.double, item)

        async def parse_and_save(self, item: int, payload: int) -> int:
            return await self.cpu(work.double, payload)

    result = run(Command(), processes=1)
    assert sorted(result.values) == [4 * number for number in range(30)]
    assert row_of(result).buckets.get(stage="cpu").count == 60


def test_the_pool_is_other_processes_with_django_in_them(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> Any:
            return [await self.cpu(work.process_id), await self.cpu(work.count_rows)]

    process, fields = run(Command(), processes=1).value
    assert process != os.getpid()
    assert fields == 2


def test_an_exception_in_the_pool_is_the_items(run: Any) -> None:
    class Command(Letters):
        async def download(self, item: str) -> str:
            if item == "b":
                await self.cpu(work.fail, "in the child")
            return item

    result = run(Command(), processes=1)
    dead = items_of(result, state="dead")
    assert [(one.label, one.error_kind, one.error) for one in dead] == [("b", "ValueError", "in the child")]


def test_what_cannot_be_pickled_is_named_with_the_remedy(run: Any) -> None:
    class Command(Letters):
        async def download(self, item: str) -> str:
            if item == "a":
                await self.cpu(lambda: 1)
            if item == "b":
                await self.cpu(work.double, (n for n in ()))  # type: ignore[arg-type]
            return item

    result = run(Command(), processes=1)
    dead = items_of(result, state="dead")
    assert [(one.label, one.error_kind, one.attempts) for one in dead] == [
        ("a", "UnpicklablePayload", 1),
        ("b", "UnpicklablePayload", 1),
    ]
    assert all("module" in one.error or "plain data" in one.error for one in dead)


# -- downloads -----------------------------------------------------------------------------------------------------


def test_the_client_refuses_private_addresses_unless_they_are_allowed(run: Any, settings: Any) -> None:
    settings.ASYNC_COMMANDER = {}

    class Command(Letters):
        letters = "a"

        async def download(self, item: str) -> str:
            return (await self.http.get("http://127.0.0.1:9/")).text

    result = failed(run, Command())
    dead = items_of(result, state="dead")[0]
    assert dead.reason == "blocked_address"
    assert "INTERNAL_HOSTS" in dead.error


def test_any_other_client_may_be_brought(run: Any) -> None:
    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/b":
            return httpx.Response(404)
        return httpx.Response(200, text=request.url.path)

    class Command(Letters):
        keep_values = True

        def http_client(self):
            return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://example.org")

        async def download(self, item: str) -> str:
            response = await self.http.get(f"/{item}")
            return response.raise_for_status().text

        async def parse_and_save(self, item: str, payload: str) -> str:
            return payload

    result = run(Command())
    assert sorted(result.values) == ["/a", "/c"]
    assert [one.error_kind for one in items_of(result, state="dead")] == ["HTTPStatusError 404"]


def test_the_client_is_open_in_lifespan_too(run: Any, settings: Any) -> None:
    settings.ASYNC_COMMANDER = {}
    told: list[str] = []

    class Command(ac.AsyncCommand):
        @asynccontextmanager
        async def lifespan(self):
            for part in ("beginning", "end"):
                with pytest.raises(ac.AsyncCommanderError, match="INTERNAL_HOSTS"):
                    await self.http.get("http://127.0.0.1:9/")
                told.append(part)
                if part == "beginning":
                    yield

        async def handle(self) -> None: ...

    run(Command())
    assert told == ["beginning", "end"]


def test_a_client_of_ones_own_uses_what_lifespan_set_and_is_not_there_before(run: Any) -> None:
    import httpx

    class Command(ac.AsyncCommand):
        @asynccontextmanager
        async def lifespan(self):
            with pytest.raises(ac.AsyncCommanderError, match=r"http_client\(\) of this command is opened after"):
                self.http  # noqa: B018 - the property raises
            self.base = "https://example.org"
            yield

        def http_client(self):
            return httpx.AsyncClient(base_url=self.base)

        async def handle(self) -> str:
            return str(self.http.base_url)

    assert run(Command()).value == "https://example.org"


# -- fetch() and cookies -------------------------------------------------------------------------------------------


def pages_of(answers: Any) -> Any:
    """A client of the product whose server is this function of the request."""
    import httpx

    from async_commander.downloads.client import open_client

    return open_client(threads=5, max_body=10_000, transport=httpx.MockTransport(answers))


def test_fetch_brings_one_small_answer(run: Any) -> None:
    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/moved":
            return httpx.Response(301, headers={"Location": "/here"})
        return httpx.Response(404 if request.url.path == "/lost" else 200, text=request.headers.get("x-mine", "none"))

    class Command(ac.AsyncCommand):
        def http_client(self):
            return pages_of(answer)

        async def handle(self):
            page = await self.fetch("https://a.test/moved", headers={"X-Mine": "yes"})
            lost = await self.fetch("https://a.test/lost")
            with pytest.raises(httpx.HTTPStatusError):
                lost.raise_for_status()
            return [page.status, page.url, page.raise_for_status().text, page.headers["CONTENT-length"], lost.status]

    assert run(Command()).value == [200, "https://a.test/here", "yes", "3", 404]


def test_fetch_asks_a_client_of_the_commands_own(run: Any) -> None:
    import httpx

    class Own(ac.AsyncCommand):
        def http_client(self):
            return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, text="own")))

        async def handle(self):
            return (await self.fetch("https://a.test/")).text

    class Foreign(ac.AsyncCommand):
        @asynccontextmanager
        async def http_client(self):
            yield object()

        async def handle(self):
            await self.fetch("https://a.test/")

    assert run(Own()).value == "own"
    assert "object has no get()" in str(failed(run, Foreign()).failure)


@pytest.mark.parametrize("share", [False, True])
def test_cookies_of_an_item_are_nobody_elses(run: Any, share: bool) -> None:
    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/login":
            return httpx.Response(302, headers={"Location": "/form", "Set-Cookie": f"who={request.url.query.decode()}"})
        return httpx.Response(200, text=request.headers.get("cookie", ""))

    class Command(Letters):
        letters = [f"{number:02}" for number in range(30)]
        limits = ac.Limits(threads=5)
        keep_values = True

        def http_client(self):
            client = pages_of(answer)
            client.cookies.set("consent", "1")
            client.share_cookies = share
            return client

        async def download(self, item: str) -> str:
            before = (await self.http.get("https://a.test/before")).text
            after_login = (await self.http.get(f"https://a.test/login?{item}")).text
            return f"{before}|{after_login}|{(await self.http.post('https://a.test/form')).text}"

        async def parse_and_save(self, item: str, payload: str) -> str:
            return f"{payload}|{(await self.http.get('https://a.test/saved')).text}|{item}"

    def alone(told: str) -> bool:
        before, *after, item = told.split("|")
        return before == "consent=1" and set(after) == {f"consent=1; who={item}"}

    assert all(map(alone, run(Command()).values)) is not share


def test_what_an_item_downloaded_is_freed_when_it_is_done(run: Any) -> None:
    """Without the cyclic garbage collector, which comes when it likes."""
    import gc
    import gzip
    import weakref

    import httpx

    packed = gzip.compress(b"x" * 1_000_000)
    alive: list[weakref.ref[Any]] = []
    most = 0

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(packed))

    class Command(Letters):
        letters = [f"{number:02}" for number in range(40)]
        limits = ac.Limits(threads=1, max_body="2 MB")

        def http_client(self):
            from async_commander.downloads.client import open_client

            return open_client(threads=1, max_body=2_000_000, transport=httpx.MockTransport(answer))

        async def download(self, item: str) -> Any:
            nonlocal most
            response = await self.http.get("https://a.test/")
            alive.append(weakref.ref(response))
            most = max(most, sum(ref() is not None for ref in alive))
            return response

        async def parse_and_save(self, item: str, payload: Any) -> None:
            self.db.add(Effect(key=item))

    gc.collect()
    gc.disable()
    try:
        assert run(Command()).counts["done"] == 40
    finally:
        gc.enable()
    assert most <= 3
