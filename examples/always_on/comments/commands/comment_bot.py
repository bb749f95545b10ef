"""The bot: `manage.py arun comment_bot`, for ever. Who asks sends a user's name to `comments.ask`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import nats
from comments.models import Comment
from django.conf import settings
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

import async_commander as ac

ASK = "comments.ask"
ANSWER_TO = "Answer-To"
"""The header that says where the answer goes."""


class Command(ac.DownloadIterateCommand[Client, Msg]):
    """Answer each question with the last comment of the user whom it names."""

    ack_wait: Annotated[float, ac.Option(identity=False, help="seconds after which an open question comes again")] = 30

    always_on = True
    single_instance = True
    limits = ac.Limits(threads=50)

    async def download(self) -> Client:
        self.connection = await nats.connect(
            settings.NATS_URL, max_reconnect_attempts=-1, reconnect_time_wait=0.5, error_cb=self._noticed
        )
        return self.connection

    async def _noticed(self, error: Exception) -> None:
        self.log.info("the connection to the broker: %s", error)

    async def iterate(self, connection: Client) -> AsyncIterator[Msg]:
        try:
            stream = connection.jetstream()
            await stream.add_stream(name="COMMENTS", subjects=[ASK])
            config = ConsumerConfig(ack_wait=self.ack_wait)
            questions = await stream.pull_subscribe(ASK, durable="comment_bot", config=config)
            while True:
                try:
                    messages = await questions.fetch(batch=100, timeout=5)
                except nats.errors.TimeoutError:
                    continue  # nobody has asked anything
                for message in messages:
                    yield message
        finally:
            await connection.close()

    async def parse_and_save(self, question: Msg) -> str:
        username = question.data.decode()
        comment = await Comment.objects.filter(user__username=username).order_by("-timestamp", "-pk").afirst()
        if comment is None:
            return f"No comments found for user {username}"
        return f"Last comment for {username} was {comment.text}"

    async def committed(self, question: Msg, answer: str) -> None:
        if where := (question.headers or {}).get(ANSWER_TO):
            await self.connection.publish(where, answer.encode())
        await question.ack()

    def should_retry(self, error: Exception) -> bool:
        return isinstance(error, nats.errors.Error) or super().should_retry(error)
