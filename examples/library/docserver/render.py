"""The standard library's documentation as pydoc renders it, one file per module, kept for the next start."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import multiprocessing
import pkgutil
import pydoc
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from html import escape
from itertools import repeat
from pathlib import Path

INDEX = "index.html"

# Importing these prints, opens a window or a browser, or needs a display's libraries; tests document themselves.
_LEFT_OUT = frozenset(
    {"__hello__", "__main__", "__phello__", "antigravity", "idlelib", "lib2to3", "test", "this", "tkinter", "_tkinter"}
    | {"turtle", "turtledemo"}
)
_LEFT_OUT_BEGINNINGS = ("_test", "_xx", "xx")
_LEFT_OUT_PARTS = frozenset({"__main__", "test", "tests"})


def render_library(folder: Path, *, pages: int | None = None) -> Path:
    """The folder with every page and an index. What an earlier call has rendered is not rendered again.

    `pages`: only so many modules. Raises OSError where the folder cannot be written.
    """
    version = ".".join(map(str, sys.version_info[:3]))
    folder = folder / f"{version}-{pages or 'all'}"
    if not (folder / INDEX).exists():  # the index is written last: a folder that has one is whole
        folder.mkdir(parents=True, exist_ok=True)
        rendered = _render_on_every_core(_spread(sorted(_candidates()), pages), folder)
        (folder / INDEX).write_text(_index(rendered), encoding="utf-8")
    return folder


def render_module(name: str) -> str | None:
    """The page of one module, or None where it cannot be imported here (another system's, or an optional one)."""
    with warnings.catch_warnings(), _silence():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(name)
            html = pydoc.HTMLDoc()
            return html.page(pydoc.describe(module), html.document(module, name))
        except (Exception, SystemExit):  # noqa: BLE001 - an import may raise anything
            return None


def _candidates() -> Iterator[str]:
    """Names of modules that may be imported, and of the modules in those that are packages."""
    for name in sys.stdlib_module_names - _LEFT_OUT:
        if name.startswith(_LEFT_OUT_BEGINNINGS):
            continue
        yield name
        for folder in _folders_of(name):
            yield from _modules_in(folder, name)


def _folders_of(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in spec.submodule_search_locations or []] if spec else []


def _modules_in(folder: Path, package: str) -> Iterator[str]:
    for module in pkgutil.iter_modules([str(folder)]):
        if module.name in _LEFT_OUT_PARTS:
            continue
        yield f"{package}.{module.name}"
        if module.ispkg:
            yield from _modules_in(folder / module.name, f"{package}.{module.name}")


def _spread(names: Sequence[str], count: int | None) -> list[str]:
    """So many of the names, evenly from the first to the last."""
    if count is None or count >= len(names):
        return list(names)
    return [names[index * len(names) // count] for index in range(count)]


def _render_on_every_core(names: Sequence[str], folder: Path) -> list[str]:
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        done = pool.map(_render_to_file, names, repeat(folder), chunksize=8)
        return [name for name in done if name]


def _render_to_file(name: str, folder: Path) -> str | None:
    html = render_module(name)
    if html is None:
        return None
    (folder / f"{name}.html").write_text(html, encoding="utf-8", errors="replace")
    return name


def _index(names: Iterable[str]) -> str:
    links = "\n".join(f'<li><a href="{escape(name)}.html">{escape(name)}</a></li>' for name in names)
    return f"<!DOCTYPE html>\n<title>The standard library</title>\n<ul>\n{links}\n</ul>\n"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
