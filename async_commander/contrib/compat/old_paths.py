"""The old modules below each package's name lead to our one: an import line is changed by what stands before it."""

from __future__ import annotations

import sys


def lead_here(module: str, *paths: str) -> None:
    """Let `import <module>.<path>` give the module itself, for each of these paths and what is above it.

    The import system asks `sys.modules` again after it has loaded the parent, and sets no attribute then: a path may
    have the name of something in the module.
    """
    for path in paths:
        parts = path.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join([module, *parts[:end]]), sys.modules[module])
