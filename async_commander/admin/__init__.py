"""The history in the admin: to be read, not written. Django imports this package to have its pages registered."""

from . import items, log, objects, runs

__all__ = ["items", "log", "objects", "runs"]
