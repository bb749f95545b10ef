"""The app of the example."""

from __future__ import annotations

from django.apps import AppConfig


class PricesConfig(AppConfig):
    """What things cost, at a supplier that takes its time."""

    name = "prices"
    default_auto_field = "django.db.models.BigAutoField"
