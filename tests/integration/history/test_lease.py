"""Who owns a run, told apart by host, boot, process and its start; and the fence before each commit."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

import async_commander as ac
from async_commander.exceptions import RunFenced
from async_commander.history.lease import Ownership, establish, fence, release, renew, take_over
from async_commander.history.ownership import NOBODY, Owner, host_name, this_boot, this_host, this_process
from async_commander.history.runs import sweep
from async_commander.models import Lease, Run, RunItem
from tests.integration.runner.ledger import end_without_a_word, give_lease
from tests.testapp.models import Effect, Tag


def test_this_process_is_not_gone() -> None:
    assert this_process().is_gone() is False
    assert this_process().pid == os.getpid()


def test_nobody_is_gone() -> None:
    assert NOBODY.is_gone()


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"pid": 2**22 + 1}, True),
        ({"process_start": 1}, True),
        ({"boot_id": "another boot"}, True),
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),
        ({"host": "elsewhere", "boot_id": "another boot"}, False),
    ],
)
def test_an_owner_is_gone_where_that_is_sure(changes: dict[str, Any], gone: bool) -> None:
    assert replace(this_process(), **changes).is_gone() is gone


def test_a_zombie_is_gone() -> None:
    child = os.posix_spawn("/bin/true", ["/bin/true"], {})
    try:
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert Owner(this_process().host, this_process().boot_id, child, None).is_gone()
    finally:
        os.waitpid(child, 0)


CONTAINED = """
import json, sys
from dataclasses import astuple
from async_commander.history.ownership import this_process
print(json.dumps(astuple(this_process())), flush=True)
sys.stdin.read()
"""


@contextmanager
def contained() -> Iterator[Owner]:
    """A living process of this host whose number is one of another namespace."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", CONTAINED]
    if not shutil.which("unshare"):
        pytest.skip("no unshare here")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        if not told:
            pytest.skip("unshare is not permitted here")
        yield Owner(*json.loads(told))
        process.communicate("")


def test_an_owner_in_another_container_is_not_gone_though_its_number_is() -> None:
    with contained() as owner:
        assert (owner.boot_id, owner.pid) == (this_boot(), 1)
        assert re.fullmatch(rf"{re.escape(host_name())} \(pid:\[\d+\]\)", owner.host)
        assert owner.is_gone() is False


