"""Settings of the suite. `DATABASE=sqlite|postgres|mariadb` chooses where it runs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import django

SUFFIX = os.environ.get("TEST_DATABASE_SUFFIX", "")
BASE = Path(os.environ.get("TEST_DIRECTORY", tempfile.gettempdir()))


def sqlite() -> dict[str, Any]:
    """A file database as the documentation asks for it: WAL, immediate transactions, a patient time-out."""
    path = BASE / f"async_commander_test_{os.getuid()}{SUFFIX}_{os.getpid()}.sqlite3"
    path = Path(os.environ.get("SQLITE_PATH", path))
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": path},
    }


def postgres() -> dict[str, Any]:
    """The local PostgreSQL, or the one that PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE name."""
    name = os.environ.get("PGDATABASE", "test")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "PORT": os.environ.get("PGPORT", "5432"),
        "USER": os.environ.get("PGUSER", "postgres"),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        "NAME": name,
        "TEST": {"NAME": f"test_{name}{SUFFIX}"},
    }


def mariadb() -> dict[str, Any]:
    """The local MariaDB, or the one that MYSQL_HOST, MYSQL_PORT, MYSQL_USER and MYSQL_PASSWORD name."""
    import pymysql

    # Django asks for mysqlclient's version number; PyMySQL speaks the same interface without a compiler.
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": os.environ.get("MYSQL_HOST", "127.0.0.1"),
        "PORT": os.environ.get("MYSQL_PORT", "3306"),
        "USER": os.environ.get("MYSQL_USER", "root"),
        "PASSWORD": os.environ.get("MYSQL_PASSWORD", ""),
        "NAME": "test",
        "TEST": {"NAME": f"test_async_commander{SUFFIX}"},
        "OPTIONS": {"charset": "utf8mb4"},
    }


DATABASE = os.environ.get("DATABASE", "sqlite")
DATABASES = {"default": {"sqlite": sqlite, "postgres": postgres, "mariadb": mariadb}[DATABASE]()}

SECRET_KEY = "only for the tests of async_commander"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "async_commander",
    "async_commander.contrib.compat",
    "tests.testapp",
    "django_tasks_db",
    *(["procrastinate.contrib.django"] if DATABASE == "postgres" else []),
]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ASYNC_COMMANDER: dict[str, Any] = {"INTERNAL_HOSTS": ["127.0.0.0/8", "localhost"]}
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
