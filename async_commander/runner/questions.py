"""A question that a run asks: at the terminal where a person is there, else in its row, to be answered from outside."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from async_commander.engine.charging import uncharged
from async_commander.exceptions import AsyncCommanderError
from async_commander.results import Asked

from .threads import a_person_is_there, is_yes, typed_line

if TYPE_CHECKING:
    from async_commander.engine.context import RunContext
    from async_commander.history.recorder import Recorder
    from async_commander.text.redactor import Redactor

    from .output import Output
    from .reporting import Reporter
    from .request import RunRequest

_IN_A_REQUEST = frozenset({"view", "admin"})
"""Triggers of runs that nobody at a terminal has asked for, also where the server has one."""
_ON_A_LINE = frozenset({"terminal", "shard"})
"""Of those that a command line has begun, where options are spelt with dashes."""


class Questions:
    """Those of one run. A request to stop answers them with no."""

    def __init__(
        self,
        request: RunRequest,
        context: RunContext,
        *,
        recorder: Recorder,
        reporter: Reporter,
        output: Output,
        redact: Redactor,
    ) -> None:
        self._request = request
        self._context = context
        self._recorder = recorder
        self._reporter = reporter
        self._output = output
        self._redact = redact
        self._one_at_a_time = anyio.Lock()
        self._bell: anyio.Event | None = None
        self._answer: Asked | None = None

    async def ask(self, text: str) -> bool:
        """Whether a person agrees. How long that takes is not charged to the item in hand.

        Raises AsyncCommanderError where nobody can be asked: there is no terminal, and the run is not to wait.
        """
        trigger, in_a_worker = self._request.trigger, self._request.queued is not None
        with uncharged():
            if a_person_is_there() and trigger not in _IN_A_REQUEST and not in_a_worker:
                return await self._ask_here(text)
            how = self._request.ask or ("wait" if in_a_worker else "fail")
            if how == "fail" or not self._recorder.can_be_answered:
                yes, wait = ("--yes", "--ask wait") if trigger in _ON_A_LINE else ("yes=True", 'ask="wait"')
                remedy = f"{wait} has the run wait until somebody answers it."
                if not self._recorder.can_be_answered:
                    remedy = "The run cannot wait for an answer: nobody sees it, in a transaction or without a record."
                raise AsyncCommanderError(f"“{text}” cannot be asked without a terminal. Give {yes} to agree. {remedy}")
            async with self._one_at_a_time:
                return await self._ask_outside(text or "?")

    def answered(self, answer: Asked) -> None:
        """Somebody has answered, in the run's row."""
        if self._bell is not None:
            self._answer = answer
            self._bell.set()

    async def _ask_here(self, text: str) -> bool:
        answer, stderr = "", self._output.stderr
        self._reporter.asks(text or "?")
        try:
            stderr.write(f"{text} [y/N] ", ending="")
            stderr.flush()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_leave_at, self._context.stop_asked, tasks.cancel_scope)
                answer = await typed_line()
                tasks.cancel_scope.cancel()
        finally:
            self._reporter.asks("")
        return is_yes(answer) and not self._context.stopping

    async def _ask_outside(self, text: str) -> bool:
        context, reporter = self._context, self._reporter
        if context.stopping:
            return False
        self._answer, self._bell = None, anyio.Event()
        question = self._redact(text)
        await self._recorder.asks(question)
        told = f"Waiting for an answer: “{question}” (aruns answer {context.run_id} yes|no)"
        reporter.message(told, logging.WARNING)
        reporter.stage(f"waiting for an answer: {question}")
        try:
            async with anyio.create_task_group() as tasks:
                for word in (self._bell, context.stop_asked):
                    tasks.start_soon(_leave_at, word, tasks.cancel_scope)
        finally:
            self._bell = None
            if not context.stopping:
                reporter.stage("paused" if context.paused else "")
            with anyio.CancelScope(shield=True):
                await self._recorder.asks("")
        answer: Asked | None = self._answer
        if answer is not None:
            reporter.message(f"“{question}” was answered with {'yes' if answer.to else 'no'}{answer.who}.")
        return answer is not None and bool(answer.to) and not context.stopping


async def _leave_at(word: anyio.Event, scope: anyio.CancelScope) -> None:
    await word.wait()
    scope.cancel()
