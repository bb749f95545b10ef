"""Everything that one run needs of the terminal, opened together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from async_commander.engine.results import RunResult
from async_commander.text.redactor import Redactor

from .reporter import TerminalReporter, choose_display
from .screen import Verbatim, Writable, open_console, speaks_unicode
from .summary import summariser

Steps = Callable[[RunResult, int | None], Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Terminal:
    """The command's own streams and the reporter of the run."""

    out: Verbatim
    err: Verbatim
    reporter: TerminalReporter

    def close(self) -> None:
        """Leave the terminal as it was; nothing that was begun stays unwritten."""
        self.reporter.close()
        for stream in (self.out, self.err):
            stream.mover = None
            stream.flush()


def open_terminal(
    out: Writable,
    err: Writable,
    options: Mapping[str, Any],
    steps: Steps,
    *,
    redact: Redactor,
    counts_items: bool,
    shell: bool,
) -> Terminal:
    """The terminal as `options` want it. `shell`: a person is there; else progress is shown only where it is asked for.

    Progress, notes and summary go to `err`, and with `json` the command's own output as well. `redact` hides secrets.
    """
    told = Verbatim(err)
    console = open_console(told, no_color=bool(options.get("no_color")), force_color=bool(options.get("force_color")))
    own_out, own_err = Verbatim(err if options.get("json") else out), Verbatim(err)
    verbosity = int(options.get("verbosity", 1))
    how, quiet = options.get("progress") or "auto", verbosity == 0 or not shell
    display = choose_display(how, console, own_err, own_out, quiet=quiet)
    width = console.width if told.isatty() else None
    unicode = speaks_unicode(console)
    summarise = summariser(steps, redact=redact, unicode=unicode, width=width, counts_items=counts_items)
    reporter = TerminalReporter(
        console,
        display,
        summarise,
        verbosity=verbosity,
        counts_items=counts_items,
        max_items=options.get("max_items"),
    )
    return Terminal(own_out, own_err, reporter)
