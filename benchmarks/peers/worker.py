"""The worker of `tasks.py`, with Django set up: `python -m benchmarks.peers.worker worker …`."""

from __future__ import annotations

import sys

import django

django.setup()

from benchmarks.peers.tasks import app  # noqa: E402 - Django first

if __name__ == "__main__":
    app.worker_main(sys.argv[1:])
