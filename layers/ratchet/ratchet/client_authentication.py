"""Client authentication (RFC 6749 section 2.3): which application asks, and can it prove it."""

from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from ratchet import client_assertion
from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.assertion import Assertion, RefusedAssertion
from ratchet.client_assertion import ClientAssertions, parse_client_assertion
from ratchet.errors import ApplicationDisabled, InvalidClient, InvalidRequest
from ratchet.request import Parameters, Request

METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What proves the client id: a secret, an assertion, or nothing."""

    client_id: str
    secret: str | None = field(default=None, repr=False)
    assertion: Assertion | None = None
    basic: bool = False


def authenticate(
    request: Request,
    parameters: Parameters,
    *,
    applications: Applications,
    client_assertions: ClientAssertions,
    now: int,
) -> Application:
    """The application that sent this request, confidential ones authenticated.

    Raises InvalidRequest (two methods at once), InvalidClient, ApplicationDisabled, Fault.
    """
    credentials = _credentials(request, parameters)
    application, problem = applications.get(credentials.client_id, now), None
    # Only a registered id gets into the log: anything else may be a token in the wrong field.
    log: dict[str, Any] = {"client_id": application.client_id} if application else {}
    last_at = 0
    if application is None:
        problem = "unknown application"
    elif credentials.assertion is not None:
        try:
            last_at = client_assertions.check(credentials.assertion, application, request, now)
        except RefusedAssertion as refused:
            problem = f"client assertion: {refused.detail}"
    else:
        problem = _wrong_secret(credentials.secret, application, now)
    if application is None or problem is not None:
        raise InvalidClient(problem or "", basic=credentials.basic, **log)
    if application.disabled_at is not None:
        raise ApplicationDisabled("disabled", basic=credentials.basic, **log)
    if credentials.assertion is not None:
        # The last thing to do: what is refused for another reason uses nothing up.
        try:
            client_assertions.use(credentials.assertion, request, last_at)
        except RefusedAssertion as refused:
            raise InvalidClient(f"client assertion: {refused.detail}", **log) from None
    return application


def authenticate_confidential(
    request: Request,
    parameters: Parameters,
    *,
    applications: Applications,
    client_assertions: ClientAssertions,
    now: int,
) -> Application:
    """The same, but a public application, which has proved nothing, is refused."""
    application = authenticate(
        request,
        parameters,
        applications=applications,
        client_assertions=client_assertions,
        now=now,
    )
    if not application.confidential:
        raise InvalidClient(
            "a public application cannot authenticate",
            basic="authorization" in request.headers,
            client_id=application.client_id,
        )
    return application


def authenticate_backend(
    request: Request,
    parameters: Parameters,
    *,
    applications: Applications,
    client_assertions: ClientAssertions,
    now: int,
) -> Application:
    """A confidential application, where client_id in the body is not its own: its Authorization
    header or its client assertion say who it is."""
    names = ("client_assertion", "client_assertion_type")
    own = {name: value for name, value in parameters.values.items() if name in names}
    return authenticate_confidential(
        request,
        Parameters(own),
        applications=applications,
        client_assertions=client_assertions,
        now=now,
    )


def _credentials(request: Request, parameters: Parameters) -> Credentials:
    header = request.headers.get("authorization")
    client_id, secret = parameters.text("client_id"), parameters.text("client_secret")
    assertion = _client_assertion(parameters)
    # "The client MUST NOT use more than one authentication method in each request."
    if [header, secret, assertion].count(None) < 2:
        raise InvalidRequest("Use one way of client authentication: header, secret or assertion.")
    if assertion is not None:
        return _of_assertion(assertion, client_id)
    if header is None:
        if client_id is None:
            raise InvalidClient("no client_id", basic=True)
        return Credentials(client_id=client_id, secret=secret)
    name, password = _basic(header)
    if client_id not in (None, name):
        raise InvalidRequest("client_id differs from the one in the Authorization header.")
    return Credentials(client_id=name, secret=password or None, basic=True)


def _client_assertion(parameters: Parameters) -> str | None:
    """RFC 7521 section 4.2."""
    text, kind = parameters.text("client_assertion"), parameters.text("client_assertion_type")
    if (text is None) != (kind is None) or kind not in (None, client_assertion.TYPE):
        raise InvalidRequest(
            f"A client_assertion goes with the client_assertion_type {client_assertion.TYPE}."
        )
    return text


def _of_assertion(text: str, client_id: str | None) -> Credentials:
    try:
        assertion, named = parse_client_assertion(text)
    except RefusedAssertion as refused:
        raise InvalidClient(f"client assertion: {refused.detail}") from None
    # RFC 7521 section 4.2: client_id "MUST identify the same client"
    if client_id not in (None, named):
        raise InvalidClient("client assertion: of another client_id")
    return Credentials(client_id=named, assertion=assertion)


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


def _wrong_secret(secret: str | None, application: Application, now: int) -> str | None:
    if application.confidential and secret is None:
        return "no secret"
    # Credentials that are sent are checked even where they are not needed.
    if secret is not None and not application.has_secret(secret, now):
        return "wrong secret"
    return None
