"""Calls a command's hooks where they belong: coroutines on the loop, plain functions on a thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import connections

from async_commander.command.declaration import declaration_of
from async_commander.command.hooks import Hook, HookKind
from async_commander.database.connections import close_all, drop_open_blocks, open_blocks, take_over_thread
from async_commander.database.unit import unit_on_lane
from async_commander.engine.failures import HookRaisedGeneratorExit, native_task
from async_commander.engine.leaving import CancelIgnored, Leavable
from async_commander.engine.stepping import NOT_BEGUN
from async_commander.exceptions import InvalidCommand
from async_commander.text.errors import readable

from .generators import Leftable
from .observing import Observers
from .threads import AbandonableThreads
from .unawaited import NothingUnawaited, Watch, watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from async_commander.command.base import AsyncCommand
    from async_commander.database.preparing import Preparation

    from .hook_lanes import HookLanes

logger = logging.getLogger("async_commander.run")

P = ParamSpec("P")
T = TypeVar("T")


class HookCaller:
    """The hooks of one command instance, ready to be awaited."""

    def __init__(
        self, command: AsyncCommand, *, threads: int, shared: bool, preparation: Preparation | None = None
    ) -> None:
        self._command = command
        declared = declaration_of(type(command))
        self._specs, self._hooks = declared.specs, declared.hooks
        self._shared = shared
        self._preparation = preparation
        self._downloads = AbandonableThreads(threads)
        self._under_way: set[Leavable[Any]] = set()
        self._grace: float | None = None
        self.observers = Observers()

    def resize(self, threads: int) -> None:
        """So many plain downloads at once, from now on."""
        self._downloads.resize(threads)

    def has(self, name: str) -> bool:
        """Whether the author wrote this hook."""
        return name in self._hooks

    def kind(self, name: str) -> HookKind:
        """How the author wrote this hook."""
        return self._hooks[name].kind

    def takes(self, name: str, keyword: str) -> bool:
        """Whether the author wrote this hook so that it gets this value."""
        return keyword in self._hooks[name].keywords

    def function(self, name: str) -> Callable[..., Any]:
        """The hook itself, bound to the command."""
        function: Callable[..., Any] = getattr(self._command, name)
        return function

    def hurry(self, grace: float) -> None:
        """The run is cancelled, and with it what is under way; what begins now has `grace` seconds.

        A plain `download` is not waited for any more, as nobody can interrupt its thread; a coroutine that goes on is
        left.
        """
        self._grace = grace
        self._downloads.abandon()
        for call in self._under_way:
            self._watch(call, grace)

    def decide(self, name: str, *arguments: Any) -> Any:
        """Call a hook that decides on the event loop, the author's or the shape's own, and check what it returns."""
        if name not in self._hooks:
            return getattr(self._command, name)(*arguments)
        with self.watched(name):
            value = self.function(name)(*arguments)
            self._specs[name].check_returned(self._command, value)
        return value

    async def call(
        self,
        name: str,
        *arguments: Any,
        options: Mapping[str, Any] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a hook with as many of the arguments as it takes, or as many of `options`, and check what it returns.

        `keywords` are values that it takes by their names.

        Raises InvalidCommand where that is a wrong kind of thing, and where an `await` is missing in it.
        """
        hook = self._hooks[name]
        named: dict[str, Any] = {**keywords} if keywords else {}
        if hook.named is not None:
            arguments, named = hook.named.picked(options or {})
        elif len(arguments) > hook.arguments:
            arguments = arguments[: hook.arguments]
        if not self.observers.anybody:
            return await self._call(name, hook, arguments, named)
        async with self.observers.around(name):
            return await self._call(name, hook, arguments, named)

    async def _call(self, name: str, hook: Hook, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        # What NothingUnawaited does, without its calls: each item comes by here twice.
        watch = Watch()
        token = watching.set(watch)
        try:
            if hook.kind is HookKind.ASYNC:
                # Most hooks that only compute, or queue rows, never wait: they need nobody who could leave them.
                coroutine = getattr(self._command, name)(*arguments, **named)
                try:
                    waits_for = coroutine.send(None)
                except StopIteration as end:
                    value = end.value
                except GeneratorExit as error:
                    raise HookRaisedGeneratorExit(*error.args) from error
                else:
                    value = await self.leavable(coroutine, name, waits_for)
            else:
                function = partial(_without_generator_exit, self.function(name))
                if name == "download" and not self._shared:
                    value = await self._downloads.call(partial(self._on_thread, partial(function, *arguments)))
                else:
                    value = await sync_to_async(function)(*arguments, **named)
            self._specs[name].check_returned(self._command, value)
        except BaseException as error:
            if (fit := readable(error)) is error:
                raise
            raise fit from None
        finally:
            watch.over = True
            watching.reset(token)
        if watch.names:
            raise watch.complaint(type(self._command), name)
        return value

    async def call_for(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that this hook hands over as if it were the hook: a plain one on the current lane."""
        with self.watched(name):
            if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
                return await function(*arguments)
            return await sync_to_async(partial(_without_generator_exit, function))(*arguments)

    def _on_thread(self, function: Callable[[], T]) -> T:
        """A worker thread may outlive the run: it must not keep a connection."""
        take_over_thread(self._preparation)
        try:
            return function()
        finally:
            close_all()

    def watched(self, name: str) -> NothingUnawaited:
        """For a call of a hook, or one step of it: it is an error to leave a coroutine unawaited."""
        return NothingUnawaited(type(self._command), name)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """The author's `lifespan()`, entered for the block; where its beginning or end goes on when cancelled: left."""
        manager: AbstractAsyncContextManager[Any] = self.decide("lifespan")
        if isinstance(generator := getattr(manager, "gen", None), AsyncGenerator):  # of @asynccontextmanager
            manager.gen = Leftable(generator)  # type: ignore[attr-defined]
        with self.watched("lifespan"):
            await self.leavable(manager.__aenter__(), "lifespan")
        try:
            yield
        except BaseException as error:
            with self.watched("lifespan"):
                if not await self.leavable(manager.__aexit__(type(error), error, error.__traceback__), "lifespan"):
                    raise
        else:
            with self.watched("lifespan"):
                await self.leavable(manager.__aexit__(None, None, None), "lifespan")

    async def leavable(
        self,
        coroutine: Coroutine[Any, Any, T],
        name: str,
        waits_for: Any = NOT_BEGUN,
        *,
        on_thread: bool = False,
        patience: float | None = None,
    ) -> T:
        """A hook that ignores its cancellation, or does not return from its thread, ends neither its item nor its run.

        With `patience` it is left after so many seconds, else some time after the run is cancelled.
        """
        call = Leavable(coroutine, f"{name}()", waits_for, on_thread=on_thread)
        self._under_way.add(call)
        if patience is not None:
            asyncio.get_running_loop().call_later(patience, self._leave, call)
        if self._grace is not None:
            self._watch(call, 2 * self._grace)
        try:
            return await call
        except GeneratorExit as error:
            if native_task() is None:  # it is ours: the loop is gone, and nothing can be awaited any more
                raise
            raise HookRaisedGeneratorExit(*error.args) from error
        except CancelIgnored as error:
            level = logging.ERROR if patience is None else logging.INFO
            logger.log(level, "%s", error)  # the traceback would show where it was cancelled, not why it went on
            raise
        finally:
            self._under_way.discard(call)

    def _watch(self, call: Leavable[Any], seconds: float) -> None:
        call.suspected = True
        asyncio.get_running_loop().call_later(seconds, self._leave, call)

    def _leave(self, call: Leavable[Any]) -> None:
        if call in self._under_way:
            call.leave()


def _without_generator_exit(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """On the thread: a task that is woken with a GeneratorExit closes what it waits in, as if it were its own end."""
    try:
        return function(*arguments, **named)
    except GeneratorExit as error:
        raise HookRaisedGeneratorExit(*error.args) from error
    except BaseException as error:
        if (fit := readable(error)) is error:
            raise
        raise fit from None


class PerCall(Executor):
    """Runs the calls of an item's `unit_on_lane` on the item's lane, and each other one on the lane of its kind.

    Between two calls the hooks that belong to no item hold nothing: each call is in autocommit, and its lane is given
    back at once. Inside the caller's transaction each has a savepoint: an error that would not leave autocommit does
    not leave the transaction broken.

    One executor serves all: an executor for each item, with asgiref's ThreadSensitiveContext, would cost more than the
    rest of a small item, and most items call nothing. asgiref submits in the context of the caller.
    """

    def __init__(self, lanes: HookLanes) -> None:
        self._lanes = lanes

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See concurrent.futures.Executor."""
        unit = unit_on_lane.get()
        if unit is not None and not unit.left_behind:
            return unit.lend().submit(function, *args, **kwargs)
        call = partial(_left_nothing_open, partial(function, *args, **kwargs))
        lanes = self._lanes.current
        if lanes.rehearsal is not None:
            return lanes.in_transaction(call)
        if lanes.shared:
            return lanes.post(partial(_by_itself, lanes.alias, call))
        return lanes.post(call, patient=True)


def _left_nothing_open(call: Callable[[], T]) -> T:
    """The next call, on this connection or another, would not be in that block: it would only keep its locks."""
    before = open_blocks()
    result = call()
    if open_blocks() > before:
        drop_open_blocks()
        raise InvalidCommand(
            "A transaction.atomic() block was still open when a call to the database ended, and was rolled back. Put "
            "the whole block into one synchronous function: await self.db(function). iterate() may not yield inside of "
            "one: collect in it what is to be yielded, and yield it afterwards."
        )
    return result


def _by_itself(alias: str, call: Callable[[], T]) -> T:
    """Not `atomic()`, inside of which the call could not have a durable block of its own."""
    connection = connections[alias]
    if not connection.in_atomic_block or connection.get_rollback():
        return call()
    savepoint = connection.savepoint()
    if savepoint is None:  # this database has none
        return call()
    try:
        value = call()
        connection.savepoint_commit(savepoint)
    except BaseException:
        connection.set_rollback(False)
        connection.savepoint_rollback(savepoint)
        raise
    return value
