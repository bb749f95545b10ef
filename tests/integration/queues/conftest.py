"""Commands that a worker can find, and the database fixtures of the runner's tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.runner.conftest import arun_db, transactional_db

__all__ = ["arun_db", "transactional_db"]


@pytest.fixture(autouse=True)
def commands(settings: Any) -> None:
    """Those of `tests/queued`."""
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "COMMAND_PACKAGES": ["tests.queued.commands"]}