@pytest.fixture
def in_a_container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if the numbers of processes meant other ones to us than to the machine."""
    namespace = tmp_path / "pid"
    namespace.symlink_to("pid:[1]")
    monkeypatch.setattr("async_commander.history.ownership._PROCESS_NUMBERS", namespace)


@pytest.mark.usefixtures("in_a_container")
def test_in_a_container_the_owners_outside_are_those_of_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert this_process().host == f"{host_name()} (pid:[1])"
    assert replace(this_process(), pid=2**22 + 1).is_gone()
    outside = replace(this_process(), host=host_name(), pid=2**22 + 1)
    assert outside.is_gone() is False
    monkeypatch.undo()
    assert this_host() != f"{host_name()} (pid:[1])"


def test_the_run_of_an_owner_in_another_container_is_swept_once_its_lease_ran_out(ownership: Ownership) -> None:
    with contained() as owner:
        Lease.objects.update(**asdict(owner))
        assert sweep("default") == 0
        Run.objects.update(expires=timezone.now())
        assert sweep("default") == 1


@pytest.mark.usefixtures("in_a_container")
def test_the_run_tells_the_machines_name_alone(run_on_lanes: Any) -> None:
    assert Run.objects.get(pk=run_on_lanes("pages", count=1).run_id).host == host_name()


@pytest.fixture
def ownership(db: None) -> Ownership:
    run = Run.objects.create(command="x", identity="x", status="running", expires=timezone.now() + timedelta(hours=1))
    return establish("default", run.pk)


def test_the_fence_holds_for_the_epoch_only(ownership: Ownership) -> None:
    with transaction.atomic():
        fence(ownership)
    take_over("default", ownership.run_id)
    with transaction.atomic(), pytest.raises(RunFenced, match=r"was taken over while this process \(epoch 1\)"):
        fence(ownership)


def test_a_unit_that_comes_after_its_run_was_closed_is_fenced(ownership: Ownership) -> None:
    release(ownership)
    with transaction.atomic(), pytest.raises(RunFenced):
        fence(ownership)


def test_a_lost_lease_is_not_renewed_and_not_released(ownership: Ownership) -> None:
    assert renew(ownership, 30).held
    take_over("default", ownership.run_id)
    assert not renew(ownership, 30).held
    with pytest.raises(RunFenced):
        release(ownership)


def test_a_lease_is_not_renewed_once_the_run_has_ended(ownership: Ownership) -> None:
    Run.objects.update(status="crashed")
    assert not renew(ownership, 30).held


def test_each_take_over_fences_the_one_before(ownership: Ownership) -> None:
    first, second = take_over("default", ownership.run_id), take_over("default", ownership.run_id)
    assert (first.epoch, second.epoch) == (2, 3)
    with transaction.atomic():
        fence(second)
        with pytest.raises(RunFenced):
            fence(first)


def test_a_sweep_marks_dead_runs_only(run_on_lanes: Any) -> None:
    dead, alive = run_on_lanes("pages", count=1), run_on_lanes("pages", count=0)
    end_without_a_word(dead.run_id)
    end_without_a_word(alive.run_id)
    give_lease(alive.run_id)
    sweep("default")
    assert Run.objects.get(pk=dead.run_id).status == "crashed"
    assert Run.objects.get(pk=alive.run_id).status == "running"


def test_a_run_that_is_taken_over_writes_nothing_more(run_on_lanes: Any) -> None:
    """And leaves the row to the new owner."""

    class Command(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(threads=1, batch_size=1)

        async def iterate(self):
            return list("abcdef")

        async def download(self, item: str) -> str:
            if item == "c":
                while not await Effect.objects.filter(key="b").aexists():  # the writer has it in hand
                    await asyncio.sleep(0.01)
                await Lease.objects.aupdate(epoch=2, pid=1)
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Effect(key=item))

        async def cleanup(self) -> None:
            await Tag.objects.acreate(name="must not be")

    with pytest.raises(ac.RunLocked, match="was taken over"):
        run_on_lanes(Command())
    run = Run.objects.get()
    assert (run.status, run.accounts) == ("running", True)
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["a", "b"]
    assert RunItem.objects.filter(state="done").count() == 2
    assert not Tag.objects.exists()


def test_the_heartbeat_prolongs_the_lease(run_on_lanes: Any) -> None:
    import anyio

    class Command(ac.AsyncCommand):
        async def handle(self) -> bool:
            first = self.record.expires
            assert first is not None
            with anyio.fail_after(10):
                while (await Run.objects.aget()).expires == first:
                    await anyio.sleep(0.01)
            return True

    assert run_on_lanes(Command(), lease_seconds=0.4).value is True


def test_of_two_who_saw_the_same_lease_the_second_is_locked_out(ownership: Ownership) -> None:
    assert take_over("default", ownership.run_id, seen=1).epoch == 2
    with pytest.raises(
        ac.RunLocked, match=rf"taken over by another process just now\. .*aruns show {ownership.run_id}"
    ):
        take_over("default", ownership.run_id, seen=1)
    assert Lease.objects.get().epoch == 2


def test_a_process_that_may_not_be_asked_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's: it is there, or there would be nothing to be forbidden."""

    def forbidden(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr("async_commander.history.ownership.os.kill", forbidden)
    assert replace(this_process(), process_start=None).is_gone() is False


def test_without_proc_an_owner_is_told_by_its_number_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    this_boot.cache_clear()
    request.addfinalizer(this_boot.cache_clear)
    monkeypatch.setattr("async_commander.history.ownership._BOOT_ID", tmp_path / "absent")
    monkeypatch.setattr("async_commander.history.ownership.Path", lambda path: tmp_path / "absent")
    here = this_process()
    assert (here.boot_id, here.process_start) == ("", None)
    assert here.is_gone() is False
    assert replace(here, pid=2**22 + 1).is_gone() is True
