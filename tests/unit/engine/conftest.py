"""Each engine test runs on asyncio (also with eager tasks) and on trio, with a clock that jumps to whatever is next."""

from __future__ import annotations

import asyncio
import selectors
import sys
from typing import Any

import pytest
from trio.testing import MockClock


class JumpingSelector(selectors.DefaultSelector):
    """Looks for real events; where there are none, moves the loop's clock on instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.turns += 1
        if timeout is None:  # no timer is set: only another thread could wake this loop
            return super().select(5.0) or pytest.fail("the loop would wait for ever", pytrace=False)
        events = super().select(0)
        if not events:
            self.now += max(0.0, timeout)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop without waiting. `turns` counts its iterations, so that a busy wait can be told."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    @property
    def turns(self) -> int:
        return self._jumping.turns


class EagerLoop(JumpingLoop):
    """The same with tasks that start at once."""

    def __init__(self) -> None:
        super().__init__()
        self.set_task_factory(asyncio.eager_task_factory)


def _backends() -> list[str]:
    return ["asyncio", "trio"] if sys.version_info < (3, 12) else ["asyncio", "eager", "trio"]


@pytest.fixture(params=_backends())
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {"clock": MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": EagerLoop if request.param == "eager" else JumpingLoop}
