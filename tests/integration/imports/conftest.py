"""Runs on the suite's database, as the runner's tests have them."""

from typing import Any

import pytest

import async_commander as ac
from tests.integration.runner.conftest import (  # noqa: F401
    pytest_itemcollected,
    run,
    run_on_lanes,
    transactional_db,
)


@pytest.fixture
def run_here(db: None) -> Any:
    """`ac.run`, inside the test's transaction: the quick way."""
    return ac.run
