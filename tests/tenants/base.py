"""PostgreSQL with a schema for each tenant: the path is set by the first cursor after the tenant was."""

from __future__ import annotations

from typing import Any

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    """Of a tenant, or of none."""

    schema_name: str | None = None
    _path_is_set = False

    def set_schema(self, name: str) -> None:
        """From now on work for this tenant."""
        self.schema_name, self._path_is_set = name, False

    def get_new_connection(self, conn_params: Any) -> Any:
        """See the base class."""
        self._path_is_set = False
        return super().get_new_connection(conn_params)

    def _cursor(self, name: str | None = None) -> Any:
        cursor = super()._cursor(name)
        if self.schema_name is not None and not self._path_is_set:
            self._path_is_set = True
            with super()._cursor() as first:
                first.execute("SELECT set_config('search_path', %s, false)", [f"{self.schema_name}, public"])
        return cursor
