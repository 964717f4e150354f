"""POST /login: a first-party sign-in with e-mail address and password starts a session.

For an application's own sign-in form only: OAuth 2.1 has no password grant (RFC 9700 section 2.4),
because it would teach people to type their password into other people's applications. So this is no
grant of the token endpoint, and an application must have been allowed to use it.
"""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ratchet import dpop, email_address, throttle
from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.attempts import Attempts
from ratchet.dpop import DPoPProof
from ratchet.email_address import InvalidEmail
from ratchet.errors import Fault, InvalidGrant, InvalidRequest, Throttled, UnauthorizedClient
from ratchet.events import Bus
from ratchet.hook import Hook
from ratchet.issue import SignIn, check_resources, granted_scopes, start_session
from ratchet.password import MAX_LENGTH, MAX_TYPED_LENGTH, prepare
from ratchet.reasons import Reason
from ratchet.refresh_token import Peppers
from ratchet.request import Parameters
from ratchet.response import Response
from ratchet.sender import Sender
from ratchet.session_end import end_session
from ratchet.signing import Signer
from ratchet.store import SessionStore
from ratchet.verifier import Login, Verified, Verifier

# Until it is known whose sign-in it is.
_NOBODY = "?"
_PARAMETERS = (
    *("email", "password", "scope", "resource", "device"),
    *("client_id", "client_secret", "client_assertion", "client_assertion_type"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRequest:
    """email: normalised. sign_in: all of it but whose it is."""

    email: str
    password: str = field(repr=False)
    sign_in: SignIn

    @classmethod
    def from_parameters(cls, parameters: Parameters) -> "LoginRequest":
        """Raises InvalidRequest: nothing in there says whether there is such a user."""
        parameters.only(*_PARAMETERS)
        typed, password = parameters.required("email"), parameters.required("password")
        try:
            email = email_address.normalise(typed)
        except InvalidEmail as invalid:
            raise InvalidRequest(f"email is not an e-mail address: {invalid}.") from None
        if len(password) > MAX_TYPED_LENGTH or len(prepare(password).decode()) > MAX_LENGTH:
            raise InvalidRequest(f"password may have {MAX_LENGTH} characters.")
        device = parameters.text("device") or ""
        sign_in = SignIn(
            sub=_NOBODY,
            scopes=parameters.scopes(),
            resources=parameters.resources(),
            device=device,
        )
        return cls(email=email, password=password, sign_in=sign_in)


def login(
    asked: LoginRequest,
    application: Application,
    *,
    proof: DPoPProof | None,
    source_ip: str,
    sender: Sender,
    verifier: Verifier,
    attempts: Attempts,
    issuer: str,
    applications: Applications,
    store: SessionStore,
    signer: Signer,
    peppers: Peppers,
    claims_hook: Hook | None,
    bus: Bus,
    now: int,
) -> Response:
    """The tokens of a new session, as `POST /sessions` answers.

    Raises UnauthorizedClient, InvalidScope, InvalidTarget, InvalidDPoPProof, Throttled,
    InvalidGrant (always wrong_credentials), Fault.
    """
    about: dict[str, Any] = {"client_id": application.client_id}
    # First what is wrong whoever signs in: it must neither cost an attempt nor a hash.
    if not application.password_login:
        raise UnauthorizedClient("no password login", **about)
    granted_scopes(application, asked.sign_in.scopes)
    check_resources(application, asked.sign_in.resources, issuer)
    jkt = dpop.binding(application, proof.jkt if proof else None)
    # What a confidential application sends comes from its servers, for everybody alike.
    source = None if application.confidential else throttle.source_of(source_ip)
    admission = attempts.admit(asked.email, source, now)
    if admission.wait:
        raise Throttled(admission.by, retry_after_seconds=admission.wait, **about)
    try:
        verified = verifier.verify(
            Login(
                email=asked.email,
                password=asked.password,
                client_id=application.client_id,
                source_ip=source_ip,
            )
        )
    except InvalidGrant as error:
        error.log |= about
        raise
    except Fault as fault:
        # Nobody has learnt anything, and an outage must not lock out who keeps trying.
        attempts.give_back(admission)
        fault.log |= about
        raise
    # From here on it was right, whatever follows.
    attempts.succeeded(admission, now)
    # No user may pass for an application (RFC 9700 section 4.15.1).
    if applications.get(verified.sign_in.sub, now) is not None:
        imposter = Fault("verifier: sub is the id of an application")
        imposter.log |= about
        raise imposter
    response = start_session(
        replace(
            verified.sign_in,
            scopes=asked.sign_in.scopes,
            resources=asked.sign_in.resources,
            device=asked.sign_in.device,
            auth_time=now,
            jkt=jkt,
        ),
        application,
        issuer=issuer,
        store=store,
        signer=signer,
        peppers=peppers,
        claims_hook=claims_hook,
        bus=bus,
        now=now,
        sender=sender,
    )
    _refuse_overtaken(verifier, verified, response, application, store=store, bus=bus, now=now)
    return response


def _refuse_overtaken(
    verifier: Verifier,
    verified: Verified,
    response: Response,
    application: Application,
    *,
    store: SessionStore,
    bus: Bus,
    now: int,
) -> None:
    """A sign-in that raced with the user being disabled, or with a new password, does not count.

        sign-in   reads the user              creates the session   reads the user again
        operator                  disables                                          lists, ends

    Whoever disables does so first and lists the sessions afterwards, so either the session is there
    to be listed, or the user is found disabled here, before anybody has its tokens.
    """
    sid = response.log["sid"]

    def end(reason: Reason) -> None:
        end_session(
            sid,
            reason=reason,
            by="",
            retention_seconds=application.policy.retention_seconds,
            store=store,
            bus=bus,
            now=now,
        )

    try:
        reason = verifier.overtaken(verified)
    except Fault:
        # Nobody gets its tokens, so it must not stand among the user's sessions.
        with suppress(Fault):
            end(Reason.UNAVAILABLE)
        raise
    if reason is None:
        return
    end(reason)
    about = {"sid": sid, "sub": verified.sign_in.sub, "client_id": application.client_id}
    # The user is told what everybody is told; the session keeps the true reason.
    raise InvalidGrant(Reason.WRONG_CREDENTIALS, f"overtaken: {reason}", **about)
