"""Hooks in a dry run: what one call of them does with databases is one transaction, which is rolled back."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from async_commander.database.unit import RehearsedUnit, current_unit, unit_on_lane
from async_commander.engine.stepping import NOT_BEGUN

from .calling import HookCaller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

    from async_commander.command.base import AsyncCommand
    from async_commander.database.rehearsal import Rehearsal

    from .hook_lanes import HookLanes

T = TypeVar("T")


class RehearsedHooks(HookCaller):
    """Gives each call of a hook that belongs to no item a unit of its own, as items have one.

    So it is with each step of an asynchronous generator, and with the beginning and the end of `lifespan()`: between
    them others write, who would wait for the locks of what is rolled back in the end.
    """

    def __init__(self, lanes: HookLanes, rehearsal: Rehearsal, command: AsyncCommand, **words: Any) -> None:
        super().__init__(command, **words)
        self._lanes = lanes
        self._rehearsal = rehearsal

    async def call(
        self,
        name: str,
        *arguments: Any,
        options: Mapping[str, Any] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """See HookCaller."""
        async with self._one_unit():
            return await super().call(name, *arguments, options=options, keywords=keywords)

    async def leavable(
        self, coroutine: Coroutine[Any, Any, T], name: str, waits_for: Any = NOT_BEGUN, **words: Any
    ) -> T:
        """See HookCaller."""
        async with self._one_unit():
            try:
                return await super().leavable(coroutine, name, waits_for, **words)
            except StopAsyncIteration as error:
                end = error  # of a generator: what it did after its last `yield` counts
        raise end

    @asynccontextmanager
    async def _one_unit(self) -> AsyncIterator[None]:
        around = current_unit.get(), unit_on_lane.get()
        if around[1] is not None and not around[1].left_behind:  # an item's, or that of the call which this is part of
            yield
            return
        lanes = self._lanes.current
        unit = RehearsedUnit(lanes.alias, lanes=lanes)
        current_unit.set(unit)
        unit_on_lane.set(unit)
        try:
            yield
            await unit.end()
        finally:
            current_unit.set(around[0])
            unit_on_lane.set(around[1])
            if not unit.left_behind:
                unit.left_behind = True
                await unit.discard()

    def _on_thread(self, function: Callable[[], T]) -> T:
        """See HookCaller: a plain `download` has a connection of its own, and so a transaction."""

        def rehearsed() -> T:
            with self._rehearsal.on_this_thread(ours=True):
                return function()

        return super()._on_thread(rehearsed)
