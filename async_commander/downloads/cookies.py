"""Cookies that live as long as the item that they were set in."""

from __future__ import annotations

from typing import Any

import httpx


class ItemCookies(httpx.Cookies):
    """The cookies of one item. They begin as those of the client, and are copied when they are first needed."""

    def __init__(self, begin: httpx.Cookies) -> None:  # the jar is made by __getattr__
        self._begin = begin

    def __getattr__(self, name: str) -> Any:
        if name != "jar":
            raise AttributeError(name)
        self.jar = httpx.Cookies(self._begin).jar
        return self.jar

    def __bool__(self) -> bool:
        return super().__bool__() if "jar" in vars(self) else bool(self._begin)
