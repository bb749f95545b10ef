import json
import os

SECRET_KEY = "only for the tests of async_commander"
INSTALLED_APPS = ["django.contrib.contenttypes", "async_commander", "shop", "blog"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["PROJECT_DATABASE"],
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
ASYNC_COMMANDER = json.loads(os.environ.get("PROJECT_SETTINGS", "{}"))
