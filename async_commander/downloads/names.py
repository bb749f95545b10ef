"""Looking up host names, on threads that nothing else waits for."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from async_commander.engine.threads import DaemonThreads

_MOST_THREADS = 32


class ThreadResolver(AbstractResolver):
    """The system's resolver, for up to 32 names at once.

    The loop's own executor has a handful of threads on a small machine, and is waited for when the loop ends: a few
    slow name servers would hold back every download and the end of the run.
    """

    def __init__(self, threads: int) -> None:
        self._pool = DaemonThreads(min(threads, _MOST_THREADS), name="async-commander-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name, in the order in which they are to be tried; OSError where there are none."""
        look_up = partial(
            socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=getattr(socket, "AI_ADDRCONFIG", 0)
        )
        found = await asyncio.get_running_loop().run_in_executor(self._pool, look_up)
        return [
            ResolveResult(
                hostname=host, host=str(where[0]), port=port, family=family, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for family, _, protocol, _, where in found
        ]

    async def close(self) -> None:
        """Let the threads go: nobody waits for a slow name server any more."""
        self._pool.shutdown()
