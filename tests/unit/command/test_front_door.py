"""The names of `import async_commander as ac`."""

from __future__ import annotations

import pytest

import async_commander as ac


@pytest.mark.parametrize("name", ["ImportCommand", "DependsOn", "cached", "astream", "tracked", "run_finished"])
def test_a_name_of_a_later_release_is_told_as_such(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}' yet: it is planned, and not part of this release"):
        getattr(ac, name)


def test_a_name_of_no_release_is_not() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Comand'$"):
        ac.Comand  # noqa: B018
