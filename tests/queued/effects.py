"""What the runs of the tests have left."""

from __future__ import annotations

from collections import Counter

from tests.testapp.models import Effect


def effects(label: str) -> Counter[str]:
    """How often each effect of a run is there."""
    return Counter(Effect.objects.filter(run=label).values_list("key", flat=True))


def assert_once(label: str, count: int) -> None:
    """Each of them once."""
    assert effects(label) == {f"{label} {number}": 1 for number in range(1, count + 1)}
