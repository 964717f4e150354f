"""Client authentication (RFC 6749 section 2.3): which application asks, and can it prove it."""

from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.errors import ApplicationDisabled, InvalidClient, InvalidRequest
from ratchet.request import Parameters, Request

METHODS = ("client_secret_basic", "client_secret_post", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    client_id: str
    secret: str | None = field(repr=False)
    basic: bool


def authenticate(
    request: Request, parameters: Parameters, *, applications: Applications, now: int
) -> Application:
    """The application that sent this request, confidential ones authenticated.

    Raises InvalidRequest (two methods at once), InvalidClient, ApplicationDisabled, Fault.
    """
    return _check(_credentials(request, parameters), applications, now)


def authenticate_confidential(
    request: Request, parameters: Parameters, *, applications: Applications, now: int
) -> Application:
    """The same, but a public application, which has proved nothing, is refused."""
    credentials = _credentials(request, parameters)
    application = _check(credentials, applications, now)
    if not application.confidential:
        raise InvalidClient(
            "a public application cannot authenticate",
            basic=credentials.basic,
            client_id=application.client_id,
        )
    return application


def authenticate_basic(request: Request, *, applications: Applications, now: int) -> Application:
    """A confidential application by its Authorization header alone, whatever the body says."""
    return authenticate_confidential(request, Parameters({}), applications=applications, now=now)


def _credentials(request: Request, parameters: Parameters) -> Credentials:
    header = request.headers.get("authorization")
    client_id, secret = parameters.text("client_id"), parameters.text("client_secret")
    if header is None:
        if client_id is None:
            raise InvalidClient("no client_id", basic=True)
        return Credentials(client_id=client_id, secret=secret, basic=False)
    # "The client MUST NOT use more than one authentication method in each request."
    if secret is not None:
        raise InvalidRequest("Use one way of client authentication: the header or the body.")
    name, password = _basic(header)
    if client_id not in (None, name):
        raise InvalidRequest("client_id differs from the one in the Authorization header.")
    return Credentials(client_id=name, secret=password or None, basic=True)


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient("not Basic", basic=True)
    try:
        decoded = b64decode(encoded.strip(), validate=True).decode()
        name, _, password = decoded.partition(":")
        # RFC 6749 section 2.3.1: both halves are form-encoded inside the Basic credentials.
        return unquote_plus(name, errors="strict"), unquote_plus(password, errors="strict")
    except (Base64Error, ValueError):
        raise InvalidClient("unreadable Basic credentials", basic=True) from None


def _check(credentials: Credentials, applications: Applications, now: int) -> Application:
    application = applications.get(credentials.client_id, now)
    known = {"client_id": application.client_id} if application else {}
    if application is None:
        problem = "unknown application"
    elif application.confidential and credentials.secret is None:
        problem = "no secret"
    elif credentials.secret is not None and not application.has_secret(credentials.secret, now):
        # Credentials that are sent are checked even where they are not needed.
        problem = "wrong secret"
    elif application.disabled_at is not None:
        raise ApplicationDisabled("disabled", basic=credentials.basic, **known)
    else:
        return application
    raise InvalidClient(problem, basic=credentials.basic, **known)
