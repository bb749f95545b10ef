"""What may be put on a future."""

from __future__ import annotations


def fit_for_a_future(error: BaseException) -> BaseException:
    """The error, or what to set in its place: who awaits a StopIteration would never be told, and wait for ever."""
    if not isinstance(error, StopIteration):
        return error
    fit = RuntimeError("the function raised StopIteration")
    fit.__cause__ = error
    return fit
