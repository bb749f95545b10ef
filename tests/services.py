"""Whether a service that some tests need can be reached."""

from __future__ import annotations

import os
import socket

ADDRESSES = {
    "postgres": (os.environ.get("PGHOST", "127.0.0.1"), int(os.environ.get("PGPORT", "5432"))),
    "redis": (os.environ.get("REDIS_HOST", "127.0.0.1"), int(os.environ.get("REDIS_PORT", "6379"))),
    "rabbitmq": (os.environ.get("RABBITMQ_HOST", "127.0.0.1"), int(os.environ.get("RABBITMQ_PORT", "5672"))),
    "mariadb": (os.environ.get("MYSQL_HOST", "127.0.0.1"), int(os.environ.get("MYSQL_PORT", "3306"))),
}


def reachable(name: str) -> bool:
    """Whether something listens where the service is expected."""
    try:
        socket.create_connection(ADDRESSES[name], timeout=3).close()
    except OSError:
        return False
    return True


def absence(name: str) -> str:
    """Why the tests of a service are not run; nothing where it is there."""
    if reachable(name):
        return ""
    host, port = ADDRESSES[name]
    return f"SKIPPED: no {name} at {host}:{port}; its tests are not run."
