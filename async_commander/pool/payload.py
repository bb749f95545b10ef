"""What crosses the pipe to a pool process and back: calls, results, errors.

Pickle is used between a process and the children it started itself, never for anything that is kept or sent further.
"""

from __future__ import annotations

import inspect
import pickle
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from async_commander.text.clean import last_lines

if TYPE_CHECKING:
    from collections.abc import Callable

REMEDY: Final = "pass a function defined at the top of an importable module, and plain data"
MAX_TRACEBACK: Final = 20_000
"""Characters of a remote traceback that are kept: the end, where the error is."""


class UnpicklablePayload(TypeError):
    """A function, an argument or a result cannot travel between processes; the message names it and the remedy."""


class RemoteTraceback(Exception):
    """The traceback of a pool process, as text: the `__cause__` of the error that it belongs to."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(Exception):
    """A function in a pool process raised an error that cannot be raised here.

    It does not travel, or would be taken for a cancellation of the caller. The message has its type and text, the
    cause its traceback.
    """


def name_of(function: object) -> str:
    """How messages call a function."""
    return getattr(function, "__qualname__", None) or type(function).__qualname__


def dump_call(function: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """The call as bytes. Raises UnpicklablePayload, or TypeError for what is no plain function."""
    if not callable(function):
        raise TypeError(f"{function!r} is not callable: {REMEDY}")
    name = name_of(function)
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} is an async def, a pool runs plain functions: await it directly, or pass a def")
    if getattr(function, "__module__", None) == "__main__":
        raise UnpicklablePayload(
            f"function {name} is defined in the script that was started (__main__), "
            "which pool processes never run: move it to an importable module"
        )
    try:
        return pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if found := _why_not(function):
            message = f"function {name} cannot be sent to a pool process ({found}): {REMEDY}"
            raise UnpicklablePayload(message) from error
        for position, value in enumerate(args, start=1):
            if found := _why_not(value):
                what = f"argument {position} of {name}, a {type(value).__qualname__},"
                message = f"{what} cannot be sent to a pool process ({found}): pass plain data"
                raise UnpicklablePayload(message) from error
        message = f"the arguments of {name} cannot be sent to a pool process: pass plain data"
        raise UnpicklablePayload(message) from error


def _why_not(value: object) -> str:
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - pickling runs the objects' own code
        return text_of(error)
    return ""


def load(body: bytes) -> Any:
    """In the child: the call that `dump_call` made. Raises UnpicklablePayload for what cannot be found there."""
    try:
        return pickle.loads(body)  # noqa: S301 - between a process and its own child
    except Exception as error:
        raise UnpicklablePayload(
            f"a function or its arguments could not be loaded in the pool process ({text_of(error)}): {REMEDY}"
        ) from error


def dump_result(function: Callable[..., Any], result: object) -> bytes:
    """The result as bytes. Raises UnpicklablePayload."""
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"{name_of(function)} returned a coroutine: a pool process runs plain functions")
    try:
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise UnpicklablePayload(
            f"the result of {name_of(function)}, a {type(result).__qualname__}, cannot be sent back "
            f"({text_of(error)}): return plain data"
        ) from error


def load_result(body: bytes | bytearray, name: str) -> Any:
    """The result that `dump_result` made. Raises UnpicklablePayload, whatever the result's own code raises here."""
    try:
        return pickle.loads(body)  # noqa: S301 - between a process and its own child
    except BaseException as error:
        raise UnpicklablePayload(
            f"the result of {name} could not be loaded here ({text_of(error)}): return plain data"
        ) from error


def dump_error(error: BaseException) -> bytes:
    """The error as bytes; always possible."""
    try:
        trace = last_lines("".join(traceback.format_exception(error)), MAX_TRACEBACK)
    except Exception:  # noqa: BLE001 - an error with a broken __str__ is still an error
        trace = f"{text_of(error)} (its traceback cannot be formatted)\n"
    exception = None
    # Others would mean something else here: the end of the run, of a thread, or of a coroutine.
    if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration | MemoryError):
        with suppress(BaseException):  # pickling runs the error's own code
            body = pickle.dumps(error.with_traceback(None), pickle.HIGHEST_PROTOCOL)
            pickle.loads(body)  # noqa: S301 - between a process and its own child
            exception = body
    return pickle.dumps((text_of(error), trace, exception), pickle.HIGHEST_PROTOCOL)


def load_error(body: bytes | bytearray, name: str) -> BaseException:
    """The error that `dump_error` made, with the remote traceback as its cause; RemoteError where it did not travel."""
    text, trace, exception = pickle.loads(body)  # noqa: S301 - between a process and its own child
    error: BaseException | None = None
    if exception is not None:
        with suppress(BaseException):  # the same
            error = pickle.loads(exception)  # noqa: S301 - between a process and its own child
    if not isinstance(error, Exception):
        error = RemoteError(f"{name} raised {text}")
    error.__cause__ = RemoteTraceback(trace)
    return error


def text_of(error: BaseException) -> str:
    """Type and text of an error, whatever its `__str__` does."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the same
        text = "(its text cannot be formatted)"
    kind = type(error).__qualname__
    return f"{kind}: {text}" if text else kind
