"""A database backend that knows tenants, as that of django-tenants does."""
