"""P1 for sources with cursors: a run that is killed anywhere reads on after what is settled, and loses nothing."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Q

from async_commander.command.identity import item_key, key_uuid
from async_commander.models import RunItem
from tests.faults.counts import chance, count
from tests.faults.truth import check_accounts, check_complete, has_ended, run_of, snapshot
from tests.faults.victims import Template, Trial, Victim, wait_until

ITEMS = 300


def cursor_of(trial: Trial) -> int | None:
    """The cursor that is kept. All items that would not be read again have an outcome, or are kept themselves."""
    with snapshot():
        run = run_of(trial.label)
        if run is None or not run.cursor:
            return None
        place, cursor = map(int, run.cursor.split())
        kept = Q(state__in=("done", "skipped", "dead")) | Q(item__isnull=False)
        known = set(RunItem.objects.filter(kept, run=run).values_list("key", flat=True))
    assert place == cursor + 1
    lacking = [number for number in range(cursor + 1) if key_uuid(item_key(number)) not in known]
    assert not lacking, f"after {cursor} the source would be read on, without {lacking}"
    return cursor


def begun_at(trial: Trial, victim: Victim) -> int | None:
    """The first item that this process reads; None where it ended before that."""
    if not trial.wait_for(victim, "reads"):
        return None
    return next(int(line[2]) for line in trial.lines() if line[:2] == [str(victim.pid), "reads"])


def nothing_is_under_way() -> bool:
    """Whether no other session of this database is there: the server ends one when its last statement is done."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        return cursor.fetchone() == (0,)


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(3600)
def test_a_killed_run_reads_on_after_what_is_settled(template: Template, tmp_path: Path) -> None:
    random, killed, not_read_again = chance(), 0, 0
    for number in itertools.count():
        if killed >= count("P1_CURSOR_KILLS"):
            break
        arguments = {"seed": random.randrange(2**32)}
        limits = {"threads": 20, "batch_size": 20}
        trial = Trial(template, tmp_path, f"placed{number}", "placed", count=ITEMS, arguments=arguments, limits=limits)
        for seconds in (random.uniform(0.0, 0.2), random.uniform(0.0, 0.2), None):
            wait_until(nothing_is_under_way, 10, "the end of what a dead process had asked for")
            first = 0 if (cursor := cursor_of(trial)) is None else cursor + 1
            victim = trial.start()
            assert begun_at(trial, victim) in (first, None)
            not_read_again += first
            if seconds is None:
                assert victim.wait() in (0, 3), victim.said()
            else:
                time.sleep(seconds)
                killed += victim.kill()
            check_accounts(trial.label, trial.behaviour, ITEMS)
            if has_ended(trial.label):
                break
        check_complete(trial.label, trial.behaviour, ITEMS)
    print(f"P1: {killed} kills, {not_read_again} items that were not read again")
    assert not_read_again
