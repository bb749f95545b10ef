"""The benchmarks' database, with the admin."""

from __future__ import annotations

from tests import settings as suite

from .settings import *  # noqa: F403
from .settings import INSTALLED_APPS as OF_ALL

MIDDLEWARE, TEMPLATES = suite.MIDDLEWARE, suite.TEMPLATES
INSTALLED_APPS = [
    *OF_ALL, "django.contrib.admin", "django.contrib.messages", "django.contrib.sessions",
]  # fmt: skip
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
ALLOWED_HOSTS = ["testserver"]
