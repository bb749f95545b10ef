"""The pages' contents in the admin."""

from __future__ import annotations

from django.contrib import admin

from .models import Link, Module, Symbol

admin.site.register(Module, list_display=["name", "title", "summary"], search_fields=["name", "summary"])
admin.site.register(Link, list_display=["source", "target"], list_select_related=["source"], search_fields=["target"])
admin.site.register(
    Symbol,
    list_display=["name", "kind", "module"],
    list_filter=["kind"],
    list_select_related=["module"],
    search_fields=["name"],
)
