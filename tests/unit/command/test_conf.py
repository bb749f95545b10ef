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
        }
    )

    assert dict(found.limits) == {"threads": 5}
    assert found.command_packages == ("jobs.commands",)
    assert found.internal_hosts == ("localhost", "10.0.0.0/8")


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
        ({"KEEP_DAYS": 0}, r"ASYNC_COMMANDER\['KEEP_DAYS'\] is 0; allowed: a dict like {'items': 30, 'logs': 30"),
        ({"KEEP_DAYS": {"items": True}}, "or one number; from 1 day to 100 years, None for ever"),
        ({"KEEP_DAYS": {"item": 3}}, "allowed: a dict like"),
        ({"zzz": 1}, "no key 'zzz'; allowed: LIMITS, COMMAND_PACKAGES"),
        ({"LIMITS": 5}, r"ASYNC_COMMANDER\['LIMITS'\] is 5; allowed: a dict"),
        ({"COMMAND_PACKAGES": "jobs"}, "is 'jobs'; allowed: a list of texts"),
        ({"INTERNAL_HOSTS": [1]}, "allowed: a list of texts"),
    ],
)
def test_wrong_settings_are_named_with_the_remedy(value: Any, message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        configured(value)


def test_what_is_kept_for_how_long_is_one_number_or_several() -> None:
    assert get_settings().keep_days == {"items": 30, "logs": 30, "runs": 365}
    assert configured({"KEEP_DAYS": 90}).keep_days == {"items": 90, "logs": 90, "runs": 90}
    assert configured({"KEEP_DAYS": {"runs": None}}).keep_days == {"items": 30, "logs": 30, "runs": None}


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        get_settings().internal_hosts = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        configured({"LIMITS": {}}).limits["threads"] = 5  # type: ignore[index]
