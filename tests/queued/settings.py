"""Settings of worker processes: the test's database, and commands that are sent to them."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import ASYNC_COMMANDER as OURS
from tests.settings import DATABASES

if "QUEUED_DATABASE" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["QUEUED_DATABASE"]

ASYNC_COMMANDER = {
    **OURS,
    "COMMAND_PACKAGES": ["tests.queued.commands"],
    "ENGINE": os.environ.get("QUEUED_ENGINE", "worker"),
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"async_commander": {"handlers": ["stderr"], "level": "INFO"}},
}
