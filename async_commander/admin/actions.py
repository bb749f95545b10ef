"""What can be done about a run from its page: asked for on a page of its own, and done by a POST from there."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.http import HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from async_commander.exceptions import AsyncCommanderError
from async_commander.history.orders import (
    Cancelled,
    answer_run,
    bound_in_words,
    cancel_run,
    change_limits,
    continue_run,
    pause_run,
    yes_or_no,
)
from async_commander.models import Run
from async_commander.queues.doors import dispatch
from async_commander.queues.retrying import send_failed
from async_commander.results import AT_WORK, Asked, ItemState, RunStatus
from async_commander.runner.caller import name_of_user
from async_commander.templatetags.async_commander_pages import in_words, items_in_words

from .forms import LimitsForm

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.functional import _StrPromise as StrPromise

Told = str | Run | HttpResponseBase | LimitsForm
"""A sentence for who asked, a new run, what is downloaded, or a form with its errors."""
_ENDED = frozenset({
    RunStatus.SUCCEEDED.value, RunStatus.PARTIAL.value, RunStatus.FAILED.value, RunStatus.INTERRUPTED.value,
    RunStatus.CRASHED.value,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Action:
    """One action. `needs` is its permission, `<needs>_run`; `fits` says whether a run in this state can have it.

    `asks_first`: its button leads to a page that asks whether it is meant; else the button does it. `form` is what that
    page shows to be filled in.
    """

    name: str
    label: StrPromise
    needs: str
    explanation: StrPromise
    fits: Callable[[Run, str], bool]
    carry_out: Callable[[Run, HttpRequest], Told]
    destroys: bool = False
    asks_first: bool = True
    form: Callable[[Run], LimitsForm] | None = None


def _cancel(run: Run, request: HttpRequest) -> str:
    asked = cancel_run(run.pk, user=name_of_user(request.user), using=run._state.db)
    return {
        Cancelled.ASKED: gettext("The run was asked to end: it finishes the items that it has in hand."),
        Cancelled.NOT_BEGUN: gettext("The run was waiting to begin, and does not."),
        Cancelled.OWNERLESS: gettext("Nobody worked on the run any more: it is marked as crashed."),
        Cancelled.ENDED: gettext("The run had ended before."),
    }[asked]


def _pause(run: Run, request: HttpRequest) -> str:
    if not pause_run(run.pk, by=name_of_user(request.user), using=run._state.db):
        raise AsyncCommanderError(gettext("The run was asked to pause before."))
    return gettext("The run is asked to pause: it begins nothing new, and finishes what it has in hand.")


def _continue(run: Run, request: HttpRequest) -> str:
    if not continue_run(run.pk, by=name_of_user(request.user), using=run._state.db):
        raise AsyncCommanderError(gettext("The run is not paused."))
    return gettext("The run is asked to go on.")


def _limit(run: Run, request: HttpRequest) -> str | LimitsForm:
    form = LimitsForm(run, request.POST)
    if not form.is_valid():
        return form
    change_limits(run.pk, by=name_of_user(request.user), using=run._state.db, **form.values)
    told = ", ".join(
        f"{name} {in_words(bound_in_words(run.limits.get(name)))} → {in_words(bound_in_words(value))}"
        for name, value in form.values.items()
    )
    return gettext("%(changes)s. It holds for what begins from now on.") % {"changes": told}


def _answer(run: Run, request: HttpRequest) -> str:
    answer = "_yes" in request.POST
    if answer == ("_no" in request.POST):
        raise AsyncCommanderError(gettext("Say yes or no."))
    read = request.POST.get("question", "")
    # A browser ends the lines of what it sends in its own way. Another question is shown as it is.
    meant = run.question if read.splitlines() == run.question.splitlines() else read
    answer_run(run.pk, answer, by=name_of_user(request.user), question=meant, using=run._state.db)
    told = gettext("“%(question)s” is answered with %(answer)s.")
    return told % {"question": meant, "answer": in_words(yes_or_no(answer))}


def _is_heard(run: Run, state: str) -> bool:
    """Whether somebody is at work on a run who hears of requests: not of one of a plain Django command."""
    return run.status in AT_WORK and state not in _ENDED and bool(run.limits)


def _requeue(run: Run, request: HttpRequest) -> str:
    kinds = [kind for kind in request.POST.getlist("kind") if kind]
    keys = [UUID(key) for key in request.POST.getlist("key") if key]
    user, database = name_of_user(request.user), run._state.db or "default"
    again = send_failed(run.pk, only_kinds=kinds, only_keys=keys, user=user, database=database)
    told = gettext("%(items)s to be tried again: the run waits for a worker.")
    return told % {"items": items_in_words(again)}


def _again(run: Run, request: HttpRequest) -> Run:
    handle = dispatch(run.command, again=run.pk, request=request, database=run._state.db)
    return Run.objects.using(run._state.db).get(pk=handle.run_id)


COLUMNS = ("run", "key", "label", "state", "reason", "error kind", "error", "attempts", "started")
_FORMULA = frozenset("=+-@\t\r\n|%＝＋－＠")


def _cell(value: Any) -> str:
    """As a text that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" \u00a0\ufeff\0")[:1] in _FORMULA and text.strip() else text


