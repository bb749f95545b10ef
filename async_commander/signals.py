"""Signals of Django's about runs. Receivers may be plain functions or `async def`; what they raise is logged only.

`sender` is the command's class, or the function of a tracked one; None where a run that crashed is of no command that
can be imported. Each has `run_id` and `command`, its name. A dry run sends none, for receivers could write.
"""

from __future__ import annotations

from django.dispatch import Signal

run_started = Signal()
"""A run is open, and its row is committed. Also has `parameters`, without secrets, and `resumed` and `testing`."""

run_finished = Signal()
"""A run is over, and its row is final. Also has `result`, an `ac.RunResult`.

Sent for runs that are skipped, too, without a `run_id`, and for one that crashed by whoever notices that.
"""

item_failed = Signal()
"""An item was given up, and its row is committed: once for each, at the latest at the end of the run.

Also has `item`, `label`, `reason`, `error_kind`, `error` and `attempts`.
"""
