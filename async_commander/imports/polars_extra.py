"""Polars, which only this room needs, or an error that says how to get it."""

try:
    import polars as pl
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "Data imports need Polars, which is not installed: pip install 'async-commander[polars]'", name="polars"
    ) from missing

__all__ = ["pl"]
