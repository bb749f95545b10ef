"""python -m docserver: the standard library's documentation on 127.0.0.1, with latency and faults as told."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import sys
from pathlib import Path

from .faults import Faults
from .render import render_library
from .server import PageServer

_PAGES = Path(__file__).resolve().parent.parent / ".pages"


def main() -> None:
    """Renders the pages, if that was not done before, and serves them until it is ended."""
    options = _options()
    folder = render_library(_PAGES, pages=options.pages)
    server = PageServer(folder, options.latency, Faults(options.faults, options.seed))
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):  # whoever started this is gone
        asyncio.run(_serve(server, options.port))


async def _serve(server: PageServer, port: int) -> None:
    try:
        listening = await server.serve(port=port)
    except (OSError, OverflowError) as error:
        sys.exit(
            f"docserver: port {port} cannot be used: {error}. Give another one with --port, or 0 for any free one."
        )
    address, port = listening.sockets[0].getsockname()[:2]
    _tell(f"http://{address}:{port}/\n")  # the one line that whoever started this waits for
    await listening.serve_forever()


def _tell(line: str) -> None:
    """Past Python's own buffer, which would try once more at the end and complain."""
    os.write(sys.stdout.fileno(), line.encode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m docserver", description=__doc__)
    parser.add_argument("--port", type=int, default=8901, help="0: any free one (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.25, help="seconds before each answer (default: %(default)s)")
    parser.add_argument("--faults", type=float, default=0.02, help="share that goes wrong (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides which ones go wrong (default: %(default)s)")
    parser.add_argument("--pages", type=int, default=None, help="so many modules only (default: all)")
    options = parser.parse_args()
    if not 0 <= options.faults <= 1:
        parser.error(f"--faults {options.faults:g}: a share from 0 to 1 is needed")
    if not 0 <= options.latency < math.inf:
        parser.error(f"--latency {options.latency:g}: a time in seconds is needed")
    if options.pages is not None and options.pages < 1:
        parser.error(f"--pages {options.pages}: at least 1 is needed")
    return options


if __name__ == "__main__":
    main()
