"""Django's settings for every contender: the database is chosen by the environment."""

from __future__ import annotations

import os
from typing import Any

SECRET_KEY = "only-for-benchmarks"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "async_commander",
    "benchmarks",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ASYNC_COMMANDER = {"INTERNAL_HOSTS": ["127.0.0.1"]}

_SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": os.environ.get("BENCHMARK_SQLITE", "benchmarks.sqlite3"),
    "OPTIONS": {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "transaction_mode": "IMMEDIATE",
        "timeout": 60,
    },
}
POSTGRES: dict[str, Any] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": os.environ.get("BENCHMARK_POSTGRES", "async_commander_benchmarks"),
    "HOST": os.environ.get("PGHOST", "127.0.0.1"),
    "PORT": os.environ.get("PGPORT", "5432"),
    "USER": os.environ.get("PGUSER", "postgres"),
    "PASSWORD": os.environ.get("PGPASSWORD", ""),
}

DATABASES = {"default": POSTGRES if os.environ.get("BENCHMARK_DATABASE") == "postgres" else _SQLITE}
