"""What the four commands write."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models


class Politician(models.Model):
    name = models.CharField(max_length=100, unique=True)
    summary = models.TextField(default="")


class Product(models.Model):
    name = models.CharField(max_length=200)
    price = models.FloatField()
    sku = models.CharField(max_length=40)
    category_id = models.IntegerField()


class Recipient(models.Model):
    address = models.CharField(max_length=200, unique=True)
    notified = models.BooleanField(default=False)


class Comment(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    timestamp = models.DateTimeField(auto_now_add=True)
    text = models.TextField(max_length=1024)
