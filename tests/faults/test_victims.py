"""The harness itself: a process that does not end says where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.victims import ShellVictim, Template, Trial, Victim


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [Victim, ShellVictim])
def test_a_process_that_does_not_end_leaves_its_stacks(template: Template, tmp_path: Path, kind: type[Victim]) -> None:
    trial = Trial(template, tmp_path, "stuck", "stages", count=4, arguments={"seed": 1, "stage": "endless"})
    victim = trial.start(kind)
    trial.wait_for(victim, "run")
    with pytest.raises(AssertionError, match=r"(?s)not within 0.2 s.*most recent call first.* in run\b") as raised:
        victim.wait(0.2)
    assert victim.poll() is not None
    if kind is Victim:
        assert "Stack for <Task pending" in str(raised.value)
