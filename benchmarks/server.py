"""python -m benchmarks.server: pages of 20 KB with a hundred links each, as fast as an event loop can send them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from typing import cast

from .loops import new_event_loop

PAGE_SIZE = 20_000
LINKS = 100
LINKED_PAGES = 10_000
_WORDS = (
    "words",
    "that",
    "stand",
    "for",
    "the",
    "text",
    "which",
    "a",
    "page",
    "would",
    "have",
    "between",
    "two",
    "links",
)


class Answering(asyncio.Protocol):
    """One connection: an answer for every request on it, each after the same latency."""

    def __init__(self, latency: float, body: bytes) -> None:
        self.latency = latency
        self.body = body
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way back to the client."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Answers each request that is complete by now."""
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            answer = self._answer(head.split(b" ", 2)[1].rpartition(b"/")[2])
            if self.latency:
                self.loop.call_later(self.latency, self.transport.write, answer)
            else:
                self.transport.write(answer)

    def _answer(self, number: bytes) -> bytes:
        top = b"<!DOCTYPE html>\n<title>Page " + number + b" &amp; more</title>\n"
        length = str(len(top) + len(self.body)).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: " + length + b"\r\n\r\n"
        return head + top + self.body


def page_body() -> bytes:
    """Words and links, the same on every page and in every run."""
    dice = random.Random(20)
    words_per_link = (PAGE_SIZE // LINKS - 40) // 5
    parts = [
        f'<p><a href="/page/{dice.randrange(LINKED_PAGES)}">{dice.choice(_WORDS)}</a> '
        + " ".join(dice.choices(_WORDS, k=words_per_link))
        for _ in range(LINKS)
    ]
    return "\n".join(parts).encode().ljust(PAGE_SIZE)[:PAGE_SIZE]


async def serve(latency: float) -> None:
    """Serves on a free port of 127.0.0.1, whose address is printed, until the process is ended."""
    body = page_body()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(latency, body), "127.0.0.1", 0, backlog=1024)
    address, port = server.sockets[0].getsockname()[:2]
    print(f"http://{address}:{port}/", flush=True)
    await server.serve_forever()


def main() -> None:
    """Reads the latency and serves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    latency = parser.parse_args().latency
    with asyncio.Runner(loop_factory=new_event_loop) as runner, contextlib.suppress(KeyboardInterrupt):
        runner.run(serve(latency))


if __name__ == "__main__":
    main()
