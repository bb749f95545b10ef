"""The names of `import async_commander as ac`."""

from __future__ import annotations

import pytest

import async_commander as ac


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Comand'$"):
        ac.Comand  # noqa: B018
