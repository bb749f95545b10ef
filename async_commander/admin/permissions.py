"""Who may do what from the admin: a permission for each action, and then what the command says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

from async_commander.command.registry import get_command
from async_commander.exceptions import CommandNotFound, InvalidCommand

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser


def may(user: AbstractBaseUser | AnonymousUser, action: str, command: str) -> bool:
    """Whether a user has the permission `async_commander.<action>_run`, and the command has nothing against it.

    Of a command whose file is broken nobody knows what it says: then it takes a superuser.
    """
    if not user.has_perm(f"async_commander.{action}_run"):  # type: ignore[union-attr]
        return False
    try:
        return bool(get_command(command).has_permission(user, action))
    except CommandNotFound:  # a plain Django command's run, or one whose command is gone: nobody to ask
        return True
    except (InvalidCommand, ImproperlyConfigured):
        return bool(getattr(user, "is_superuser", False))
