"""The pages of commands in the admin: which there are; what one is, how its runs went, and a form to run it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext

from async_commander.command.declaration import declaration_of
from async_commander.command.registry import get_command, get_runnable
from async_commander.exceptions import AsyncCommanderError, CommandNotFound, InvalidCommand
from async_commander.history.reading import recorded_names
from async_commander.history.trends import SHOWN
from async_commander.models import Run
from async_commander.queues.doors import dispatch
from async_commander.results import RunStatus

from .counting import count_in_words
from .drawing import trend
from .forms import RunForm
from .permissions import may

if TYPE_CHECKING:
    from django.http import HttpRequest

    from async_commander.command.base import AsyncCommand

RUNS_SHOWN = 100


def all_commands() -> list[tuple[str, list[tuple[str, str]]]]:
    """The apps with their commands: the name that each is run by, and what it is called there."""
    by_app: dict[str, list[tuple[str, str]]] = {}
    for name, file in sorted(get_runnable().items()):
        by_app.setdefault(file.app_label, []).append((name, file.name))
    return sorted(by_app.items())


class CommandPage:
    """One command, for one reader. CommandNotFound where there is none of that name, and none was run."""

    def __init__(self, name: str, request: HttpRequest, alias: str) -> None:
        self.name = name
        self._request = request
        self._alias = alias
        self.command: type[AsyncCommand] | None = None
        self.broken = ""
        try:
            self.command = get_command(name)
            declaration_of(self.command)
        except CommandNotFound as error:
            self.broken = str(error)
            if not Run.objects.using(alias).filter(command=name).exists():
                raise
        except (AsyncCommanderError, ImproperlyConfigured) as error:
            self.command, self.broken = None, str(error)
        self.may_run = self.command is not None and may(request.user, "run", name)

    def form(self) -> RunForm | None:
        """The form, filled with what was posted; None for those who may not run the command."""
        if not self.may_run or self.command is None:
            return None
        posted = self._request.method == "POST"
        return RunForm(self.command, self._request.POST, self._request.FILES) if posted else RunForm(self.command)

    def send(self, form: RunForm) -> Run | None:
        """Have a worker run it; None where that is refused, and the form says why. Then no file of it is kept."""
        dry_run = "_dry" in self._request.POST
        values = {**form.values, **({"dry_run": True} if dry_run else {})}
        try:
            if not (dry_run or self._request.POST.get("confirm")):
                raise InvalidCommand(gettext("Say that you mean it: tick the box beside the button."))
            handle = dispatch(self.name, request=self._request, database=self._alias, **values)
        except (AsyncCommanderError, TypeError, ValueError) as error:
            form.forget_files()
            form.add_error(None, str(error))
            return None
        return Run.objects.using(handle.database).get(pk=handle.run_id)

    def count(self, form: RunForm) -> str:
        """How many items it would take, in words, as far as that is known without running it."""
        assert self.command is not None  # noqa: S101 - it has a form
        arguments = declaration_of(self.command).names
        try:
            made = self.command(**{name: value for name, value in form.values.items() if name in arguments})
            return count_in_words(made)
        except (AsyncCommanderError, TypeError, ValueError) as error:
            return gettext("It cannot be counted: %(error)s") % {"error": error}
        finally:
            form.forget_files()

    def context(self) -> dict[str, Any]:
        """What the page shows beside its form."""
        runs = Run.objects.using(self._alias).filter(command__in=recorded_names(self.name))
        last = list(runs.only(*SHOWN, "error").order_by("-id")[:RUNS_SHOWN])
        ended = [run for run in last if run.finished]
        seconds = sorted(run.duration.total_seconds() for run in ended if run.duration)
        return {
            "name": self.name,
            "help": inspect.cleandoc(self.command.help or self.command.__doc__ or "") if self.command else "",
            "broken": self.broken,
            "may_run": self.may_run,
            "runs": last[:20],
            "trend": trend(last[::-1]) if last else None,
            "counted": len(last),
            "succeeded": sum(run.status == RunStatus.SUCCEEDED.value for run in last),
            "median": seconds[len(seconds) // 2] if seconds else None,
            "longest": seconds[-1] if seconds else None,
            "can_count": self.command is not None and declaration_of(self.command).has_items,
        }
