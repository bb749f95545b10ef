"""Runs on the suite's database, driven in both ways that synchronous code has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import connections

import async_commander as ac

RunIt = Callable[..., Any]
TABLES = ("async_commander", "testapp", "sessions", "admin", "auth")


@pytest.fixture
def transactional_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """In the place of pytest-django's, and much faster: rows are deleted, no table is truncated."""
    with django_db_blocker.unblock():
        yield
        for label in TABLES:
            for model in apps.get_app_config(label).get_models(include_auto_created=True):
                if label != "auth" or model.__name__.startswith("User"):
                    model._base_manager.all().delete()
        connections.close_all()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Name the database fixture of `run[lanes]`: pytest-django looks at names, before a fixture asks for another."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if parameters.get("run") == "lanes":
        item.fixturenames = [*item.fixturenames, "transactional_db"]  # the list belongs to all of its cases


@pytest_asyncio.fixture
async def arun_db(transactional_db: None) -> AsyncIterator[None]:
    """For coroutine tests: afterwards no connection is left, not even that of asgiref's thread."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture(params=["lanes", pytest.param("shared", marks=pytest.mark.django_db)])
def run(request: pytest.FixtureRequest) -> RunIt:
    """`ac.run`: with lanes of its own, and inside the test's transaction."""
    if request.param == "lanes":
        request.getfixturevalue("transactional_db")
    return ac.run


@pytest.fixture
def run_on_lanes(transactional_db: None) -> RunIt:
    """`ac.run` with lanes of its own: what it commits is committed."""
    return ac.run
