"""A dry run of statements that were written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from async_commander.database.dry_runs import rehearsed
from async_commander.database.outage import EndedByItself
from tests.testapp.models import Tag

pytestmark = pytest.mark.django_db(transaction=True)
INSERT = "INSERT INTO testapp_tag (name) VALUES"


@pytest.mark.skipif(connection.vendor != "postgresql", reason="where several statements are sent in one go")
@pytest.mark.parametrize(
    "sql",
    [
        rf"{INSERT} (E'a\'b;'); COMMIT; BEGIN; SELECT ''",
        f"{INSERT} ('a'); /* it's */ COMMIT; SELECT 'x'",
        f"{INSERT} ('a'); SELECT 1 AS \"it's\"; COMMIT; SELECT 1 AS \"it's\"",
        "/* a /* b */ c */ COMMIT",
        b"COMMIT",
    ],
)
def test_a_commit_cannot_hide(sql: Any) -> None:
    with pytest.raises(EndedByItself), rehearsed("default"), connection.cursor() as cursor:
        cursor.execute(f"{INSERT} ('first')")
        cursor.execute(sql)
    assert not Tag.objects.exists()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="where several statements are sent in one go")
def test_what_is_quoted_is_no_commit() -> None:
    with rehearsed("default"), connection.cursor() as cursor:
        cursor.execute(f"DO $$ BEGIN NULL; END $$; {INSERT} ('; COMMIT'), (E'\\'; COMMIT') -- ; COMMIT")
    assert not Tag.objects.exists()
