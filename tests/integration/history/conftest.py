"""The history of runs is looked at with the fixtures of the runner's tests."""

from __future__ import annotations

from tests.integration.runner.conftest import arun_db, run, run_on_lanes, transactional_db

__all__ = ["arun_db", "run", "run_on_lanes", "transactional_db"]
