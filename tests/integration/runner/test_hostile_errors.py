"""An error that cannot even be looked at costs the item that raised it, and nobody else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

import async_commander as ac
from tests.testapp.models import Tag

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(60)


class Unreadable(Exception):
    """Nothing of it can be read."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Unreadably(Exception):
    """Nothing of it can be read, and who tries meets what no item may survive."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(3)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class Speechless(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307

    def __repr__(self) -> str:
        raise ValueError("no repr")


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)

    __repr__ = __str__


class Unfounded(Exception):
    @property
    def __cause__(self) -> Any:
        raise ValueError("no cause")

    @property
    def __context__(self) -> Any:
        raise ValueError("no context")


class Bottomless(Exception):
    """Each has another cause."""

    @property
    def __cause__(self) -> Any:
        return Bottomless()

    __context__ = __cause__


class Unargued(Exception):
    @property
    def args(self) -> Any:
        raise ValueError("no args")


class Argued(Exception):
    args = None  # type: ignore[assignment]


class Untraced(Exception):
    @property
    def __traceback__(self) -> Any:
        raise ValueError("no traceback")


class Noted(Exception):
    __notes__ = 5


class Ring(ExceptionGroup[Exception]):
    """A group that is a member of itself."""

    @property
    def exceptions(self) -> Any:
        return (self,)


class Members(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise ValueError("no members")


class Nameless(type):
    @property
    def __name__(cls) -> Any:
        raise ValueError("no name")

    @property
    def __mro__(cls) -> Any:
        raise ValueError("no bases")


class Unnamed(Exception, metaclass=Nameless):
    pass


class Skipping(ac.SkipItem):
    @property
    def args(self) -> Any:
        raise ValueError("no args")


class PretendsToBe(Exception):
    __class__ = MemoryError


def from_hostile() -> Exception:
    error = ValueError("the one outside")
    error.__cause__ = Unreadable()
    return error


HOSTILE = {
    "unreadable": Unreadable,
    "unreadably": Unreadably,
    "unspeakable": Unspeakable,
    "speechless": Speechless,
    "endless": Endless,
    "unfounded": Unfounded,
    "bottomless": Bottomless,
    "unargued": Unargued,
    "argued": Argued,
    "untraced": Untraced,
    "noted": Noted,
    "ring": lambda: Ring("ring", [ValueError()]),
    "members": lambda: Members("members", [ValueError()]),
    "unnamed": Unnamed,
    "skipping": Skipping,
    "pretends": PretendsToBe,
    "a cause": from_hostile,
    "a member": lambda: ExceptionGroup("all", [ValueError("one"), Unreadable()]),
}


def the(hostile: str) -> Exception:
    return HOSTILE[hostile]()


class Items(ac.IterateDownloadCommand[str, str]):
    """The middle one raises, where it is asked to."""

    hostile: str = ""
    where: str = "parse_and_save"

    limits = ac.Limits(threads=1)
    retry = ac.Retry(attempts=1)

    def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        self.fail(item, "download")
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=payload))
        self.fail(item, "parse_and_save")
        await self.db(self.fail, item, "db")

    def fail(self, item: str, where: str) -> None:
        if item == "b" and where == self.where:
            raise the(self.hostile)


@pytest.mark.parametrize(
    ("hostile", "where"),
    [*((hostile, "parse_and_save") for hostile in HOSTILE), ("unreadable", "download"), ("unreadable", "db")],
)
def test_an_error_that_cannot_be_looked_at_costs_its_item_alone(run: Any, hostile: str, where: str) -> None:
    result = run(Items(hostile=hostile, where=where))
    assert (result.status, result.counts["done"]) == (ac.RunStatus.PARTIAL, 2)
    assert [(item.label, item.reason) for item in items_of(result, state="dead")] == [("b", "permanent")]
    assert row_of(result).status == "partial"


class Source:
    """Raises when it is read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        raise self.error


class Everywhere(Items):
    """Raises in one hook that belongs to no item, or decides about items."""

    def iterate(self):
        self.asked("iterate")
        return Source(the(self.hostile)) if self.where == "source" else list("abc")

    @asynccontextmanager
    async def lifespan(self):
        yield
        self.asked("lifespan")

    async def cleanup(self) -> None:
        self.asked("cleanup")

    def total(self) -> None:
        self.asked("total")

    async def download(self, item: str) -> str:
        if self.where == "should_retry":
            raise ValueError
        return item

    def should_retry(self, error: BaseException) -> bool:
        self.asked("should_retry")
        return False

    def asked(self, here: str) -> None:
        if self.where == here:
            raise the(self.hostile)


@pytest.mark.parametrize("hostile", ["unreadable", "unspeakable"])
@pytest.mark.parametrize("where", ["iterate", "source", "total", "should_retry", "cleanup", "lifespan"])
def test_one_outside_of_the_items_fails_the_run(run: Any, hostile: str, where: str) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(Everywhere(hostile=hostile, where=where))
    assert row_of(raised.value.result).error


@pytest.mark.parametrize("hostile", ["unreadable", "unreadably", "unspeakable", "a cause"])
def test_one_in_committed_or_in_the_log_costs_nothing(run: Any, hostile: str) -> None:
    class Command(Items):
        async def parse_and_save(self, item: str, payload: str) -> None:
            try:
                raise the(hostile)
            except Exception:
                self.log.exception("It happened")

        async def committed(self, item: str) -> None:
            raise the(hostile)

    result = run(Command())
    assert (result.status, result.counts["done"]) == (ac.RunStatus.SUCCEEDED, 3)
    logs = row_of(result).logs
    assert logs.filter(message__startswith="It happened").count() == 3
    assert logs.filter(message__startswith="committed() failed").count() == 3


@pytest.mark.parametrize("hostile", ["unreadable", "unreadably", "unspeakable", "a cause"])
def test_one_that_a_row_raises_as_it_is_written_costs_its_item(run: Any, hostile: str) -> None:
    class Value:
        def resolve_expression(self, *_: Any, **__: Any) -> Any:
            raise the(hostile)

    class Command(Items):
        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Tag(name=Value() if item == "b" else item))

    result = run(Command())
    assert [item.label for item in items_of(result, state="dead")] == ["b"]
    assert row_of(result).done == 2


class Shy:
    """An item that cannot be looked at."""

    def __repr__(self) -> str:
        raise SystemExit(3)

    __str__ = __repr__


class Shyer:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize("value", [Shy, Shyer])
def test_an_item_that_cannot_be_looked_at_is_dead_and_the_others_are_done(run: Any, value: Any) -> None:
    class Command(Items):
        def iterate(self):
            return ["a", value(), "c"]

    result = run(Command())
    assert (result.counts["done"], result.counts["dead"]) == (2, 1)
