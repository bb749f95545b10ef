"""The end of a run that is asked for from outside: in code, and by `manage.py aruns cancel`."""

from __future__ import annotations

import io
import json
from typing import Any, ClassVar

import anyio
import pytest
from django.core.management import CommandError, call_command

import async_commander as ac
from async_commander.models import Run, RunLog

from .ledger import end_without_a_word, give_lease, row_of


class Letters(ac.IterateDownloadCommand[str, str]):
    """Asks for its own end, as somebody else would, in its second item."""

    limits = ac.Limits(threads=1, batch_size=1)
    asked: ClassVar[bool | None] = None

    async def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        if item == "b" and self.asked is None:
            type(self).asked = await (await Run.objects.aget(pk=self.record.pk)).acancel(user="ada")
            while not self.stopping:
                await anyio.sleep(0.005)
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...


def aruns(*words: object, **options: Any) -> str:
    out = io.StringIO()
    call_command("aruns", *map(str, words), stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


def test_a_run_at_work_ends_in_order_and_says_who_asked(run_on_lanes: Any) -> None:
    command = type("Once", (Letters,), {"__module__": __name__})
    result = run_on_lanes(command, lease_seconds=0.4)
    assert command.asked is True  # type: ignore[attr-defined]
    row = row_of(result)
    assert (row.status, row.done) == ("interrupted", 2)
    assert RunLog.objects.filter(run=row, message="The end of this run was asked for by ada.").count() == 1
    assert row_of(run_on_lanes(command, resume=True)).status == "succeeded"
    assert Run.objects.get().cancel_requested_at is None


def test_a_run_without_an_owner_is_marked(run: Any) -> None:
    class Quiet(Letters):
        asked = False

    row = row_of(run(Quiet))
    assert (row.cancel(user="ada"), row.status, row.cancel_requested_at) == (False, "succeeded", None)
    assert aruns("cancel", row.pk) == f"Run {row.pk} had ended before: it is succeeded.\n"

    end_without_a_word(row.pk)
    assert (row.cancel(), row.status) == (False, "crashed")
    Run.objects.filter(pk=row.pk).update(status="queued")
    assert json.loads(aruns("cancel", row.pk, json=True)) == {"run": row.pk, "asked": False, "status": "interrupted"}


def test_the_line_says_who_hears_of_it(run: Any) -> None:
    class Quiet(Letters):
        asked = False

    row = row_of(run(Quiet))
    end_without_a_word(row.pk)
    give_lease(row.pk)
    told = f"Run {row.pk} is asked to end: process {row.pid} on {row.host} hears of it within"
    assert aruns("cancel", row.pk).startswith(told)
    first = Run.objects.get(pk=row.pk).cancel_requested_at
    assert first is not None
    assert aruns("cancel", row.pk).startswith(told)
    assert Run.objects.get(pk=row.pk).cancel_requested_at == first
    assert RunLog.objects.filter(message__startswith="The end of this run was asked for by ").count() == 1

    Run.objects.filter(pk=row.pk).update(limits={})
    with pytest.raises(CommandError, match=rf"plain Django command, .* end its process, {row.pid} on "):
        aruns("cancel", row.pk)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cancel", "Name the run: aruns cancel ID"),
        ("retry", "Name the run: aruns retry ID"),
        ("cancel 99999", "There is no run 99999"),
        ("retry 99999", "There is no run 99999"),
    ],
)
@pytest.mark.django_db
def test_a_mistake_is_named(line: str, told: str) -> None:
    with pytest.raises(CommandError, match=told) as refused:
        aruns(*line.split())
    assert refused.value.returncode == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cancel 5 --status failed", "cancel has no use for it: leave --status out"),
        ("list --only-kind x", "list has no use for it: leave --only-kind out"),
        ("show 5 --only-kind x", "show has no use for it: leave --only-kind out"),
    ],
)
@pytest.mark.django_db
def test_an_option_of_another_action_is_named(line: str, told: str) -> None:
    with pytest.raises(CommandError, match=told):
        aruns(*line.split())
    what, *number, option, value = line.split()
    name = option.removeprefix("--").replace("-", "_")
    with pytest.raises(CommandError, match=f"leave {option} out"):
        aruns(what, *number, **{name: value})
