"""How a run stands while it goes on: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from async_commander.results import Tally, items_in_words
from async_commander.text.amounts import clock, count, rate
from async_commander.text.clean import shorten

from .screen import Verbatim

WINDOW = 10.0
"""Seconds that count as recent."""
BAR_REFRESH = 0.25
PLAIN_REFRESH = 10.0
NAME_WIDTH = 24

Part = tuple[str, str, str]
"""A label, a figure and the figure's style."""


@dataclass(slots=True)
class Meter:
    """Reads the live tally of a run. Items that an earlier part of the run had settled do not count as speed."""

    name: str
    tally: Tally
    counts_items: bool = True
    """False: the figures are `handle()`'s own, in units of its own."""
    taken_at_most: int | None = None
    """Items that may be taken in all."""
    now: Callable[[], float] = time.monotonic
    begun: float = field(init=False)
    before: int = field(init=False)
    dead_before: int = field(init=False)
    _samples: deque[tuple[float, int]] = field(init=False, default_factory=deque)

    def __post_init__(self) -> None:
        self.begun, self.before, self.dead_before = self.now(), self.settled, self.tally.dead
        self._samples.append((self.begun, self.before))

    @property
    def settled(self) -> int:
        """Items that have an outcome."""
        return self.tally.done + self.tally.skipped + self.tally.dead

    @property
    def cut(self) -> bool:
        """Whether as many items were taken as may be."""
        return self.taken_at_most is not None and self.tally.taken >= self.taken_at_most

    @property
    def elapsed(self) -> float:
        """Seconds since this part of the run began."""
        return self.now() - self.begun

    def speed(self) -> float:
        """Items per second lately; those of the whole run where nothing happened lately. To be asked regularly."""
        now, settled = self.now(), self.settled
        if settled == self.before:
            self._samples.clear()  # the way to the first item, past those that are done already, is no speed
        self._samples.append((now, settled))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW:
            self._samples.popleft()
        for since, before in (self._samples[0], (self.begun, self.before)):
            if settled > before and now > since:
                return (settled - before) / (now - since)
        return 0.0

    def left(self, speed: float) -> float | None:
        """Seconds to the end at this speed, where the end is known."""
        total = self.tally.total
        return max(total - self.settled, 0) / speed if speed and total is not None else None

    @property
    def amount(self) -> str:
        """What is settled, in words."""
        return items_in_words(self.settled) if self.counts_items else count(self.settled)

    @property
    def share(self) -> str:
        """How much of the total is settled; 100% only when all of it is."""
        total = self.tally.total
        if not total:
            return ""
        return "100%" if self.settled >= total else f"{min(self.settled * 100 // total, 99)}%"

    @property
    def held(self) -> str:
        """That nothing begins, for the database's sake, and for how long; empty where something may."""
        seconds = self.tally.held_until - self.now() if self.tally.held_until else 0.0
        return f"waiting for the database {max(1, round(seconds))} s" if seconds > 0 else ""

    def counts(self) -> list[Part]:
        """The counts that are worth a look: done and dead always, the others where there are any."""
        if not self.counts_items:
            return []
        tally = self.tally
        parts = [
            ("done", tally.done, "", True),
            ("skipped", tally.skipped, "", False),
            ("dead", tally.dead, "bold red", True),
            ("retried", tally.retried, "yellow", True),
            ("in flight", tally.in_flight, "", True),
            ("waiting", tally.waiting, "", False),
            ("hosts paused", tally.paused_hosts, "yellow", False),
        ]
        return [(label, count(n), style if n else "") for label, n, style, always in parts if n or always]


class Display(Protocol):
    """Where progress is seen."""

    refresh: float
    """Seconds between two looks at the run."""

    def show(self, meter: Meter, stage: str) -> None:
        """How the run stands."""

    def stage(self, text: str) -> None:
        """What it does has changed."""

    def end(self, meter: Meter) -> None:
        """How the run stood at last."""


class NoDisplay:
    """Shows nothing."""

    refresh = 60.0

    def show(self, meter: Meter, stage: str) -> None:
        """See Display."""

    def stage(self, text: str) -> None:
        """See Display."""

    def end(self, meter: Meter) -> None:
        """See Display."""


