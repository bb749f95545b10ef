"""Says whether a service that some tests need can be reached: `python -m tests.services postgres`."""

from __future__ import annotations

import os
import socket
import sys

ADDRESSES = {
    "postgres": (os.environ.get("PGHOST", "127.0.0.1"), int(os.environ.get("PGPORT", "5432"))),
    "mariadb": (os.environ.get("MYSQL_HOST", "127.0.0.1"), int(os.environ.get("MYSQL_PORT", "3306"))),
}


def reachable(name: str) -> bool:
    """Whether something listens where the service is expected."""
    try:
        socket.create_connection(ADDRESSES[name], timeout=3).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    wanted = sys.argv[1]
    if not reachable(wanted):
        host, port = ADDRESSES[wanted]
        print(f"SKIPPED: no {wanted} at {host}:{port}; its tests are not run.")
        raise SystemExit(1)
