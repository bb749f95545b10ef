"""From a page of documentation, as pydoc writes it, to what it says: plain functions, which a process pool can run."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_SUFFIX = ".html"

Attributes = list[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Page:
    """What one page says. `symbols` are the module's own names with their kind; `mentions` are names of modules."""

    title: str = ""
    summary: str = ""
    symbols: dict[str, str] = field(default_factory=dict)
    mentions: frozenset[str] = frozenset()


def read_page(html: str) -> Page:
    """What the page of one module says."""
    reader = _PageReader()
    reader.feed(html)
    reader.close()
    return Page(reader.title[:300], reader.summary.strip()[:500], reader.symbols, frozenset(reader.mentions))


def read_index(html: str) -> list[tuple[str, str]]:
    """Name and address, relative to the index, of every module that it lists."""
    reader = _PageReader()
    reader.feed(html)
    reader.close()
    return [(name, name + _SUFFIX) for name in sorted(reader.mentions)]


class _PageReader(HTMLParser):
    """Follows a page from top to bottom. pydoc marks a class by the anchor `Name`, a function by `-name`."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.summary = ""
        self.symbols: dict[str, str] = {}
        self.mentions: set[str] = set()
        self._section = ""
        self._before = ""
        self._reading = ""

    def handle_starttag(self, tag: str, attributes: Attributes) -> None:
        given = dict(attributes)
        if tag == "a":
            self._note_link(given.get("href") or "")
            self._note_anchor(given.get("name") or "")
        if not self._inside_summary(tag):
            self._reading = self._part(tag, given.get("class") or "")
        self._before = tag

    def handle_endtag(self, tag: str) -> None:
        if not self._inside_summary(tag):
            self._reading = ""

    def handle_data(self, data: str) -> None:
        if self._reading == "title":
            self.title += data
        elif self._reading == "summary":
            self.summary += data.replace("\xa0", " ")
        elif self._reading == "section":
            self._section = data
        elif self._reading == "datum":
            self.symbols.setdefault(data[:200], "data")

    def _part(self, tag: str, style: str) -> str:
        """Which part of the page the text after this tag is, or the empty string."""
        if tag == "title":
            return "title"
        if tag == "span" and style == "code" and self._before == "p" and not self.summary:
            return "summary"
        if tag == "strong" and style == "bigsection":
            return "section"
        if tag == "strong" and self._section == "Data":
            return "datum"
        return ""

    def _inside_summary(self, tag: str) -> bool:
        """Whether this tag is a link in the summary, and not its end: that is the first line's."""
        return self._reading == "summary" and tag == "a"

    def _note_link(self, href: str) -> None:
        path, _, _ = href.partition("#")
        if path.endswith(_SUFFIX) and "/" not in path:
            self.mentions.add(path.removesuffix(_SUFFIX)[:200])

    def _note_anchor(self, anchor: str) -> None:
        if anchor.startswith("-"):
            self.symbols.setdefault(anchor.removeprefix("-")[:200], "function")
        elif anchor and "-" not in anchor:
            self.symbols.setdefault(anchor[:200], "class")
