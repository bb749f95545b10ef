"""What a run says where its record fails it, is another's, or is not there."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import anyio
import pytest
from django.db import connections
from django.test import override_settings
from django.utils import timezone

import async_commander as ac
from async_commander.exceptions import RunFenced
from async_commander.history.recorder import Ending
from async_commander.models import Lease, Run
from async_commander.runner.reporting import Silent
from async_commander.testing import InMemoryRecorder
from tests.testapp.models import Tag

from .ledger import end_without_a_word, give_lease

pytestmark = pytest.mark.timeout(120)


class CannotClose(InMemoryRecorder):
    """Its store is gone when the run ends."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def close(self, ending: Ending) -> None:
        raise self.error


class Returns(ac.AsyncCommand):
    fails: bool = False

    async def handle(self) -> int:
        if self.fails:
            raise ValueError("no good")
        return 42


def test_an_end_that_cannot_be_recorded_is_no_success(run: Any) -> None:
    with pytest.raises(ac.RunFailed, match="The end of the run could not be recorded: the disk is full") as raised:
        run(Returns(), recorder=CannotClose(OSError("the disk is full")))
    assert isinstance(raised.value.__cause__, OSError)
    assert (raised.value.result.status, raised.value.result.value) == (ac.RunStatus.FAILED, 42)


def test_a_failure_whose_record_fails_too_is_told_with_both(run: Any) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(Returns(fails=True), recorder=CannotClose(OSError("the disk is full")))
    assert raised.value.result.error == (
        "ValueError: no good The end of the run could not be recorded: the disk is full"
    )
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_run_that_was_taken_over_before_its_end_is_locked(run: Any) -> None:
    with pytest.raises(ac.RunLocked, match="another one has it"):
        run(Returns(), recorder=CannotClose(RunFenced("another one has it")))


def test_a_run_that_is_kept_in_memory_has_no_row(run: Any) -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> str:
            return str(self.record)

    with pytest.raises(ac.RunFailed, match="not recorded in a database: it has no row"):
        run(Command(), recorder=InMemoryRecorder())


def test_a_hook_that_waits_is_ended_when_the_run_is_taken_over(run_on_lanes: Any) -> None:
    """It writes nothing that could be fenced: the heartbeat notices."""
    ended: list[str] = []

    class Command(ac.AsyncCommand):
        async def handle(self) -> None:
            await Lease.objects.aupdate(epoch=2, pid=1)
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("handle")

        async def cleanup(self) -> None:
            await Tag.objects.acreate(name="must not be")

    with pytest.raises(ac.RunLocked, match="was taken over by another process"):
        run_on_lanes(Command(), lease_seconds=0.4)
    assert ended == ["handle"]
    assert Run.objects.get().status == "running"
    assert not Tag.objects.exists()


def test_a_run_of_another_host_that_gives_a_sign_of_life_is_locked(
    run_on_lanes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("async_commander.history.database_recorder.LONGEST_NAP", 0.05)

    class Breaks(ac.IterateDownloadCommand[str, str]):
        async def iterate(self):
            return ["a"]

        async def download(self, item: str) -> str:
            return item

        async def parse_and_save(self, item: str, payload: str) -> None: ...

    first = run_on_lanes(Breaks())
    end_without_a_word(first.run_id, "b")
    give_lease(first.run_id, host="elsewhere")
    Run.objects.update(expires=timezone.now() + timedelta(hours=1), host="elsewhere", pid=17)

    class RenewsMeanwhile(Silent):
        def message(self, text: str, level: int = 0) -> None:
            assert "belongs to process 17 on elsewhere: waiting" in text
            other = threading.Thread(target=renew)
            other.start()
            other.join()

    def renew() -> None:
        Run.objects.update(expires=timezone.now() + timedelta(hours=2))
        connections.close_all()

    with pytest.raises(ac.RunLocked, match="is being worked on by process 17 on elsewhere: it is alive"):
        run_on_lanes(Breaks(), resume=True, reporter=RenewsMeanwhile())
    assert Run.objects.get().status == "running"


@pytest.mark.parametrize(
    ("limits", "said"),
    [({"threads": 0}, "threads=0: at least 1 is needed"), ({"thredas": 5}, "thredas")],
)
def test_wrong_limits_of_the_settings_are_named_before_there_is_a_run(
    run: Any, limits: dict[str, Any], said: str
) -> None:
    with (
        override_settings(ASYNC_COMMANDER={"LIMITS": limits}),
        pytest.raises(ac.InvalidCommand, match=rf"ASYNC_COMMANDER\['LIMITS'\]: .*{said}"),
    ):
        run(Returns())
    assert not Run.objects.exists()
