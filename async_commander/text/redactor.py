"""The one way of a text that is stored, shown, or handed to a log handler.

too long? its far end goes ─▶ made storable ─▶ secrets are hidden ─▶ cut to the bound
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .clean import keepable, plain, storable
from .credentials import Span, credentials, may_hold_credentials
from .decoding import GAPS, View, views
from .spellings import SHORT, WIDEST, folded, patterns_of, texts_of

HIDDEN = "********"
MARGIN = 2_000
"""Characters beyond a bound that are looked at, at least."""


class Redactor:
    """Hides given secrets, however they are written, and whatever looks like a credential.

    Called with a text it returns one that may be stored and shown: see `storable`. With a `bound` the text has at most
    so many characters, and a secret at its end is not cut but hidden: what is cut first is not found. All of it takes
    time in proportion to the text, or to the bound where that is shorter.
    """

    def __init__(self, secrets: Iterable[object] = ()) -> None:
        self._texts = texts = texts_of(secrets)
        self._pattern, self._broken = patterns_of(texts)
        self.reach = MARGIN + WIDEST * max(map(len, texts), default=0)
        """How many characters before, or behind, a bound are looked at: a secret that lies across it is among them."""

    def __call__(self, text: str, bound: int | None = None) -> str:
        """The text, from its beginning on."""
        if bound is None or len(text) <= bound:
            return self._hidden(storable(text), 0, None)[:bound]
        seen = storable(text[: bound + self.reach])
        # Of what was cut off unseen, a part may be left at the end: it is not shown, also where little is left else.
        last = min(bound, max(0, len(seen) - self.reach)) if len(text) > bound + self.reach else bound
        return self._hidden(seen, 0, last)[:bound]

    def line(self, text: str, bound: int) -> str:
        """The text as one plain line (see `plain`), an ellipsis at its end where it is too long."""
        if len(text) > bound or not text.isprintable() or self._pattern is not None or may_hold_credentials(text):
            return plain(self(text, 2 * bound), bound)
        return text.strip()

    def end(self, text: str, bound: int, *, cut: bool = False) -> str:
        """The last `bound` characters of the text. `cut`: its beginning is missing already."""
        seen = storable(text[-(bound + self.reach) :])
        cut = cut or len(text) > bound + self.reach
        first = max(len(seen) - bound, self.reach if cut else 0)
        return self._hidden(seen, first, None)[-bound:]

    def within(self, text: str) -> str:
        """All of a text that is data, or has colours on purpose: nothing goes but secrets and what nobody keeps."""
        return self._hidden(keepable(text), 0, None, seen=True)

    def knows(self, text: str) -> bool:
        """Whether one of the given secrets is in the text, however it is written."""
        if self._pattern is None:
            return False
        return any(True for view in views(storable(text), seen=False) for _ in self._known_in(view))

    def begun_in(self, text: str) -> int:
        """How many characters at the end of the text are the beginning of a secret; 0 where it ends with a line."""
        if text[-1:] in {"", "\n"}:
            return 0
        lengths = (
            length
            for secret in self._texts
            for length in range(min(len(secret) - 1, len(text)), SHORT - 1, -1)
            if text.endswith(secret[:length])
        )
        return max(lengths, default=0)

    def _hidden(self, text: str, first: int, last: int | None, *, seen: bool = False) -> str:
        """What is between two places of the text; a secret that lies across one of them is hidden as a whole."""
        last = len(text) if last is None else min(last, len(text))
        spans = list[Span]()
        if self._pattern is not None or may_hold_credentials(text):
            for view in views(text, seen=seen):
                spans += self._known_in(view)
                if self._pattern is not None and (mail := view.unquoted()):
                    spans += self._known_in(mail)
                spans += [view.span(*span) for span in credentials(view.text) if span[0] < span[1]]
        pieces, place = [], first
        for begin, end in _merged(spans):
            if begin >= last:
                break
            if end > place:
                pieces += [text[place:begin], HIDDEN]
                place = end
        return "".join([*pieces, text[place:last]]) if pieces or first or last < len(text) else text

    def _known_in(self, view: View) -> Iterator[Span]:
        """The secrets that were given, in one piece or broken into lines."""
        if self._pattern is not None:
            for found in self._pattern.finditer(folded(view.text)):
                yield view.span(*found.span())
        # The way back to the places in the text is made only where there is something to find.
        if self._broken is None or "\n" not in view.text or not self._broken.search(GAPS.sub("", view.text)):
            return
        if (joined := view.joined()) is not None:
            for found in self._broken.finditer(joined.text):
                yield joined.span(*found.span())


@dataclass(slots=True)
class Tail:
    """The end of a text that is written bit by bit: at least `bound` characters, at most about twice as many.

    It is kept as it came, for a secret may come in parts, and redacted as a whole.
    """

    bound: int
    redact: Redactor
    _parts: list[str] = field(default_factory=list)
    _length: int = 0
    _cut: bool = False

    def append(self, text: str) -> None:
        """Keep this too, and forget the beginning where it has become too much."""
        self._parts.append(text)
        self._length += len(text)
        kept = self.bound + self.redact.reach
        if self._length > kept + self.bound:
            self._parts = ["".join(self._parts)[-kept:]]
            self._length, self._cut = len(self._parts[0]), True

    def text(self) -> str:
        """The last `bound` characters, redacted."""
        return self.redact.end("".join(self._parts), self.bound, cut=self._cut)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Each place once, in their order; those that touch are one."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif end > begin:
            merged.append((begin, end))
    return merged


no_credentials = Redactor()
"""Hides what looks like a credential, where no secrets are known."""
