"""What a command can reach while its run is open: the port that the runner fills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping

    import httpx
    from django.core.management.base import OutputWrapper
    from django.core.management.color import Style

    from async_commander.database.unit import Unit
    from async_commander.downloads.fetching import Fetched
    from async_commander.engine.context import RunContext
    from async_commander.models import Run

    from .cached import CachedCall

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Kept(Protocol):
    """The results of a run's cached methods."""

    async def aresult(self, call: CachedCall) -> Any:
        """The result of a call of an `async def`: kept from an earlier one, or made now."""

    def result(self, call: CachedCall) -> Any:
        """The same for a plain function, in its thread."""


class Session(Protocol):
    """One open run, as its command sees it. `AsyncCommand`'s properties and methods delegate to it by name.

    Everything is used on the event loop's thread, and in a plain `def` hook on that hook's thread.
    """

    @property
    def context(self) -> RunContext:
        """The run's bounds, counts and flags."""

    @property
    def http(self) -> httpx.AsyncClient:
        """The client that `http_client()` brought, opened."""

    @property
    def kept(self) -> Kept:
        """The results of the command's cached methods."""

    @property
    def db(self) -> Unit:
        """The unit of work of the item, or of the hook, that the current task is in."""

    @property
    def log(self) -> logging.Logger:
        """A logger whose records are kept in the run."""

    @property
    def stdout(self) -> OutputWrapper:
        """The command's own output, captured into the run."""

    @property
    def stderr(self) -> OutputWrapper:
        """The command's error output, captured into the run."""

    @property
    def style(self) -> Style:
        """Django's terminal colours."""

    @property
    def force(self) -> bool:
        """Whether `--force` was given."""

    @property
    def delete(self) -> bool:
        """Whether `--delete` was given."""

    @property
    def previous(self) -> Run | None:
        """The last succeeded run of this identity."""

    @property
    def record(self) -> Run:
        """The row of this run."""

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt at the item in hand, in every run of this identity."""

    async def fetch(
        self, url: httpx.URL | str, *, headers: Mapping[str, str] | None, extensions: Mapping[str, Any] | None
    ) -> Fetched:
        """GET one small answer with that client, the quick way."""

    def http_client(self) -> httpx.AsyncClient:
        """A new, unopened client with this run's bounds, pacing and guards."""

    async def cpu(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run a module-level function in the process pool."""

    async def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """A step of `handle()`: done now, or kept from before."""

    async def confirm(self, text: str) -> bool:
        """Ask the person at the terminal; `--yes` answers; without a terminal an error."""

    def progress(self, done: int, total: int | None = None) -> None:
        """Show how far a plain command is."""

    def follow(self, *items: Any) -> None:
        """Add items to this run, stored in the current item's transaction."""
