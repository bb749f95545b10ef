"""What is seen while a run goes on: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
from itertools import count as counter
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from async_commander.engine.results import items_in_words

from .screen import Verbatim, from_command, speaks_unicode
from .text import clock, count, rate, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pace import Reading

BAR_REFRESH = 0.25
PLAIN_REFRESH = 10.0
NAME_WIDTH = 24

Part = tuple[str, str, str]
"""A label, a figure and the figure's style."""


class Display(Protocol):
    """Where progress is seen."""

    refresh: float
    """Seconds between two looks at the run."""

    def show(self, name: str, reading: Reading, stage: str) -> None:
        """How the run stands."""

    def stage(self, text: str) -> None:
        """What it does has changed."""

    def end(self, name: str, reading: Reading) -> None:
        """How the run stood at last."""


class NoDisplay:
    """Shows nothing."""

    refresh = 60.0

    def show(self, name: str, reading: Reading, stage: str) -> None:
        """See Display."""

    def stage(self, text: str) -> None:
        """See Display."""

    def end(self, name: str, reading: Reading) -> None:
        """See Display."""


class PlainDisplay:
    """One line every ten seconds and a last one, for logs and pipes."""

    refresh = PLAIN_REFRESH

    def __init__(self, console: Console) -> None:
        self.console = console

    def show(self, name: str, reading: Reading, stage: str) -> None:
        """Print a line."""
        self.console.print(plain_line(name, reading, stage), soft_wrap=True)

    def stage(self, text: str) -> None:
        """Print it at once: ten seconds later it may be history."""
        self.console.print(text, soft_wrap=True)

    def end(self, name: str, reading: Reading) -> None:
        """Print the last line."""
        if reading.settled or reading.total:
            self.show(name, reading, "")


class BarDisplay:
    """Two lines at the bottom of the terminal. They begin when there is something to show, and leave no trace.

    `streams` are those whose writers must not tear them.
    """

    refresh = BAR_REFRESH

    def __init__(self, console: Console, streams: Sequence[Verbatim] = ()) -> None:
        self.console = console
        self.streams = streams
        self.frames = counter()
        self.live: Live | None = None
        self.standing = False
        self.stood_at: int | None = None

    def show(self, name: str, reading: Reading, stage: str) -> None:
        """Draw the two lines, or draw them anew."""
        if self._stands(reading) or not (reading.settled or reading.in_flight or reading.total):
            return
        if self.live is None:
            self._begin()
        assert self.live is not None  # noqa: S101 - for the type checker
        self.live.update(self._lines(name, reading, stage), refresh=True)

    def stage(self, text: str) -> None:
        """The next refresh shows it."""

    def end(self, name: str, reading: Reading) -> None:
        """Take the lines away."""
        del name, reading
        for stream in self.streams:
            stream.mover = None
        self._stop()
        for stream in self.streams:
            stream.flush()

    def above(self, text: str) -> None:
        """See Mover."""
        self.console.print(from_command(text), soft_wrap=True)

    def make_way(self) -> None:
        """See Mover."""
        self._stop()
        self.standing, self.stood_at = True, None

    def _stands(self, reading: Reading) -> bool:
        if self.standing and self.stood_at is None:
            self.stood_at = reading.settled
        self.standing = self.standing and self.stood_at == reading.settled
        return self.standing

    def _stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def _begin(self) -> None:
        self.live = Live(
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        self.live.start()
        for stream in self.streams:
            stream.mover = self

    def _lines(self, name: str, reading: Reading, stage: str) -> RenderableType:
        width = self.console.width
        return Group(self._first(shorten(name, NAME_WIDTH), reading), second_line(reading, stage, width))

    def _first(self, name: str, reading: Reading) -> RenderableType:
        if reading.total is None:
            return self._uncounted(name, reading)
        return bar_line(name, reading)

    def _uncounted(self, name: str, reading: Reading) -> Text:
        frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if speaks_unicode(self.console) else "|/-\\"
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(f"{frames[next(self.frames) % len(frames)]} ", "cyan").append(name, "bold")
        line.append(f"  {amount(reading.settled, reading)}").append(f"  {rate(reading.per_second)}", "cyan")
        return line.append(f"  {clock(reading.elapsed)}", "dim")


def bar_line(name: str, reading: Reading) -> RenderableType:
    """Name, bar, share, speed and the time that is left."""
    total = reading.total or 0
    line = Table.grid(padding=(0, 2, 0, 0), expand=True)
    line.add_column(no_wrap=True)
    line.add_column(ratio=1)
    for _ in range(3):
        line.add_column(no_wrap=True, justify="right")
    line.add_row(
        Text(name, "bold"),
        ProgressBar(total=max(total, 1), completed=reading.settled, complete_style="cyan", finished_style="green"),
        Text(share(reading)),
        Text(rate(reading.per_second), "cyan"),
        Text(f"{clock(reading.left)} left" if reading.left is not None else clock(reading.elapsed), "dim"),
    )
    return line


def second_line(reading: Reading, stage: str, width: int) -> Text:
    """The counts, as many as fit; what the run is doing comes first where it is not simply working."""
    line = Text(no_wrap=True, overflow="ellipsis")
    if stage:
        line.append(f"{stage}   ", "yellow")
    parts = counts_of(reading)
    if reading.total is not None:
        spread = f"{count(reading.settled)} of {count(reading.total)}   "
        if len(spread) + line.cell_len + sum(len(label) + len(figure) + 4 for label, figure, _ in parts) <= width:
            line.append(spread)
    for label, figure, style in parts:
        line.append(f"{label} ", "dim").append(figure, style).append("   ")
    line.rstrip()
    return line


def counts_of(reading: Reading) -> list[Part]:
    """The counts that are worth a look: done and dead always, the others where there are any."""
    if not reading.counts_items:
        return []
    parts: list[Part] = [
        ("done", count(reading.done), ""),
        ("dead", count(reading.dead), "bold red" if reading.dead else ""),
        ("retried", count(reading.retried), "yellow" if reading.retried else ""),
        ("in flight", count(reading.in_flight), ""),
    ]
    if reading.skipped:
        parts.insert(1, ("skipped", count(reading.skipped), ""))
    if reading.waiting:
        parts.append(("waiting", count(reading.waiting), ""))
    if reading.paused_hosts:
        parts.append(("hosts paused", count(reading.paused_hosts), "yellow"))
    return parts


def amount(number: int, reading: Reading) -> str:
    """A number of items, or of whatever the command counts."""
    return items_in_words(number) if reading.counts_items else count(number)


def share(reading: Reading) -> str:
    """How much of the total is settled; 100% only when all of it is."""
    if not reading.total:
        return ""
    if reading.settled >= reading.total:
        return "100%"
    return f"{min(int(reading.settled * 100 / reading.total), 99)}%"


def plain_line(name: str, reading: Reading, stage: str) -> str:
    """How the run stands, in one line for a log."""
    so_far = amount(reading.settled, reading)
    if reading.total:
        so_far = f"{count(reading.settled)} of {amount(reading.total, reading)} ({share(reading)})"
    elif not (reading.counts_items or reading.settled):
        so_far = ""
    figures = [so_far, rate(reading.per_second), *(f"{label} {figure}" for label, figure, _ in counts_of(reading))]
    if reading.left:
        figures.append(f"{clock(reading.left)} left")
    told = ", ".join(filter(None, [*figures, stage]))
    return f"{clock(reading.elapsed)} {name}{': ' if told else ''}{told}"
