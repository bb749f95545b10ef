"""Whom a client trusts, and what it shows of itself."""

from __future__ import annotations

import logging
import os
import ssl
from functools import lru_cache
from pathlib import Path

import httpx

from async_commander.exceptions import InvalidCommand

logger = logging.getLogger("async_commander.downloads")

Verify = ssl.SSLContext | str | os.PathLike[str] | bool
_File = str | os.PathLike[str]
Cert = _File | tuple[_File, _File] | tuple[_File, _File, str]


@lru_cache(maxsize=1)
def trust() -> ssl.SSLContext:
    """Whom this process trusts: the authorities of `SSL_CERT_FILE` or `SSL_CERT_DIR`, else those of certifi.

    Reading them takes milliseconds: once per process is enough. InvalidCommand where that cannot be done.
    """
    try:
        context = httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        where = os.environ.get("SSL_CERT_FILE", "")
        raise InvalidCommand(
            f"SSL_CERT_FILE={where!r}: no certificates to verify others by are there: {error}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


class Trust:
    """Whom one client trusts, in the terms of httpx: `verify`, and `cert` where it is to show one of its own.

    ValueError for what cannot be used. Messages leave out the password of a key.
    """

    def __init__(self, verify: Verify = True, cert: Cert | None = None) -> None:
        self.verify = verify
        self.cert = cert
        self._context: ssl.SSLContext | None = None
        parts = cert if isinstance(cert, tuple) else (cert,) if cert is not None else None
        if verify is True and parts is None:
            return
        try:
            self._context = context = _verifying(verify)
            if parts is not None:
                file, key, password = (*parts, None, None)[:3]
                context.load_cert_chain(file, key, password or str)  # else OpenSSL would ask for one in the terminal
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"verify={verify!r}, cert={parts and parts[:2]}: {error}") from error
        context.set_alpn_protocols(["http/1.1"])

    @property
    def context(self) -> ssl.SSLContext:
        """What TLS is begun with. The one of the process is shared and never changed."""
        return self._context or trust()


def _verifying(verify: Verify) -> ssl.SSLContext:
    """A context of one's own; TypeError for False, so that nobody turns the verification off by mistake."""
    if verify is True:
        return httpx.create_ssl_context()
    if isinstance(verify, ssl.SSLContext):
        if not (verify.check_hostname and verify.verify_mode == ssl.CERT_REQUIRED):
            logger.warning(
                "self.http was given an SSLContext that does not verify whom it talks to: whoever is on the way can "
                "read and change what is downloaded."
            )
        return verify
    if isinstance(verify, str | os.PathLike):
        place = Path(verify).resolve(strict=True)
        folder = place.is_dir()
        return ssl.create_default_context(cafile=None if folder else place, capath=place if folder else None)
    raise TypeError(
        "certificates are always verified: give the file, or the folder, of the authorities to trust, or an "
        "ssl.SSLContext of your own"
    )