class PlainDisplay:
    """One line every ten seconds and a last one, for logs and pipes."""

    refresh = PLAIN_REFRESH

    def __init__(self, console: Console) -> None:
        self.console = console

    def show(self, meter: Meter, stage: str) -> None:
        """Print a line."""
        self.console.print(plain_line(meter, stage), soft_wrap=True)

    def stage(self, text: str) -> None:
        """Print it at once: ten seconds later it may be history."""
        self.console.print(text, soft_wrap=True)

    def end(self, meter: Meter) -> None:
        """Print the last line."""
        if meter.settled or meter.tally.total:
            self.show(meter, "")


def plain_line(meter: Meter, stage: str) -> str:
    """How the run stands, in one line for a log."""
    speed, total = meter.speed(), meter.tally.total
    so_far = meter.amount if meter.counts_items or meter.settled else ""
    if total:
        so_far = f"{count(meter.settled)} of {items_in_words(total) if meter.counts_items else count(total)}"
        so_far += f" ({meter.share})"
    left = f"{clock(left)} left" if (left := meter.left(speed)) else ""
    stage = stage or meter.held
    told = ", ".join(
        filter(None, [so_far, rate(speed), *(f"{label} {figure}" for label, figure, _ in meter.counts()), left, stage])
    )
    return f"{clock(meter.elapsed)} {meter.name}{': ' if told else ''}{told}"


class BarDisplay:
    """Two lines at the bottom of the terminal. They begin when there is something to show, and leave no trace.

    `streams` are those whose writers must not tear them.
    """

    refresh = BAR_REFRESH

    def __init__(self, console: Console, streams: Sequence[Verbatim] = ()) -> None:
        self.console = console
        self.streams = streams
        self.bar: CountedProgress | None = None
        self.meter: Meter | None = None
        self.stands_at: int | None = None
        """What was settled when a question was asked: until the run moves on, it is not drawn over."""

    def show(self, meter: Meter, stage: str) -> None:
        """Draw the two lines, or draw them anew."""
        speed, total = meter.speed(), meter.tally.total
        if self.stands_at == meter.settled or not (meter.settled or meter.tally.in_flight or total or meter.held):
            return
        self.meter, self.stands_at = meter, None
        left = meter.left(speed)
        bar = self.bar or CountedProgress(self.console, shorten(meter.name, NAME_WIDTH))
        bar.update(
            TaskID(0),
            total=total,
            completed=meter.settled,
            amount=meter.amount if total is None else meter.share,
            speed=rate(speed),
            time=clock(meter.elapsed) if left is None else f"{clock(left)} left",
        )
        bar.counts = counts_line(meter, stage, self.console.width)
        if self.bar is None:
            self.bar = bar
            bar.start()
            for stream in self.streams:
                stream.mover = self
        bar.refresh()

    def stage(self, text: str) -> None:
        """The next refresh shows it."""

    def end(self, meter: Meter) -> None:
        """Take the lines away."""
        del meter
        for stream in self.streams:
            stream.mover = None
        self._stop()
        for stream in self.streams:
            stream.flush()

    def above(self, text: str) -> None:
        """See Mover. The command's own output keeps the colours that it chose."""
        self.console.print(Text.from_ansi(text), soft_wrap=True)

    def make_way(self) -> None:
        """See Mover."""
        self._stop()
        self.stands_at = self.meter.settled if self.meter else None

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class CountedProgress(Progress):
    """A bar that pulses where the total is unknown, with the counts in a line below it."""

    counts = Text()

    def __init__(self, console: Console, name: str) -> None:
        figures = (("amount", ""), ("speed", "cyan"), ("time", "dim"))
        super().__init__(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(None, complete_style="cyan", finished_style="green", table_column=Column(ratio=1)),
            *(TextColumn(f" {{task.fields[{name}]}}", style, "right", markup=False) for name, style in figures),
            console=console,
            auto_refresh=False,
            transient=True,
            expand=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self.add_task(name, total=None, amount="", speed="", time="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """See Progress."""
        yield self.make_tasks_table(self.tasks)
        yield self.counts


def counts_line(meter: Meter, stage: str, width: int) -> Text:
    """The counts, as many as fit; what the run is doing comes first where it is not simply working."""
    line = Text(no_wrap=True, overflow="ellipsis")
    if stage := stage or meter.held:
        line.append(f"{stage}   ", "yellow")
    counts = Text("   ").join(
        Text.assemble((f"{label} ", "dim"), (figure, style)) for label, figure, style in meter.counts()
    )
    if meter.tally.total is not None:
        spread = f"{count(meter.settled)} of {count(meter.tally.total)}   "
        if line.cell_len + len(spread) + counts.cell_len <= width:
            line.append(spread)
    line.append_text(counts).rstrip()
    return line
