"""The refresh token in a cookie instead of the body, for pages (OAuth 2.0 for Browser-Based Apps).

The header `Ratchet-Refresh-Token: cookie` asks for it. A page of another origin cannot send that
header without a preflight, which is answered for allowed origins only, and the Origin is checked
again here: neither another site nor a form can use the cookie (CSRF).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from ratchet.application import Application
from ratchet.errors import InvalidRequest, OriginNotAllowed, UnauthorizedClient
from ratchet.request import Request
from ratchet.response import Response

HEADER = "Ratchet-Refresh-Token"
ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshCookie:
    """The cookie of one application, for a request that asks for it and may have it."""

    application: Application

    @property
    def name(self) -> str:
        """RFC 6265bis section 4.1.3: browsers let nobody else set, share or read such a name.

        One for each application, so that two of them at one address do not sign each other out.
        """
        return f"__Host-Http-ratchet-{quote(self.application.client_id, safe='')}"

    def value(self, request: Request) -> str | None:
        return request.cookie(self.name)

    def carry(self, response: Response) -> Response:
        """Moves the refresh token of a token response from its body into the cookie.

        The cookie outlives the session by `retention_seconds`: a refresh that was lost just before
        the deadline may still be repeated, and who comes too late is told the true reason. Where
        API use may move the deadline, no browser is told of it: there it outlives the absolute one.
        """
        body: dict[str, Any] = dict(response.body or {})
        token = body.pop("refresh_token")
        moves = self.application.counts_use
        lasts = body["session_expires_in" if moves else "refresh_token_expires_in"]
        seconds = lasts + self.application.policy.retention_seconds
        cookie = f"{self.name}={token}; {ATTRIBUTES}; Max-Age={seconds}"
        return replace(response, body=body, cookies=(cookie,))

    def clear(self, response: Response) -> Response:
        """Takes the cookie away from the browser."""
        return replace(response, cookies=(self.cleared(),))

    def cleared(self) -> str:
        return f"{self.name}=; {ATTRIBUTES}; Max-Age=0"


def asks_for_cookie(request: Request) -> bool:
    """Raises InvalidRequest for a header that says something else."""
    asked = request.headers.get(HEADER.lower())
    if asked not in (None, "cookie"):
        raise InvalidRequest(f"The header {HEADER} takes only the value cookie.")
    return asked is not None


def refresh_cookie(request: Request, application: Application) -> RefreshCookie:
    """The cookie that the request asks for. Raises UnauthorizedClient, OriginNotAllowed."""
    if not application.refresh_cookie:
        raise UnauthorizedClient("refresh_cookie is off", client_id=application.client_id)
    origin = request.headers.get("origin")
    if origin is None or not application.allows_origin(origin):
        raise OriginNotAllowed(origin, client_id=application.client_id)
    return RefreshCookie(application=application)


def delivery(request: Request, application: Application) -> Callable[[Response], Response]:
    """How the tokens of a new session get to whoever asked: as they are, or with the cookie.

    To be called before the session is written: it raises what `refresh_cookie` does.
    """
    if not asks_for_cookie(request):
        return lambda response: response
    return refresh_cookie(request, application).carry
