"""Blocking clients, as old commands have them."""

from __future__ import annotations

from urllib.request import urlopen

from django.conf import settings


def page_about(name: str) -> str:
    """What the encyclopedia says."""
    with urlopen(f"{settings.OUTSIDE_URL}/page/{name}") as answer:
        return answer.read().decode()


def send_mail(address: str) -> None:
    """Notify somebody."""
    urlopen(f"{settings.OUTSIDE_URL}/mail", data=address.encode()).close()


class Message:
    """One message to the bot."""

    def __init__(self, contents: str) -> None:
        self.contents = contents

    def reply(self, text: str) -> None:
        """Answer it."""
        urlopen(f"{settings.OUTSIDE_URL}/reply", data=text.encode()).close()


class Connection:
    """A bot's connection to WhatsSignaGram."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def next_message(self) -> Message:
        """The next message; waits for it."""
        with urlopen(f"{settings.OUTSIDE_URL}/message") as answer:
            return Message(answer.read().decode())
