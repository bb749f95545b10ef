"""The names of winidjango, and of CleaningDF: change the import line, and an old command file runs.

    from async_commander.contrib.compat.winidjango import ABCBaseCommand, ImportDataBaseCommand, CleaningDF

As documented there: `add_command_arguments()`, `handle_command()`, `get_option()`, the eight built-in options, the four
steps of an import, the bulk functions, which return what they wrote.

Otherwise than there, for its users' sake: each run is kept (`ac.ManagedCommand`); `--dry_run` rolls back all that was
written, on every database; `--timeout` ends the command with a recorded failure; an import obeys `--batch_size`, and
all of its models are written or none; a saved and an unsaved object with equal fields are equal; `async def
handle_command` runs. `--delete`, `--yes`, `--threads` and `--processes` are the author's to read, as documented.

`docs/migrating.md` leads from here to `ac.ManagedCommand`, `ac.ImportCommand` and `async_commander.bulk`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .old_paths import lead_here
from .winidjango_commands import ABCBaseCommand
from .winidjango_rows import (
    MODE_CREATE,
    MODE_DELETE,
    MODE_UPDATE,
    MODES,
    BaseModel,
    bulk_create_bulks_in_steps,
    bulk_create_in_steps,
    bulk_delete_in_steps,
    bulk_method_in_steps,
    bulk_method_in_steps_atomic,
    bulk_update_in_steps,
    execute_sql,
    get_differences_between_bulks,
    get_field_names,
    get_fields,
    get_model_meta,
    get_step_chunks,
    hash_model_instance,
    multi_simulate_bulk_deletion,
    simulate_bulk_deletion,
    topological_sort_models,
)

if TYPE_CHECKING:
    from .winidjango_imports import CleaningDF, ImportDataBaseCommand

__all__ = [
    "MODES",
    "MODE_CREATE",
    "MODE_DELETE",
    "MODE_UPDATE",
    "ABCBaseCommand",
    "BaseModel",
    "CleaningDF",
    "ImportDataBaseCommand",
    "bulk_create_bulks_in_steps",
    "bulk_create_in_steps",
    "bulk_delete_in_steps",
    "bulk_method_in_steps",
    "bulk_method_in_steps_atomic",
    "bulk_update_in_steps",
    "execute_sql",
    "get_differences_between_bulks",
    "get_field_names",
    "get_fields",
    "get_model_meta",
    "get_step_chunks",
    "hash_model_instance",
    "multi_simulate_bulk_deletion",
    "simulate_bulk_deletion",
    "topological_sort_models",
]  # fmt: skip

_OLD = (
    "commands.base.base", "commands.import_data", "db.bulk", "db.fields", "db.models", "db.sql",
    "data.dataframe.cleaning",  # of winiutils
)  # fmt: skip
lead_here(__name__, *(f"{top}.{path}" for top in ("src", "core") for path in _OLD))

_GONE = {
    "get_bulk_method": "bulk_method_in_steps does what it returned",
    "flatten_bulk_in_steps_result": "nothing returns results by steps",
    "migrate_safely": "its lock is a file of one host: `manage.py migrate` once, before the processes start",
}
"""Names that are not carried, and why."""


def __getattr__(name: str) -> Any:
    if name in ("CleaningDF", "ImportDataBaseCommand"):  # which need Polars
        return getattr(import_module(f"{__package__}.winidjango_imports"), name)
    if name in _GONE:
        raise ImportError(f"winidjango's {name} has no counterpart: {_GONE[name]}.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
