"""Runs with a cache of their own, on the suite's database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.runner.conftest import arun_db, run, run_on_lanes, transactional_db

__all__ = ["arun_db", "folder", "run", "run_on_lanes", "transactional_db"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    """Where results are kept: a storage of the project's choice, on disk."""
    where = tmp_path / "kept"
    settings.STORAGES = {
        **settings.STORAGES,
        "kept": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": where}},
    }
    settings.ASYNC_COMMANDER = {**settings.ASYNC_COMMANDER, "CACHE": "kept"}
    return where
