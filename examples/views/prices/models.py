"""What was found."""

from __future__ import annotations

from django.db import models


class Price(models.Model):
    """The price of one product, in cents."""

    product = models.CharField(max_length=40, unique=True)
    cents = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.product}: {self.cents / 100:.2f}"
