"""One request on its way through its redirects: what all its hops share."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from async_commander.engine.charging import uncharged

from .errors import DownloadTimeout
from .limits import bound_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .limits import BodyMemory


@dataclass(slots=True, kw_only=True)
class Journey:
    """The bounds of one request, its redirects and bodies together, and what its hops hand on to each other."""

    seconds: float
    """The deadline, in seconds from the start."""
    deadline: float
    """The same on the monotonic clock; time spent waiting for what requests share moves it."""
    max_body: int
    bytes_left: int
    """Decoded bytes that may still come, over all hops."""
    memory: BodyMemory
    may_turn_inward: bool = False
    """Whether a redirect from a public address may lead to one that is not public."""
    from_public: bool = False
    """Whether a redirect of a public address led here."""
    is_internal: bool = False
    """Whether the hop under way is connected to an address that is not public."""
    has_place: bool = False
    """Whether the hop under way holds a place in the pool."""
    watch: asyncio.Timeout | None = None
    """The time-out around the whole request; None once a streamed response is in the caller's hands."""

    @classmethod
    def start(cls, memory: BodyMemory, *, deadline: object, max_body: object, internal_redirects: object) -> Journey:
        """A journey that begins now. ValueError and TypeError for bounds that are none."""
        seconds, size = bound_of("deadline", deadline), int(bound_of("max_body", max_body))
        if not isinstance(internal_redirects, bool):
            raise TypeError(f"internal_redirects={internal_redirects!r}: True or False is needed")
        return cls(
            seconds=seconds,
            deadline=monotonic() + seconds,
            max_body=size,
            bytes_left=size,
            memory=memory,
            may_turn_inward=internal_redirects,
        )

    def redirected(self) -> None:
        """The next hop is where the last one sent us. One that was public once stays so: there may be several."""
        self.from_public = self.from_public or not self.is_internal

    @property
    def stays_outside(self) -> bool:
        """Whether an address that is not public is refused, although the project names it as its own."""
        return self.from_public and not self.may_turn_inward

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that passes in here is neither the server's nor the item's: both clocks stand still."""
        before = monotonic()
        if self.watch is not None:
            self.watch.reschedule(None)
        try:
            with uncharged():
                yield
        finally:
            self.deadline += monotonic() - before
            if self.watch is not None:
                self.watch.reschedule(asyncio.get_running_loop().time() + self.deadline - monotonic())

    def is_over(self) -> bool:
        """Whether the time-out around the whole request has passed."""
        return self.watch is not None and self.watch.expired()

    def over(self) -> DownloadTimeout:
        """What is raised where the deadline passes."""
        return DownloadTimeout(f"not finished after {self.seconds:g} s")
