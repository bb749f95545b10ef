"""The template process of this session, on the test database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.victims import Template


@pytest.fixture
def template(template_process: Template) -> Iterator[Template]:
    """The template process; no victim outlives the test."""
    yield template_process
    template_process.end_victims()


@pytest.fixture(scope="session")
def template_process(django_db_setup: Any) -> Iterator[Template]:
    from django.db import connection

    process = Template(str(connection.settings_dict["NAME"]))
    yield process
    process.close()
