"""For gunicorn, or any other WSGI server: the pages ask again and again."""

from __future__ import annotations

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = get_wsgi_application()
if settings.DEBUG:
    application = StaticFilesHandler(application)
