"""However a run ended, and wherever its items were then: a resume completes it, with true counts."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from async_commander.models import Run, RunItem
from async_commander.testing import InMemoryRecorder
from tests.faults.counts import chance, count
from tests.faults.stories import CLOSED_ENDS, ENDS, PLAIN_ENDS, STATES, Sitting, Storm, Story, troubled
from tests.testapp.models import Effect

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(3600)]

ENDLESS = ("the source ends",)
"""Ends that wait for all that waits."""


@pytest.mark.parametrize("end", ENDS)
def test_a_run_with_items_in_every_state_is_resumed_to_its_end(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    states = dict(enumerate(STATES))
    if end in ENDLESS:
        states = {number: state for number, state in states.items() if state != "waits"}
    with troubled(monkeypatch) as trouble:
        story = Story(trouble, count=len(STATES) + 2)
        story.sit(Sitting(states, end))
        if end in (*PLAIN_ENDS, *CLOSED_ENDS):
            assert Run.objects.get().claimed == 0
            assert not RunItem.objects.filter(crashes__gt=0).exists()
        story.is_left_by_its_process()
        story.check()
        story.finish()
        story.check()


@st.composite
def sittings(draw: Any, items: int, ends: tuple[str, ...]) -> Sitting:
    end = draw(st.sampled_from(ends))
    bounded = end in ENDLESS and draw(st.booleans())
    states = {number: draw(st.sampled_from(STATES)) for number in range(items)}
    if end in ENDLESS:
        states = {number: "done" if state == "waits" else state for number, state in states.items()}
    return Sitting(
        states,
        end,
        max_items=draw(st.integers(1, items)) if bounded else None,
        due=end in ENDLESS or draw(st.booleans()),
        batch_size=draw(st.sampled_from([1, 2, 5])),
    )


def stories(ends: tuple[str, ...]) -> st.SearchStrategy[tuple[int, list[Sitting]]]:
    return st.integers(1, 7).flatmap(
        lambda items: st.tuples(st.just(items), st.lists(sittings(items, ends), min_size=1, max_size=3))
    )


def tell(story: Story, chapters: list[Sitting]) -> None:
    Run.objects.all().delete()
    Effect.objects.all().delete()
    for sitting in chapters:
        if story.complete:
            break
        story.sit(sitting)
        story.is_left_by_its_process()
        story.check()
    story.finish()
    story.check()


model = settings(
    max_examples=count("STORIES"),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(told=stories(ENDS))
@model
def test_any_story_of_ends_is_brought_to_its_end(
    monkeypatch: pytest.MonkeyPatch, told: tuple[int, list[Sitting]]
) -> None:
    items, chapters = told
    with troubled(monkeypatch) as trouble:
        tell(Story(trouble, count=items), chapters)
        bounded = any(sitting.max_items for sitting in chapters)
        assert bounded or set(map(str, range(items))) <= {str(one) for one in labels()}


def labels() -> Counter[str]:
    return Counter(RunItem.objects.exclude(state="claimed").values_list("label", flat=True))


@given(told=stories(PLAIN_ENDS))
@model
def test_any_story_is_brought_to_its_end_in_memory(
    monkeypatch: pytest.MonkeyPatch, told: tuple[int, list[Sitting]]
) -> None:
    items, chapters = told
    with troubled(monkeypatch) as trouble:
        tell(Story(trouble, count=items, in_memory=InMemoryRecorder()), chapters)


def under_a_storm(story: Story, randomly: Random) -> None:
    states = {number: randomly.choice(STATES) for number in range(story.count)}
    story.trouble.storm = Storm(spares_the_end=randomly.random() < 0.5)
    try:
        story.sit(Sitting(states, "stopped", batch_size=randomly.choice([1, 2, 5])))
    finally:
        story.trouble.storm.end()
        story.trouble.storm = None
    story.is_left_by_its_process()
    story.check()


def test_a_storm_on_the_real_database_leaves_nothing_that_cannot_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are ended again and again, or its lock is kept, for longer than a run waits, and at its end."""
    randomly = chance()
    options = connections.settings["default"].setdefault("OPTIONS", {})
    if "init_command" in options:  # SQLite: who waits for the lock is told sooner
        monkeypatch.setitem(options, "timeout", 0.02)
    for _ in range(count("STORIES_UNDER_FAULTS")):
        Run.objects.all().delete()
        Effect.objects.all().delete()
        with troubled(monkeypatch) as trouble:
            story = Story(trouble, count=randomly.randint(1, 8))
            for _ in range(randomly.randint(1, 2)):
                if not story.complete:
                    under_a_storm(story, randomly)
            story.finish()
            story.check()
