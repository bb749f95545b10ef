"""Every command in one line, read from its file without running it."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING

from async_commander.text.clean import plain, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from async_commander.command.registry import CommandFile

NAME_WIDTH = 40
BROKEN = "broken: "
"""What a command is marked with whose file cannot be used."""
EMPTY = (
    "There are no commands yet. Put a class named Command into <app>/commands/<name>.py of an app in INSTALLED_APPS; "
    "it then runs as {prog} <name>."
)


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One command of the list; `broken` says why its file cannot be used."""

    app_label: str
    name: str
    summary: str = ""
    broken: str = ""


def list_commands(files: Iterable[CommandFile], clashing: Iterable[CommandFile] = ()) -> list[Line]:
    """A line for each file, by app and name. A file that cannot be read breaks its own line only.

    Files that share their name with another one are listed by what they can be called by, `app_label.name`; those that
    share that too cannot be called at all, and are listed with their paths.
    """
    clashing = list(clashing)
    shared = Counter(file.full_name for file in clashing)
    return sorted(
        [
            *(describe(file, file.name) for file in files),
            *(describe(file, file.full_name) for file in clashing if shared[file.full_name] == 1),
            *(
                Line(file.app_label, file.full_name, broken=f"another one gives this name too, rename one: {file.path}")
                for file in clashing
                if shared[file.full_name] > 1
            ),
        ]
    )


def describe(file: CommandFile, name: str) -> Line:
    """The line of one command."""
    try:
        tree = ast.parse(file.path.read_bytes(), filename=str(file.path))
    except SyntaxError as error:
        return Line(file.app_label, name, broken=f"{error.msg}, line {error.lineno}" if error.lineno else error.msg)
    except (OSError, ValueError) as error:
        return Line(file.app_label, name, broken=str(error))
    return Line(file.app_label, name, summary=first_sentence(help_in(tree)), broken=_lacking(tree))


def _lacking(tree: ast.Module) -> str:
    """Why a file that can be read is no command, as far as that is seen without running it."""
    bound: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound.update(target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound.update(alias.asname or alias.name for alias in node.names)
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            missing = [one for one in modules if one and not getattr(node, "level", 0) and not _is_there(one)]
            if missing:
                return f"there is no module {missing[0]}, line {node.lineno}"
    may_be_bound = any(isinstance(node, ast.If | ast.Try | ast.With) for node in tree.body) or "*" in bound
    return "" if "Command" in bound or may_be_bound else "there is no class named Command in it"


def _is_there(module: str) -> bool:
    """Whether a module can be found. Nothing is imported for it: only packages that are loaded already are asked."""
    parts = module.split(".")
    for number in range(1, len(parts) + 1):
        name, package = ".".join(parts[:number]), ".".join(parts[: number - 1])
        if package and package not in sys.modules:
            return True
        try:
            if name not in sys.modules and find_spec(name) is None:
                return False
        except (ImportError, ValueError, AttributeError):
            return True
    return True


def help_in(tree: ast.Module) -> str:
    """`help` of the class named Command, else its docstring, else the module's."""
    docstring = ast.get_docstring(tree) or ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Command":
            for statement in node.body:
                if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Constant):
                    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                    names = [target.id for target in targets if isinstance(target, ast.Name)]
                    if "help" in names and isinstance(statement.value.value, str) and statement.value.value:
                        return statement.value.value
            return ast.get_docstring(node) or docstring
    return docstring


def first_sentence(text: str) -> str:
    """The first line of a docstring, without its full stop."""
    lines = text.strip().splitlines()
    return plain(lines[0]).removesuffix(".") if lines else ""


def render(lines: Sequence[Line], *, prog: str, width: int) -> list[str]:
    """The list as it is shown: a block per app, names and summaries in columns, nothing wider than `width`."""
    if not lines:
        return [EMPTY.format(prog=prog)]
    column = min(max(len(line.name) for line in lines), NAME_WIDTH)
    shown: list[str] = []
    for app_label, group in groupby(lines, key=lambda line: line.app_label):
        shown.append(f"[{app_label}]")
        for line in group:
            text = f"{BROKEN}{plain(line.broken)}" if line.broken else line.summary
            shown.append(shorten(f"  {line.name.ljust(column)}  {text}".rstrip(), width))
        shown.append("")
    return [*shown, f"{prog} NAME --help shows what a command takes."]
