"""`create_or_update()`: what django_commander's users call for each row, with all that it takes."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import MultipleObjectsReturned
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

import async_commander as ac
from async_commander.database import matching
from async_commander.models import Run
from tests.testapp.models import Party, Politician

people: Any = Politician.objects
NULLS = [None, math.nan, Decimal("NaN"), pd.NaT, pd.NA, "", "  "]


def row(name: str = "Ann") -> tuple[Any, ...]:
    return Politician.objects.values_list("name", "district", "born").get(name=name)


# -- the matrix ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_row_is_made_of_both_and_found_by_the_first() -> None:
    ann = people.create_or_update({"name": "Ann"}, {"district": "north", "born": 1970})
    assert row() == ("Ann", "north", 1970)
    again = people.create_or_update({"name": "Ann"}, {"district": "south"})
    assert (again, again.district, row()) == (ann, "south", ("Ann", "south", 1970))
    assert people.create_or_update({"name": "Ann"}) == ann
    assert people.create_or_update({"name": "Bob"}, return_object=False) is None
    assert people.create_or_update({"pk": ann.pk}, {"born": F("born") + 1}, save_nulls=True).pk == ann.pk
    assert row() == ("Ann", "south", 1971)
    party = Party.objects.create(name="greens")
    assert people.create_or_update({"name": "Ann"}, {"party": party}).party_id == party.pk
    assert Politician.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize("null", NULLS, ids=repr)
def test_nulls_find_and_write_nothing_unless_they_are_to(null: Any) -> None:
    people.create_or_update({"name": "Ann", "district": null}, {"born": 1970})
    people.create_or_update({"name": "Ann"}, {"district": "north"})
    assert people.create_or_update({"name": "Ann", "district": null}, {"born": null}).born == 1970
    assert row() == ("Ann", "north", 1970)
    people.create_or_update({"name": "Ann"}, {"district": null, "born": None}, save_nulls=True)
    assert row() == ("Ann", null if isinstance(null, str) else None, None)
    found = people.get_if_exists({"district": null}, search_nulls=True)
    assert found is not None
    assert people.get_if_exists({"district": null}) is None
    people.create_or_update({"name": "Ann"}, {"district": "north"})
    assert people.get_if_exists({"name": "Ann", "district": null}, search_nulls=True) is None


@pytest.mark.django_db
def test_texts_that_look_like_null_are_texts() -> None:
    for name in ("None", "nan", "n/a", "NULL", "[]"):
        assert people.create_or_update({"name": name}, {"district": name}).district == name
        assert row(name) == (name, name, None)
    assert Politician.objects.count() == 5


@pytest.mark.django_db
def test_values_that_find_nothing_are_refused_and_make_no_row_each_time() -> None:
    with pytest.raises(ValueError, match=r"all of these values are null.*search_nulls=True.*force_create=True"):
        people.create_or_update({"district": None}, {"name": "Ann"})
    assert not Politician.objects.exists()
    people.create_or_update({"district": None}, {"name": "Ann"}, search_nulls=True)
    people.create_or_update({"district": None}, {"born": 1970}, search_nulls=True)
    assert row() == ("Ann", None, 1970)
    people.create_or_update({"district": None}, {"name": "Bob"}, force_create=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        people.create_or_update({"name": "Bob"}, {"born": 1}, force_create=True)
    assert row("Bob") == ("Bob", None, None)


@pytest.mark.django_db
def test_any_of_several_values_may_find_the_row_but_only_one_row() -> None:
    people.create(name="Ann", district="north")
    people.create(name="Bob", district="south")
    assert people.create_or_update({"name": "Ann", "district": "east"}, {"born": 1}, match_any=True).name == "Ann"
    assert row() == ("Ann", "north", 1)
    assert people.get_if_exists({"name": "nobody", "district": "south"}, match_any=True).name == "Bob"
    with pytest.raises(MultipleObjectsReturned):
        people.create_or_update({"name": "Ann", "district": "south"}, {"born": 2}, match_any=True)
    with pytest.raises(MultipleObjectsReturned):
        people.get_if_exists({"district__in": ["north", "south"]})
    assert people.get_if_exists({"name": "nobody"}) is None


@pytest.mark.django_db
def test_only_nulls_of_the_row_are_filled() -> None:
    people.create(name="Ann", district="north")
    people.create_or_update({"name": "Ann"}, {"district": "south", "born": 1970}, only_update_existing_nulls=True)
    assert row() == ("Ann", "north", 1970)


@pytest.mark.django_db
def test_lookups_find_rows_and_are_no_part_of_a_new_one() -> None:
    people.create(name="Ann", party=Party.objects.create(name="greens"))
    assert people.create_or_update({"name__iexact": "ANN", "party__name": "greens"}, {"born": 1}).name == "Ann"
    assert people.create_or_update({"name__iexact": "BOB"}, {"name": "Bob"}).name == "Bob"


@pytest.mark.django_db
def test_names_that_are_no_columns_are_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    matching._warn.cache_clear()
    for born in (1970, 1971):
        people.create_or_update({"name": "Ann"}, {"born": born, "hobby": "chess"})
    assert row() == ("Ann", None, 1971)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert told[0].startswith("create_or_update(): testapp.Politician has no column hobby; it is left out. It has: id,")


@pytest.mark.django_db
def test_lists_are_merged_and_empty_ones_are_null_unless_they_are_not() -> None:
    rules = matching.Matching(allow_list_overlaps=True)
    from tests.testapp.models import Product

    product = Product.objects.create(sku="a", facts=["red"])
    rules.create_or_update(Product.objects.all(), {"sku": "a"}, {"facts": ["red", "big"]})
    product.refresh_from_db()
    assert product.facts == ["red", "big"]
    matching.Matching().create_or_update(Product.objects.all(), {"sku": "a"}, {"facts": []})
    product.refresh_from_db()
    assert product.facts == ["red", "big"]
    matching.Matching(empty_lists_are_null=False).create_or_update(Product.objects.all(), {"sku": "a"}, {"facts": []})
    product.refresh_from_db()
    assert product.facts == []


# -- what is written -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_only_what_differs_is_written_with_the_arguments_of_save(caplog: pytest.LogCaptureFixture) -> None:
    party = Party.objects.create(name="greens", founded=1980)
    before = datetime(2000, 1, 1, tzinfo=UTC)
    Party.objects.filter(pk=party.pk).update(changed=before)
    manager: Any = Party.objects
    with caplog.at_level(logging.DEBUG), CaptureQueriesContext(connection) as queries:
        manager.create_or_update({"name": "greens"}, {"founded": "1980"}, logger=logging.getLogger("mine"))
    assert not [query for query in queries.captured_queries if query["sql"].startswith(("UPDATE", "INSERT"))]
    assert caplog.records[-1].getMessage() == f"testapp.Party {party.pk}: as it was"
    with CaptureQueriesContext(connection) as queries:
        changed = manager.create_or_update({"name": "greens"}, {"founded": 1981}, force_update=True)
    assert changed.changed > before
    (update,) = [query["sql"] for query in queries.captured_queries if query["sql"].startswith("UPDATE")]
    assert "founded" in update
    assert "name" not in update.partition("WHERE")[0]


@pytest.fixture
def at_once(transactional_db: None) -> Iterator[Any]:
    def run(*calls: Any) -> list[Any]:
        results: list[Any] = [None] * len(calls)
        barrier = threading.Barrier(len(calls))

        def work(number: int) -> None:
            try:
                barrier.wait(10)
                results[number] = calls[number]()
            except Exception as error:
                results[number] = error
            finally:
                connections.close_all()

        threads = [threading.Thread(target=work, args=[number]) for number in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return results

    return run


def test_those_that_come_at_once_make_one_row(at_once: Any) -> None:
    for number in range(5):
        calls = [
            lambda born=born, name=f"n{number}": people.create_or_update({"name": name}, {"born": born})
            for born in range(6)
        ]
        results = at_once(*calls)
        assert {type(one) for one in results} == {Politician}, results
        assert len({one.pk for one in results}) == 1
    assert Politician.objects.count() == 5


# -- in runs -------------------------------------------------------------------------------------------------------


class Loads(ac.DownloadIterateCommand[None, int]):
    def download(self) -> None:
        return None

    def iterate(self, payload: None) -> Any:
        return range(3)


def told(name: str) -> list[str]:
    return sorted(Politician.objects.get(name=name).command_logs.values_list("action", flat=True))


def test_what_a_run_does_with_it_is_recorded_once(run: Any) -> None:
    for name in ("there", "as it is"):
        people.create(name=name, born=1)

    class Command(Loads):
        def parse_and_save(self, item: int) -> None:
            people.create_or_update({"name": "new"}, {"born": item}, log=self.record)
            people.create_or_update({"name": "there"}, {"born": item + 2}, log=self.record)
            people.create_or_update({"name": "as it is"}, {"born": 1}, log=self.record)
            people.create_or_update({"name": "without"}, {"born": item}, log=None)

    result = run(Command())
    assert result.status == "succeeded"
    assert {name: told(name) for name in ("new", "there", "as it is", "without")} == {
        "new": ["created"],
        "there": ["updated"],
        "as it is": ["linked"],
        "without": ["created"],
    }


def test_it_is_awaited_in_a_hook(run: Any) -> None:
    class Command(Loads):
        async def parse_and_save(self, item: int) -> None:
            ann = await people.acreate_or_update({"name": "Ann"}, {"born": item}, log=self.record)
            assert ann == await people.aget_if_exists({"name": "Ann"})
            if item == 2:
                raise ValueError

    result = run(Command())
    assert result.counts["dead"] == 1
    assert told("Ann") == ["created"]


@pytest.mark.django_db
def test_it_is_recorded_for_any_run_that_is_given() -> None:
    record = Run.objects.create(command="c", identity="i", status="succeeded")
    ann = people.create_or_update({"name": "Ann"}, log=record)
    people.create_or_update({"name": "Ann"}, {"born": 1}, log=record)
    assert told("Ann") == ["created", "updated"]
    assert list(ann.runs) == [record]
    with pytest.raises(TypeError, match="a Run is needed"):
        people.create_or_update({"name": "Bob"}, log=17)
    assert not people.filter(name="Bob").exists()

    async def link() -> None:
        await people.acreate_or_update({"name": "Ann"}, log=record)

    async_to_sync(link)()
    assert told("Ann") == ["created", "linked", "updated"]
