"""Shows a person at a terminal how a run goes; all that a run needs of the terminal is opened here."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from rich.text import Text

from async_commander.text.clean import plain

from .progress import BarDisplay, Display, Meter, NoDisplay, PlainDisplay
from .screen import Verbatim, Writable, moves, open_console
from .summary import summary_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import Console

    from async_commander.engine.context import RunContext
    from async_commander.history.recorder import LogLine
    from async_commander.results import RunResult

    from .steps import Invocation

MESSAGE_WIDTH = 1000
ERROR_WIDTH = 300
STEP_WIDTH = 60

_LEAST = {0: logging.ERROR, 1: logging.INFO, 2: logging.INFO, 3: logging.DEBUG}
_STYLES = {
    logging.DEBUG: "dim",
    logging.INFO: "",
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "red",
}


class TerminalReporter:
    """A Reporter on one console: progress while the run goes on, notes above it, a summary at the end.

    Verbosity 0 shows errors of the run only, 1 notes, progress and summary, 2 failing items as well, 3 everything.
    A console that goes away (a closed pipe) ends the reporting, never the run.
    """

    def __init__(
        self,
        console: Console,
        display: Display,
        invocation: Invocation,
        *,
        verbosity: int = 1,
        counts_items: bool = True,
        max_items: int | None = None,
    ) -> None:
        self.console = console
        self.display = display
        self.invocation = invocation
        self.verbosity = verbosity
        self.counts_items = counts_items
        self.max_items = max_items
        self.result: RunResult | None = None
        self._stage = ""
        self._questions = 0
        self._meter: Meter | None = None
        self._context: RunContext | None = None
        self._gone = False

    def started(self, context: RunContext) -> None:
        """See Reporter."""
        asked_first: int | None = context.options.get("max_items")
        self._context = context
        at_most = asked_first if self.max_items is None else context.tally.taken + self.max_items
        self._meter = Meter(plain(context.command), context.tally, self.counts_items, taken_at_most=at_most)

    def message(self, text: str, level: int = logging.INFO) -> None:
        """See Reporter."""
        if level >= _LEAST[self.verbosity]:
            self._say(Text(plain(text, MESSAGE_WIDTH), _STYLES.get(level, "")))

    def item_failed(self, label: str, kind: str, text: str, final: bool) -> None:  # noqa: FBT001 - a fact, not a switch
        """See Reporter."""
        if self.verbosity >= 2:
            line = Text.assemble(
                ("dead   ", "red") if final else ("again  ", "yellow"), plain(label), "  ", (plain(kind), "bold")
            )
            self._say(line.append(f"  {plain(text, ERROR_WIDTH)}"))

    def logged(self, lines: Sequence[LogLine]) -> None:
        """See Reporter. A handler of its own shows what the command logs, at once."""

    def stage(self, text: str) -> None:
        """See Reporter."""
        self._stage = plain(text)
        if self._stage:
            self._safely(self.display.stage, self._stage)

    def asks(self, text: str) -> None:
        """See Reporter."""
        self._questions += 1 if text else -1

    def finished(self, result: RunResult) -> None:
        """See Reporter."""
        self.result = result
        self.close()
        if self.verbosity >= 1:
            width = None if self.console.soft_wrap else self.console.width
            kept_steps = self._context is not None and self._context.steps_kept > 0
            is_trial = self._context is not None and self._context.testing
            told = {"counts_items": self.counts_items, "kept_steps": kept_steps, "is_trial": is_trial}
            summary = summary_of(result, self._meter, self.invocation, **told)
            unicode = self.console.encoding.lower().startswith("utf")
            for line in summary.lines(unicode=unicode, width=width):
                self._say(line)

    async def watch(self) -> None:
        """See Reporter."""
        while (meter := self._meter) is not None and not self._gone:
            await anyio.sleep(self.display.refresh)
            if not self._questions:  # several items may ask at once
                self._safely(self.display.show, meter, self._stage or self._steps())

    def _steps(self) -> str:
        """The steps in hand of a `handle()`."""
        if self._context is None or not self._context.steps_in_hand:
            return ""
        first, *others = self._context.steps_in_hand
        return f"{plain(first, STEP_WIDTH)}{f' and {len(others)} more' if others else ''}"

    def close(self) -> None:
        """Give the terminal back; may be called at any time and more than once."""
        display, self.display = self.display, NoDisplay()
        if (meter := self._meter) is not None:
            self._safely(display.end, meter)

    def _say(self, line: Text) -> None:
        self._safely(partial(self.console.print, line, soft_wrap=True))

    def _safely(self, tell: Callable[..., None], *what: object) -> None:
        if not self._gone:
            try:
                tell(*what)
            except (OSError, ValueError):  # ValueError: the stream was closed
                self._gone = True


def choose_display(how: str, console: Console, err: Verbatim, out: Verbatim, *, quiet: bool) -> Display:
    """What `--progress` asks for: `auto` is a bar, lines where no bar can move, and nothing where it is `quiet`."""
    if how == "none" or (how == "auto" and quiet):
        return NoDisplay()
    if how == "plain" or not moves(console, err):
        return PlainDisplay(console)
    return BarDisplay(console, [out, err])


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
