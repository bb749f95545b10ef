"""For the tests of commands, with pytest or without: run one, see what is stored of it, interrupt it and crash it."""

from .assertions import assert_dead, assert_done, assert_skipped, assert_succeeded
from .commands import arun_command, run_command
from .recorder import InMemoryRecorder
from .responses import Responses, UnexpectedRequest, canned_responses
from .runs import CommandRun, LedgerItem

__all__ = [
    "CommandRun",
    "InMemoryRecorder",
    "LedgerItem",
    "Responses",
    "UnexpectedRequest",
    "arun_command",
    "assert_dead",
    "assert_done",
    "assert_skipped",
    "assert_succeeded",
    "canned_responses",
    "run_command",
]