class _Line:
    def write(self, line: str) -> str:
        return line


def _export(run: Run, request: HttpRequest) -> HttpResponseBase:
    del request
    failed = (ItemState.DEAD.value, ItemState.RETRY.value)
    rows = run.items.filter(state__in=failed).order_by("state", "next_at").defer("item")
    writer = csv.writer(_Line())

    def lines() -> Iterator[str]:
        yield writer.writerow(COLUMNS)
        for item in rows.iterator(chunk_size=2_000):
            told = (run.pk, item.key, item.label, item.state, item.reason, item.error_kind, item.error, item.attempts)
            started = item.started.isoformat() if item.started else ""
            yield writer.writerow([*map(_cell, told), started])

    answer = StreamingHttpResponse(lines(), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="run-{run.pk}-errors.csv"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer


ACTIONS = {
    action.name: action
    for action in (
        Action(
            "answer",
            _("Answer"),
            "answer",
            _("The run waits for this answer, and does as it says."),
            lambda run, state: (
                _is_heard(run, state)
                and run.status == RunStatus.WAITING.value
                and Asked.of(run.orders.get("answer")) is None
            ),
            _answer,
        ),
        Action(
            "pause",
            _("Pause"),
            "pause",
            _("It finishes the items that it has in hand, and begins no others until it is let go on."),
            lambda run, state: _is_heard(run, state) and run.paused is None and run.cancel_requested_at is None,
            _pause,
            asks_first=False,
        ),
        Action(
            "continue",
            _("Continue"),
            "continue",
            _("It goes on where it paused."),
            lambda run, state: _is_heard(run, state) and run.paused is not None,
            _continue,
            asks_first=False,
        ),
        Action(
            "limits",
            _("Change limits"),
            "limit",
            _(
                "They hold for what begins from now on, and are kept with the run: also for a resume of it. Where more "
                "items have failed already than are allowed, or the time is up, the run ends at once, in order."
            ),
            lambda run, state: _is_heard(run, state) and run.cancel_requested_at is None,
            _limit,
            form=LimitsForm,
        ),
        Action(
            "cancel",
            _("Cancel"),
            "cancel",
            _("It finishes the items that it has in hand, and is interrupted: it can be resumed."),
            lambda run, state: state not in _ENDED and run.cancel_requested_at is None,
            _cancel,
            destroys=True,
        ),
        Action(
            "retry",
            _("Retry failed items"),
            "requeue",
            _("A worker opens the run again for its dead items, and tries them as if they had never been."),
            lambda run, state: state in _ENDED and run.dead > 0 and not (run.testing or run.dry_run),
            _requeue,
        ),
        Action(
            "again",
            _("Run again"),
            "run",
            _("A worker begins a new run of the same command, with the same arguments and options."),
            lambda run, state: bool(run.limits) and state != RunStatus.QUEUED.value,
            _again,
        ),
        Action(
            "export",
            _("Errors as CSV"),
            "export",
            _("A file with the items of this run that are dead, or wait for another attempt."),
            lambda run, __: run.dead + run.retry > 0,
            _export,
        ),
    )
}
"""By the last part of their address, in the order of the buttons."""
