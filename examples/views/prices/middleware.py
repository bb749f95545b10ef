"""Nothing inline: scripts and styles are files of this site."""

from __future__ import annotations

from typing import Any

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import sync_and_async_middleware

POLICY = "default-src 'self'"


@sync_and_async_middleware
def content_security_policy(get_response: Any) -> Any:
    """Have browsers keep to the policy."""

    async def serve_async(request: Any) -> Any:
        response = await get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    def serve(request: Any) -> Any:
        response = get_response(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return serve_async if iscoroutinefunction(get_response) else serve
