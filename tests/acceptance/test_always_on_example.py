"""The bots and the nightly clean-up of `examples/always_on`, with a broker of their own."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.bots import Stage, skip_without_broker, staged

skip_without_broker()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as made:
        yield made


def test_both_bots_run_in_one_process(stage: Stage) -> None:
    assert stage.manage("abots", "--list").split() == ["comment_bot", "digest"]
    bots = stage.started([sys.executable, "manage.py", "abots"])
    end = time.monotonic() + 30
    while stage.manage("aruns").count("running") < 2:
        assert bots.poll() is None
        assert time.monotonic() < end
    bots.send_signal(signal.SIGTERM)
    assert bots.wait(15) == 128 + signal.SIGTERM
    assert [line.split()[2] for line in stage.manage("aruns").splitlines()[1:]] == ["interrupted"] * 2


def test_the_nightly_clean_up_deletes_what_is_older_than_a_day(stage: Stage) -> None:
    assert "value 1" in stage.manage("delete_old_comments")
    assert "value 0" in stage.manage("arun", "delete_old_comments")
