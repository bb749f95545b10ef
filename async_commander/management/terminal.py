"""Everything that one run needs of the terminal, opened together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .reporter import TerminalReporter, choose_display
from .screen import Verbatim, Writable, open_console
from .steps import Invocation


@dataclass(frozen=True, slots=True)
class Terminal:
    """The command's own streams and the reporter of the run."""

    out: Verbatim
    err: Verbatim
    reporter: TerminalReporter


@contextmanager
def open_terminal(
    out: Writable, err: Writable, options: Mapping[str, Any], invocation: Invocation, *, counts_items: bool, shell: bool
) -> Iterator[Terminal]:
    """The terminal as `options` want it. `shell`: a person is there; else progress is shown only where it is asked for.

    Progress, notes and summary go to `err`, and with `json` the command's own output as well. At the end of the block
    the terminal is as it was, and nothing that was begun stays unwritten.
    """
    console = open_console(Verbatim(err), no_color=options["no_color"], force_color=options["force_color"])
    own_out, own_err = Verbatim(err if options["json"] else out), Verbatim(err)
    verbosity: int = options["verbosity"]
    display = choose_display(
        options["progress"] or "auto", console, own_err, own_out, quiet=verbosity == 0 or not shell
    )
    reporter = TerminalReporter(
        console,
        display,
        invocation,
        verbosity=verbosity,
        counts_items=counts_items,
        max_items=options.get("max_items"),
    )
    try:
        yield Terminal(own_out, own_err, reporter)
    finally:
        reporter.close()
        for stream in (own_out, own_err):
            stream.mover = None
            stream.flush()
