"""What is known of models: keys, and an order in which parents come first."""

from __future__ import annotations

import pytest
from django.db import models
from django.test.utils import isolate_apps

from async_commander.database.layout import has_key, is_saved, layout_of, parents_first
from tests.testapp.models import Author, Book, Node, Page, Tag


def test_parents_come_first_and_the_order_is_the_same_in_every_process() -> None:
    assert parents_first(frozenset({Tag, Book, Author})) == (Author, Book, Tag)
    assert parents_first(frozenset({Book, Node})) == (Book, Node)


@isolate_apps("tests.testapp")
def test_circles_of_models_are_cut() -> None:
    class Hen(models.Model):
        egg = models.ForeignKey("Egg", null=True, on_delete=models.CASCADE)

        class Meta:
            app_label = "testapp"

    class Egg(models.Model):
        hen = models.ForeignKey(Hen, null=True, on_delete=models.CASCADE)

        class Meta:
            app_label = "testapp"

    assert set(parents_first(frozenset({Hen, Egg}))) == {Hen, Egg}


def test_unique_constraints_and_the_sorting_key() -> None:
    layout = layout_of(Page)
    assert layout.uniques == (("id",), ("url",))
    assert layout.order == ("url",)
    assert "id" in layout.changed_by_writing
    assert layout_of(Book).changed_by_writing[:2] == ("id", "author_id")


@pytest.mark.parametrize(
    ("page", "known", "there"),
    [
        (Page(url="a"), False, False),
        (Page(id=1, url="a"), True, False),
        (Page.from_db("default", ["id"], [1]), True, True),
    ],
)
def test_a_key_makes_no_row(page: Page, known: bool, there: bool) -> None:
    assert (has_key(page), is_saved(page)) == (known, there)
