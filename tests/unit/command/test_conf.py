"""ASYNC_COMMANDER: defaults, what may be set, and what is said about the rest."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from async_commander.conf import Settings, get_settings


def configured(value: Any) -> Settings:
    with override_settings(ASYNC_COMMANDER=value):
        return get_settings()


def test_nothing_needs_to_be_set() -> None:
    with override_settings(ASYNC_COMMANDER={}):
        from django.conf import settings

        del settings.ASYNC_COMMANDER
        assert get_settings() == Settings() == configured({})


def test_every_key_is_read() -> None:
    found = configured(
        {
            "LIMITS": {"threads": 5},
            "COMMAND_PACKAGES": ["jobs.commands"],
            "INTERNAL_HOSTS": ["localhost", "10.0.0.0/8"],
            "KEEP_DAYS": {"logs": 30, "runs": 365},
            "CACHE": "default",
            "ENGINE": "async_commander.contrib.celery",
        }
    )

    assert dict(found.limits) == {"threads": 5}
    assert found.command_packages == ("jobs.commands",)
    assert found.internal_hosts == ("localhost", "10.0.0.0/8")
    assert dict(found.keep_days) == {"logs": 30, "runs": 365}
    assert (found.cache, found.engine) == ("default", "async_commander.contrib.celery")


def test_one_number_of_days_is_for_all_that_is_kept() -> None:
    assert dict(configured({"KEEP_DAYS": 7}).keep_days) == {"logs": 7, "items": 7, "runs": 7}


def test_the_settings_know_which_of_them_have_no_effect_yet() -> None:
    assert list(configured({"ENGINE": "celery", "LIMITS": {}}).to_come) == ["ENGINE"]


def test_overridden_settings_are_followed_and_forgotten() -> None:
    before = get_settings()

    assert configured({"INTERNAL_HOSTS": ["localhost"]}).internal_hosts == ("localhost",)
    assert get_settings() == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "ASYNC_COMMANDER is 5; allowed: a dict"),
        ({"LIMIT": {}}, "no key 'LIMIT'; did you mean 'LIMITS'?"),
        ({"limits": {}}, "no key 'limits'; did you mean 'LIMITS'?"),
        ({"zzz": 1}, "no key 'zzz'; allowed: LIMITS, COMMAND_PACKAGES"),
        ({"LIMITS": 5}, r"ASYNC_COMMANDER\['LIMITS'\] is 5; allowed: a dict"),
        ({"COMMAND_PACKAGES": "jobs"}, "is 'jobs'; allowed: a list of texts"),
        ({"INTERNAL_HOSTS": [1]}, "allowed: a list of texts"),
        ({"KEEP_DAYS": 0}, r"\['KEEP_DAYS'\] is 0; allowed: a whole number of days from 1, or a dict"),
        ({"KEEP_DAYS": True}, "KEEP_DAYS.* is True; allowed"),
        ({"KEEP_DAYS": {}}, "KEEP_DAYS.* is {}; allowed"),
        ({"KEEP_DAYS": {"logs": 1.5}}, "a dict of such numbers for logs, items and runs"),
        ({"KEEP_DAYS": {"files": 30}}, "a dict of such numbers for logs, items and runs"),
        ({"CACHE": "nowhere"}, r"\['CACHE'\] is 'nowhere'; allowed: an alias of STORAGES, which has default"),
        ({"CACHE": ["default"]}, "allowed: an alias of STORAGES"),
        ({"ENGINE": 5}, r"\['ENGINE'\] is 5; allowed: a name, or the dotted path of a class"),
        ({"ENGINE": "celery..tasks"}, "allowed: a name, or the dotted path"),
    ],
)
def test_wrong_settings_are_named_with_the_remedy(value: Any, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        configured(value)


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        get_settings().internal_hosts = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        configured({"LIMITS": {}}).limits["threads"] = 5  # type: ignore[index]
