"""Asks the bot for the last comments of some users: `python ask.py alice bob`."""

from __future__ import annotations

import asyncio
import os
import sys

import nats


async def main(names: list[str]) -> None:
    """Print each answer as it comes."""
    connection = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    answers = await connection.subscribe(connection.new_inbox())
    for name in names:
        stream = connection.jetstream()
        await stream.publish("comments.ask", name.encode(), headers={"Answer-To": answers.subject})
    for _ in names:
        print((await answers.next_msg(timeout=30)).data.decode())
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
