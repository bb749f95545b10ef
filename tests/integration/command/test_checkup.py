"""`arun --check`: a line for each thing that a run needs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings

from async_commander.management.checkup import ABSENT, FAILED, OK, Line, looked_at

pytestmark = pytest.mark.django_db


class Forgets(InMemoryStorage):
    def _save(self, name: str, content: Any) -> str:
        content = io.BytesIO(b"")
        content.name = name  # type: ignore[attr-defined]
        content.chunks = lambda: [b""]  # type: ignore[attr-defined]
        return super()._save(name, content)


class IsAway(InMemoryStorage):
    def _save(self, name: str, content: Any) -> str:
        raise ConnectionRefusedError("no such bucket")


@pytest.fixture
def kept_in(request: pytest.FixtureRequest) -> Iterator[None]:
    storages = {"kept": {"BACKEND": f"{__name__}.{request.param}"}}
    with override_settings(STORAGES=storages, ASYNC_COMMANDER={"CACHE": "kept"}):
        yield


def found(what: str) -> list[Line]:
    return [line for line in looked_at() if line.what == what]


def test_what_is_there_is_ok() -> None:
    lines = list(looked_at())
    assert {line.what for line in lines if line.outcome == OK} >= {"settings", "services", "migrations", "storage"}
    assert not [line for line in lines if line.outcome == FAILED]
    assert connection.display_name in found("services")[0].text
    assert {line.outcome for line in found("extras")} <= {OK, ABSENT}
    assert str(lines[0]).split()[:2] == ["OK", "settings"]


def test_migrations_that_are_not_applied_are_named() -> None:
    MigrationRecorder.Migration.objects.using("default").filter(app="testapp").delete()
    (line,) = found("migrations")
    assert line.outcome == FAILED
    assert "of testapp: manage.py migrate --database default" in line.text
    with pytest.raises(CommandError, match="1 of these is not as a run needs it") as told:
        call_command("arun", check=True, stdout=io.StringIO())
    assert told.value.returncode == 1


@pytest.mark.parametrize(
    ("kept_in", "told"), [("IsAway", "no such bucket"), ("Forgets", "does not keep")], indirect=["kept_in"]
)
def test_a_storage_is_tried(kept_in: None, told: str) -> None:
    (line,) = found("storage")
    assert line.outcome == FAILED
    assert told in line.text


def test_settings_that_cannot_be_used_are_all_that_is_told() -> None:
    with override_settings(ASYNC_COMMANDER={"CACHE": "nowhere"}):
        lines = list(looked_at())
    assert [(line.outcome, line.what) for line in lines] == [(FAILED, "settings")]
    assert "nowhere" in lines[0].text
