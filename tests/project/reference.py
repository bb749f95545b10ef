"""The rows about bounds in the reference, made from the table. `python -m tests.project.reference` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from async_commander.command.options import BY_NAME, SharedOption
from async_commander.engine.limits import BOUNDS, Bound
from async_commander.management.options import flags_of, metavar_of

DOCS = Path(__file__).parents[2] / "docs"
LIMITS = ("commands.md", "| `ac.Limits(…)` | default | |")
OPTIONS = ("running.md", "| option | |")
IN_CODE = ("running.md", "Some options exist in code only:\n\n| option | |")


def table(page: str, head: str) -> list[str]:
    """The rows of the table that begins with this line."""
    return (DOCS / page).read_text().partition(head)[2].partition("\n\n")[0].splitlines()[2:]


def in_code(text: str) -> str:
    """With names of code as the pages write them."""
    return re.sub(r"self\.\w+|(?<![\w`])\d+%", r"`\g<0>`", text)


def told_of(one: Bound | SharedOption) -> str:
    """What it is for commands with items, and for those without."""
    return f"{one.help}; for a command without items, {one.plain_help}" if one.plain_help else one.help


def limit_row(name: str, bound: Bound) -> str:
    """A bound as a keyword of `ac.Limits()`."""
    plain = "none" if bound.default is None else f"`{bound.default!r}`".replace("'", '"')
    told = "; ".join(filter(None, [told_of(bound), bound.note]))
    return f"| `{name}` | {bound.counted or plain} | {in_code(told)} |"


def option_row(option: SharedOption) -> str:
    """A bound as an option of the command line."""
    return f"| `{flags_of(option)} {metavar_of(option)}` | {in_code(told_of(option))} |"


def limit_rows() -> list[str]:
    """What the table of `ac.Limits()` is."""
    return [limit_row(name, bound) for name, bound in BOUNDS.items()]


def option_rows() -> list[str]:
    """What the table of options begins with."""
    return [option_row(BY_NAME[name]) for name, bound in BOUNDS.items() if bound.written]


def write(page: str, head: str, rows: list[str], known: set[str]) -> None:
    """Put these rows in the place of those whose first cell names a bound."""
    whole = (DOCS / page).read_text()
    before, _, after = whole.partition(head)
    rule, *old = after.partition("\n\n")[0].splitlines()[1:]
    kept = [row for row in old if not known & set(re.findall(r"`(?:--)?([\w-]+)", row.split("|")[1]))]
    new = "\n".join([head, rule, *rows, *kept])
    (DOCS / page).write_text(f"{before}{new}\n\n{after.partition(chr(10) * 2)[2]}")


if __name__ == "__main__":
    import django

    django.setup()
    from tests.project import reference_pages

    reference_pages.write()
    write(*LIMITS, limit_rows(), set(BOUNDS))
    write(*OPTIONS, option_rows(), {name.replace("_", "-") for name in BOUNDS})
