"""P9 and P24: processes that read, change and write one row lose no increment, and meet no locked database."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connection

from async_commander.models import RunErrorKind
from tests.faults.commands.counters import WAYS
from tests.faults.counts import count
from tests.faults.truth import run_of
from tests.faults.victims import Template, Trial
from tests.testapp.models import Author, Book

PROCESSES = 8
ON_POSTGRES = ("plain", "coroutine", "of")
"""There `nowait` raises, and `skip_locked` finds nothing, while another one has the row."""


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_processes_that_lock_a_row_lose_no_increment(template: Template, tmp_path: Path) -> None:
    times = count("P24_INCREMENTS")
    ways = WAYS if connection.vendor == "sqlite" else ON_POSTGRES
    Book.objects.create(isbn="counter", author=Author.objects.create(name="a"))
    trials = [
        Trial(template, tmp_path, f"p{number}", "counters", count=times, arguments={"way": ways[number % len(ways)]})
        for number in range(PROCESSES)
    ]
    victims = [trial.start() for trial in trials]
    for victim in victims:
        assert victim.wait(3000) == 0, victim.said()
    assert Book.objects.get().stock == PROCESSES * times
    for trial in trials:
        run = run_of(trial.label)
        assert run is not None
        assert (run.status, run.done) == ("succeeded", times)
        assert not RunErrorKind.objects.filter(run=run).exists()
