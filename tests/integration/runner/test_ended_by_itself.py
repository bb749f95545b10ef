"""An item that ends the transaction it works in, or its connection, is dead at once, and says what it did."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, transaction

import async_commander as ac
from tests.testapp.models import Effect, Tag

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(60)


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def raw_close() -> None:
    connection.connection.close()


DOES = {
    "close": lambda: connection.close(),  # noqa: PLW0108 - the connection of the thread that calls it
    "close its own": raw_close,
    "COMMIT": lambda: execute("COMMIT"),
    "ROLLBACK": lambda: execute("ROLLBACK"),
    "rollback twice": lambda: (execute("/* mine */ rollback"), execute("SELECT 1")),
    "END": lambda: execute("END"),
    "raw commit": lambda: connection.connection.commit(),  # noqa: PLW0108 - see above
    "raw rollback": lambda: connection.connection.rollback(),  # noqa: PLW0108
}

THEN = ("close", "ROLLBACK", "raw commit")
SAYS = {
    "close": "The item closed its database connection",
    "COMMIT": "The item sent COMMIT, which was refused",
    "ROLLBACK": "The item sent ROLLBACK, which was refused",
    "rollback": "The item sent ROLLBACK, which was refused",
    "END": "The item sent END, which was refused",
    "raw": "The item ended its own transaction",
}


class Items(ac.IterateDownloadCommand[str, str]):
    what: str = ""
    then: str = ""

    limits = ac.Limits(threads=1)

    def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        return item

    def parse_and_save(self, item: str, payload: str) -> None:
        Effect.objects.create(key=item)
        if item == "b":
            DOES[self.what]()
            if self.then == "write":
                Effect.objects.create(key="b again")
            elif self.then == "block":
                with transaction.atomic():
                    Effect.objects.create(key="b again")
            elif self.then == "queue":
                self.db.add(Tag(name="b"))


@pytest.mark.parametrize(
    ("what", "then"),
    [*((what, "") for what in DOES), *((what, then) for what in THEN for then in ("write", "queue", "block"))],
)
def test_it_is_dead_at_its_first_attempt_and_says_what_it_did(run_on_lanes: Any, what: str, then: str) -> None:
    if connection.vendor == "mysql" and what in ("close its own", "raw commit", "raw rollback"):
        pytest.skip("its driver does not say so")
    result = run_on_lanes(Items(what=what, then=then))
    row_of(result)
    assert result.counts["done"] == 2
    (dead,) = items_of(result, state="dead")
    assert (dead.label, dead.reason, dead.attempts) == ("b", "permanent", 1)
    assert dead.error.startswith(SAYS[what.partition(" ")[0]])
    kept = ["a", "b", "c"] if what == "raw commit" else ["a", "c"]  # the driver's own commit() cannot be refused
    assert sorted(Effect.objects.values_list("key", flat=True)) == kept
    assert not Tag.objects.exists()


def test_a_savepoint_of_its_own_is_no_end(run_on_lanes: Any) -> None:
    class Command(Items):
        def parse_and_save(self, item: str, payload: str) -> None:
            Effect.objects.create(key=item)
            execute("SAVEPOINT mine")
            Effect.objects.create(key=f"{item} again")
            execute("/* of mine */ ROLLBACK TO SAVEPOINT mine")

    assert run_on_lanes(Command()).counts["done"] == 3
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["a", "b", "c"]
