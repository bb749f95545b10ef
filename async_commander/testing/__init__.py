"""For the tests of commands: run one synchronously, and record it in memory."""

from .commands import run_command
from .recorder import InMemoryRecorder

__all__ = ["InMemoryRecorder", "run_command"]
