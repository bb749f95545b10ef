"""`make messages`: the texts of the admin's pages into async_commander/locale/, for translators, and compiled.

Texts that stand in tables of the package and are shown in the admin, too (the help of options, states, reasons), are
written to a file for as long as xgettext reads it: the tables know nothing of languages.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import django
from django.core.management import call_command

LOCALE = Path(__file__).parents[2] / "async_commander" / "locale"
TEXTS = LOCALE.parent / "_texts.py"


def texts() -> list[str]:
    """What the tables say and the admin shows."""
    from async_commander.admin.drawing import STAGES
    from async_commander.admin.forms import OFFERED
    from async_commander.admin.items import REASONS
    from async_commander.command.options import BY_NAME
    from async_commander.command.values import PLAIN
    from async_commander.engine.limits import BOUNDS
    from async_commander.results import AT_WORK, ItemState, ObjectAction, RunStatus

    told = [BY_NAME[name].help for name in (*OFFERED, *BOUNDS)]
    told += [kind.allowed for kind in PLAIN.values()]
    told += [*RunStatus, *ItemState, *ObjectAction, "paused", *(f"{status}, no sign of life" for status in AT_WORK)]
    told += [reason.replace("_", " ") for reason in REASONS] + [stage for stage, _ in STAGES] + ["item"]
    told += ["terminal", "call", "view", "admin", "task", "schedule", "dependency", "shard", "yes", "no", "none"]
    return [str(text) for text in dict.fromkeys(told) if text]


def main() -> None:
    """Write the catalogue, and compile it."""
    os.chdir(LOCALE.parent)
    noted = "\n".join(f"gettext_noop({text!r})" for text in texts())
    try:
        TEXTS.write_text(f"from django.utils.translation import gettext_noop\n{noted}\n")
        call_command("makemessages", locale=["de"], no_location=True, no_obsolete=True, verbosity=0)
    finally:
        TEXTS.unlink()
    for path in LOCALE.glob("*/LC_MESSAGES/django.po"):
        path.write_text(re.sub(r'"(POT-Creation-Date|PO-Revision-Date): .*\n', "", path.read_text()))
    call_command("compilemessages", verbosity=0)


if __name__ == "__main__":
    django.setup()
    main()
