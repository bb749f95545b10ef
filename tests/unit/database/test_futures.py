"""Errors on their way through a future."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from async_commander.database.lent_lane import Call
from async_commander.engine.threads import fit_for_a_future


def test_every_error_but_one_goes_as_it_is() -> None:
    error = LookupError("plain")
    assert fit_for_a_future(error) is error
    stop = StopIteration(5)
    fit = fit_for_a_future(stop)
    assert isinstance(fit, RuntimeError)
    assert fit.__cause__ is stop


@pytest.mark.asyncio
async def test_who_awaits_a_call_is_told_of_stop_iteration() -> None:
    call = Call(lambda: next(iter([])))
    waiting = asyncio.wrap_future(call.future)
    call.run()
    with anyio.fail_after(10), pytest.raises(RuntimeError, match="raised StopIteration") as raised:
        await waiting
    assert isinstance(raised.value.__cause__, StopIteration)
