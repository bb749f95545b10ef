"""Model instances as stored items: read again from their table, or gone."""

from __future__ import annotations

import pytest

from async_commander.command.identity import item_key
from async_commander.command.items import ItemGone, item_from_json, item_to_json
from tests.testapp.models import Author

pytestmark = pytest.mark.django_db


def test_a_row_comes_back_with_the_same_key() -> None:
    author = Author.objects.create(name="x")
    back = item_from_json(item_to_json(author))

    assert back == author
    assert item_key(back) == item_key(author)


def test_rows_inside_of_other_items_come_back() -> None:
    author = Author.objects.create(name="x")

    assert item_from_json(item_to_json((author, 5))) == (author, 5)


def test_a_row_that_was_deleted_is_gone() -> None:
    author = Author.objects.create(name="x")
    stored = item_to_json(author)
    author.delete()

    with pytest.raises(ItemGone, match=r"no testapp\.Author with the primary key \d+ any more"):
        item_from_json(stored)


def test_a_model_that_was_removed_is_gone() -> None:
    with pytest.raises(ItemGone, match=r"no model testapp\.Nothing any more"):
        item_from_json({"model": "testapp.Nothing", "pk": 1})
