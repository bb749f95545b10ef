"""What type checkers must see in commands as authors write them: `ac.` in the ways the documentation shows.

Every line with a comment that says wrong must be reported by mypy and by pyright, and no other line by either:
test_typing.py reads this file.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, assert_type

import httpx
import polars as pl
from django.db.models import Model

import async_commander as ac
from async_commander.models import LoggedModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from async_commander.models import Run


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Site:
    url: str


def title_of(text: str, length: int) -> str:
    return text[:length]


class Fetch(ac.IterateDownloadCommand[Site, str]):
    """Hooks as `async def`, arguments of every spelling, class attributes without annotations."""

    domain: str
    since: date | None = None
    colour: Colour = Colour.RED
    mode: Literal["fast", "slow"] = "fast"
    tags: list[str] = []
    api_token: Annotated[str, ac.Option(secret=True, env="API_TOKEN")] = ""
    pages: ClassVar[int] = 3

    limits = ac.Limits(threads=50, processes=2)
    retry = ac.Retry(attempts=4)
    run_once = True
    help = "Fetch them all."
    option_defaults = {"yes": True}
    dependencies = [ac.DependsOn("sites_load", domain=lambda command: command.domain), ("rosters_load", {"year": 2026})]
    test_parameters = {"domain": "example.org"}
    test_options = {"max_items": 5}

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        self.seen = 0
        yield

    async def iterate(self) -> list[Site]:
        return [Site(self.domain)]

    async def download(self, site: Site) -> str:
        response = await self.http.get(site.url)
        assert_type(response, httpx.Response)
        return response.text

    async def parse_and_save(self, site: Site, html: str) -> None:
        assert_type(await self.cpu(title_of, html, 80), str)
        await self.cpu(title_of, html, "80")  # wrong: the pool checks what it is given
        self.follow(Site(url="https://example.org/"))
        self.follow("https://example.org/")  # wrong: another kind of item
        self.log.info("%s of %s", self.seen, self.since)
        self.db.upsert(unique=["url"], update=["title"])
        self.db.upsert(unique=["url"], update=())
        self.db.upsert(unique=("url",), update="__all__")
        self.db.upsert(unique=["url"])  # wrong: what is overwritten is said
        self.db.upsert(unique=["url"], update=None)  # wrong: none is []

    async def cleanup(self, result: ac.RunResult) -> None:
        self.log.info("%s", result.status)

    def item_key(self, site: Site) -> str:
        return site.url

    def throttle_key(self, site: Site) -> str | None:
        return super().throttle_key(site)

    def should_retry(self, error: Exception) -> bool:
        return isinstance(error, OSError) or super().should_retry(error)

    async def committed(self, site: Site) -> None:
        self.seen += 1

    async def total(self) -> int:
        return 1

    def http_client(self) -> AbstractAsyncContextManager[Any]:
        return super().http_client()


class Dated(ac.AsyncCommand):
    """A base that only brings arguments."""

    since: date | None = None


class Plain(Dated, ac.IterateDownloadCommand[str, bytes]):
    """Hooks as plain `def`, an argument from a base."""

    folder: Path

    def iterate(self) -> Iterator[str]:
        yield "https://example.org/"

    def download(self, url: str) -> bytes:
        return url.encode()

    def parse_and_save(self, url: str, content: bytes) -> None:
        print(url, content, self.since)

    def cleanup(self) -> None:
        print("done")

    async def committed(self, url: str, value: None) -> None:
        print(url, value)


class Feed(ac.DownloadIterateCommand[str, dict[str, str]]):
    """The other shape, with an async generator."""

    async def download(self) -> str:
        return (await self.http.get("https://example.org/")).text

    async def iterate(self, text: str) -> AsyncIterator[dict[str, str]]:
        for line in text.splitlines():
            yield {"line": line}

    async def parse_and_save(self, row: dict[str, str]) -> None:
        print(row["line"])


class Count(ac.AsyncCommand):
    """The shape without items."""

    file: Path
    minimum: int = 3

    async def handle(self) -> int:
        self.progress(1, 2)
        assert_type(await self.step("title", title_of, "a", 1), str)
        assert_type(await self.step("words", self.words, "a b"), int)
        await self.step("title", title_of, "a", "b")  # wrong: a step checks what its function is given
        return len(self.file.read_text().split())

    async def words(self, text: str) -> int:
        return len(text.split())


class GoneOnWith(ac.IterateDownloadCommand[Site, str]):
    """A source that says where to go on."""

    async def iterate(self, after: str | None = None) -> AsyncIterator[ac.At[Site]]:
        yield ac.At(Site("https://example.org/"), "next")
        yield ac.At("https://example.org/", "next")  # wrong: another kind of item

    async def download(self, site: Site) -> str:
        return site.url

    async def parse_and_save(self, site: Site, html: str) -> None: ...


class Untyped(ac.IterateDownloadCommand[Site, str]):
    """Hooks without annotations, as most people begin."""

    limits = ac.Limits(threads=5)

    async def iterate(self):  # type: ignore[no-untyped-def]
        yield Site("https://example.org/")

    async def download(self, site):  # type: ignore[no-untyped-def]
        response = await self.http.get(site.url)
        return response.raise_for_status().text

    async def parse_and_save(self, site, html):  # type: ignore[no-untyped-def]
        print(site, html)


class Load(ac.ImportCommand):
    """An import of a file: its path is what is extracted."""

    path: str

    def extract(self) -> str:
        return self.path

    def transform(self, frame: pl.DataFrame) -> dict[type[Model], list[Model]]:
        return {}


class LoadFrames(ac.ImportCommand):
    """An import of a stream of frames."""

    async def extract(self) -> AsyncIterator[pl.DataFrame]:
        yield pl.DataFrame()

    def transform(self, frame: pl.DataFrame) -> dict[type[Model], list[Model]]:
        return {}


class LoadAwaited(ac.ImportCommand):
    """An import of a frame that is awaited."""

    async def extract(self) -> pl.DataFrame:
        return pl.DataFrame()

    async def transform(self, frame: pl.DataFrame) -> dict[type[Model], list[Model]]:
        return {}


class LoadNothing(ac.ImportCommand):
    """What is extracted is no table."""

    def extract(self) -> int:  # wrong: a number is no table
        return 3

    def transform(self, frame: pl.DataFrame) -> dict[type[Model], list[Model]]:
        return {}


class Unfinished(ac.IterateDownloadCommand[str, str]):
    """A hook is missing."""

    async def iterate(self) -> list[str]:
        return []

    async def parse_and_save(self, url: str, payload: str) -> None: ...


class WrongPayload(ac.IterateDownloadCommand[str, str]):
    """A hook returns another kind of payload than the shape says."""

    async def iterate(self) -> list[str]:
        return []

    async def download(self, url: str) -> int:  # wrong: the payload is a str
        return len(url)

    async def parse_and_save(self, url: str, html: str) -> None: ...


Fetch(domain="example.org")
Fetch(domain="example.org", since=date(2026, 1, 31), colour=Colour.BLUE, mode="slow", tags=["a"], api_token="t")
Plain(folder=Path(), since=None)
Count(file=Path("notes.txt"), minimum=5)
Feed()
Untyped()

Fetch()  # wrong: an argument is missing
Fetch(domian="example.org")  # wrong: an argument is misspelt
Fetch(domain="example.org", sinse=None)  # wrong: an option is misspelt
Fetch(domain=3)  # wrong: a value of a wrong type
Fetch(domain="example.org", mode="fat")  # wrong: a value that is not among the choices
Fetch("example.org")  # wrong: arguments are given by name
Fetch(domain="example.org", limits=ac.Limits())  # wrong: a class attribute is no argument
Fetch(domain="example.org", pages=3)  # wrong: a ClassVar is no argument
Plain(since=None)  # wrong: an argument is missing, beside one of a base
Count(minimum=5)  # wrong: an argument is missing
Unfinished()  # wrong: a hook is missing
ac.Limits(thread=50)  # wrong: a bound is misspelt

assert_type(Fetch(domain="").since, date | None)
assert_type(Fetch(domain="").parameters, dict[str, Any])


async def run_them(row: Run) -> None:
    """A command is run by its class, its name, an instance, or a row."""
    assert_type(await ac.arun(Fetch, domain="example.org", threads=5), ac.RunResult)
    assert_type(ac.run(Fetch(domain="example.org"), test=True), ac.RunResult)
    assert_type(row.again(domain="example.com"), ac.RunResult)
    assert_type(await row.aagain(), ac.RunResult)
    assert_type(row.command_class, type[ac.AsyncCommand])
    await ac.arun(3)  # wrong: neither a command nor a name


class Managed(ac.ManagedCommand):
    run_once = True

    async def execute_command(self, *args: Any, **options: Any) -> int:
        return len(args) + self.record.pk


@ac.tracked
def add(one: int, two: int = 1) -> int:
    return one + two


@ac.tracked(name="shop.later", run_once=True)
async def later(number: int) -> str:
    return str(number)


assert_type(add(1), int)
add("1")  # wrong: a value of a wrong type
assert_type(ac.should_run("shop.seed"), bool)
assert_type(ac.history("shop.seed", limit=None).statistics().success_rate, float | None)
ac.history("shop.seed").filter(status=ac.record_run("shop.seed", success=True, duration=2.5).status)


class Politician(LoggedModel):
    pass


def written_by(politician: Politician, row: Run) -> None:
    """Which run has touched it, and what a run has touched."""
    politician.command_logs.add(row, action="updated")
    politician.command_logs.add("run 3")  # wrong: no run
    politician.command_logs.filter(run=row).exists()
    assert_type(politician.runs.statistics().count, int)
    row.objects(Politician, action="created").count()


class Indexed(ac.IterateDownloadCommand[Site, str]):
    batches = ac.Batches(size=50, seconds=0.5)

    async def iterate(self) -> AsyncIterator[Site]:
        yield Site("https://example.org/")

    async def download(self, site: Site) -> str:
        return ""

    async def order_key(self, site: Site) -> int:
        return 1

    def batch_key(self, site: Site) -> str:
        return "en"

    def throttle_on(self) -> float:
        return 0

    async def parse_and_save_many(self, items: list[tuple[Site, str]]) -> None: ...


ac.Batches(50)  # wrong: a number without its name
