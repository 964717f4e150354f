"""Issuing: an access token for an application itself, or a session for a subject."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ratchet import access_token, custom_claims, dpop, refresh_token
from ratchet.application import Application
from ratchet.applications import Applications
from ratchet.assertion import RefusedAssertion
from ratchet.claims_hook import enriched
from ratchet.dpop import DPoPProof, is_thumbprint
from ratchet.errors import InvalidRequest, InvalidScope, InvalidTarget, UnauthorizedClient
from ratchet.events import Bus
from ratchet.hook import Hook
from ratchet.proof import Proof
from ratchet.reasons import Reason
from ratchet.refresh_token import Peppers
from ratchet.request import Parameters
from ratchet.response import Response
from ratchet.sender import Sender
from ratchet.session import MAX_SUB, Session, idle_deadline
from ratchet.session_item import MAX_ITEM_BYTES, largest_bytes
from ratchet.session_start import publish_start, unannounced
from ratchet.signing import Sign, Signer
from ratchet.store import SessionStore
from ratchet.token_response import token_response

MAX_DEVICE = 64
MAX_ACR = 128
CLOCK_SKEW_SECONDS = 60


def client_credentials(
    application: Application,
    *,
    proof: DPoPProof | None,
    scopes: frozenset[str],
    resources: frozenset[str],
    issuer: str,
    signer: Signer,
    now: int,
) -> Response:
    """RFC 6749 section 4.4: a token for the application itself, and no refresh token (4.4.3).

    No scopes, no resources: all of the application's. Raises UnauthorizedClient, InvalidScope,
    InvalidTarget, InvalidDPoPProof, Fault.
    """
    if "client_credentials" not in application.grant_types:
        raise UnauthorizedClient("grant not allowed", client_id=application.client_id)
    granted = granted_scopes(application, scopes)
    check_resources(application, resources, issuer)
    jkt = dpop.binding(application, proof.jkt if proof else None)
    sign = signer.prepare(now)
    claims = access_token.client_claims(
        application, scopes=granted, resources=resources, issuer=issuer, now=now, jkt=jkt
    )
    return token_response(sign(claims), claims, now=now, outcome="issued")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A sign-in that an application's backend vouches for.

    auth_time: when the subject proved who it is, epoch seconds, None for now.
    amr: how (RFC 8176). acr: how well, a class of the deployment's choice. device: a label for the
    subject's own list. claims: for its access tokens.
    resources: what its tokens are for (RFC 8707), none for all of the application's.
    jkt: thumbprint of the key that the client has proven to have, or that its backend vouches for.
    """

    sub: str
    scopes: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    auth_time: int | None = None
    amr: tuple[str, ...] = ()
    acr: str = ""
    device: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    jkt: str | None = None

    def __post_init__(self) -> None:
        sub = self.sub
        if not 0 < len(sub) <= MAX_SUB or not sub.isprintable() or sub.strip() != sub:
            raise InvalidRequest(f"sub must be 1 to {MAX_SUB} printable characters.")
        if len(self.device) > MAX_DEVICE or not self.device.isprintable():
            raise InvalidRequest(f"device must be at most {MAX_DEVICE} printable characters.")
        acr = self.acr
        if len(acr) > MAX_ACR or not acr.isascii() or not acr.isprintable() or " " in acr:
            raise InvalidRequest(f"acr must be at most {MAX_ACR} printable characters, no space.")
        custom_claims.check(self.claims)
        if self.jkt is not None and not is_thumbprint(self.jkt):
            raise InvalidRequest("dpop_jkt must be a SHA-256 thumbprint (RFC 7638) in base64url.")

    @classmethod
    def from_parameters(cls, parameters: Parameters) -> "SignIn":
        """From a form, where amr is space-separated and claims is JSON, or from a JSON object.

        Raises InvalidRequest. client_id is there for the caller to look at.
        """
        parameters.only(
            *("client_id", "sub", "scope", "resource", "device", "auth_time", "amr", "acr"),
            *("claims", "dpop_jkt", "client_assertion", "client_assertion_type"),
        )
        return cls(
            sub=parameters.required("sub"),
            scopes=parameters.scopes(),
            resources=parameters.resources(),
            auth_time=_auth_time(parameters.values.get("auth_time")),
            amr=_amr(parameters.values.get("amr")),
            acr=parameters.text("acr") or "",
            device=parameters.text("device") or "",
            claims=_claims(parameters.values.get("claims")),
            jkt=parameters.text("dpop_jkt"),
        )


def target_application(
    client_id: str,
    backend: Application,
    sign_in: SignIn,
    *,
    applications: Applications,
    now: int,
) -> Application:
    """The application that `backend` may start this session for.

    Raises UnauthorizedClient, InvalidRequest, Fault.
    """
    about: dict[str, Any] = {"client_id": backend.client_id, "sub": sign_in.sub}
    application = applications.get(client_id, now)
    # Only a registered id gets into the log: anything else may be a token in the wrong field.
    if application is None:
        raise UnauthorizedClient("no such application", **about)
    if not backend.may_start_sessions_for(client_id):
        raise UnauthorizedClient(f"may not start sessions for {client_id}", **about)
    if application.disabled_at is not None:
        raise UnauthorizedClient("disabled", reason=Reason.APPLICATION_DISABLED, **about)
    # Silence would leave the backend believing that the session is bound.
    if sign_in.jkt is not None and application.dpop == "off":
        raise InvalidRequest("dpop_jkt: this application does not take DPoP.", **about)
    # An application's own tokens carry its client id as sub; no user may pass for one (RFC 9700
    # section 4.15.1).
    if applications.get(sign_in.sub, now) is not None:
        raise InvalidRequest("sub is the id of an application.", **about)
    return application


def start_session(
    sign_in: SignIn,
    application: Application,
    *,
    issuer: str,
    store: SessionStore,
    signer: Signer,
    peppers: Peppers,
    claims_hook: Hook | None,
    bus: Bus,
    now: int,
    sender: Sender,
    proof: Proof | None = None,
    started_by: str = "",
) -> Response:
    """A new session of this application, and its first tokens.

    sender: of the request of whoever gets them. proof: good for this session only. started_by:
    client id of the backend that asks, for the log.
    Raises InvalidRequest, InvalidScope, InvalidTarget, InvalidDPoPProof, UnauthorizedClient,
    RefusedAssertion (the proof was used before), Fault.
    """
    policy = application.policy
    if not policy.refresh_tokens or "refresh_token" not in application.grant_types:
        raise UnauthorizedClient("no refresh tokens", client_id=application.client_id)
    if sign_in.auth_time is not None and sign_in.auth_time > now + CLOCK_SKEW_SECONDS:
        raise InvalidRequest("auth_time must be a past instant in epoch seconds.")
    check_resources(application, sign_in.resources, issuer)
    jkt = dpop.binding(application, sign_in.jkt)
    # RFC 9449 section 5: refresh tokens of public clients are bound to the key, those of
    # confidential ones to the client, which may change its key.
    session_key = None if application.confidential else jkt
    sign = signer.prepare(now)
    session_bytes = proof.session_bytes if proof else secrets.token_bytes(16)
    absolute_deadline_at = now + policy.absolute_ttl_seconds
    idle_deadline_at = idle_deadline(policy, absolute_deadline_at=absolute_deadline_at, now=now)
    token = refresh_token.mint(
        session_bytes=session_bytes,
        generation=0,
        idle_deadline_at=absolute_deadline_at if policy.lasting_tokens else idle_deadline_at,
        absolute_deadline_at=absolute_deadline_at,
        bound=session_key is not None,
        peppers=peppers,
        now=now,
    )
    session = Session(
        sid=token.sid,
        client_id=application.client_id,
        sub=sign_in.sub,
        scopes=granted_scopes(application, sign_in.scopes),
        resources=sign_in.resources,
        started_at=now,
        auth_time=now if sign_in.auth_time is None else sign_in.auth_time,
        amr=sign_in.amr,
        acr=sign_in.acr,
        device=sign_in.device,
        network=sender.network,
        agent=sender.agent,
        claims=sign_in.claims,
        jkt=session_key,
        current_hash=token.hash(),
        active_at=now if policy.touch_interval_seconds else None,
        idle_deadline_at=idle_deadline_at,
        absolute_deadline_at=absolute_deadline_at,
        expires_at=idle_deadline_at + policy.retention_seconds,
    )
    session = unannounced(session, policy)
    if (size := largest_bytes(session)) > MAX_ITEM_BYTES:
        raise InvalidRequest(
            f"All of it together is {size - MAX_ITEM_BYTES} bytes too long for a session."
        )
    session = enriched(session, application, claims_hook)
    claims = access_token.session_claims(
        session,
        application,
        scopes=session.scopes,
        resources=session.resources,
        issuer=issuer,
        now=now,
        jkt=jkt,
    )
    signed = sign(claims)
    if proof is None:
        stored = store.create(session)
    else:
        bound = proof.bind(
            session,
            token,
            retry_window_seconds=policy.retry_window_seconds,
            peppers=peppers,
            now=now,
        )
        stored = store.create_once(bound)
        if stored.current_hash != session.current_hash:
            # Not our own write, which the SDK may have repeated: somebody used the proof before.
            return _answer_again(
                proof,
                stored,
                application,
                jkt=jkt,
                issuer=issuer,
                sign=sign,
                peppers=peppers,
                now=now,
            )
    if stored.unannounced:
        publish_start(stored, policy, store=store, bus=bus, now=now)
    return token_response(
        signed,
        claims,
        now=now,
        session=session,
        refresh_token=str(token),
        outcome="started",
        started_by=started_by or None,
    )


def _answer_again(
    proof: Proof,
    session: Session,
    application: Application,
    *,
    jkt: str | None,
    issuer: str,
    sign: Sign,
    peppers: Peppers,
    now: int,
) -> Response:
    """The same tokens for the request that started this session, and for no other."""
    about: dict[str, Any] = {"sid": session.sid, "sub": session.sub}
    over = session.dead_because(now, application.sessions_valid_after)
    if over or session.client_id != application.client_id:
        raise RefusedAssertion("used before, session over", Reason.ASSERTION_USED, **about)
    if session.jkt not in (None, jkt):
        raise RefusedAssertion("used before, with another key", Reason.ASSERTION_USED, **about)
    token = proof.first_token(session, peppers=peppers, now=now)
    if token is None:
        raise RefusedAssertion("used before", Reason.ASSERTION_USED, **about)
    claims = access_token.session_claims(
        session,
        application,
        scopes=session.scopes,
        resources=session.resources,
        issuer=issuer,
        now=now,
        jkt=jkt,
    )
    return token_response(
        sign(claims),
        claims,
        now=now,
        session=session,
        refresh_token=str(token),
        outcome="replayed_idempotency_key",
    )


def granted_scopes(application: Application, requested: frozenset[str]) -> frozenset[str]:
    """What was asked for, or all of the application's when nothing was (RFC 6749 section 3.3)."""
    if not requested <= application.scopes:
        raise InvalidScope("not the application's", client_id=application.client_id)
    return requested or application.scopes


def check_resources(application: Application, requested: frozenset[str], issuer: str) -> None:
    if not requested <= application.allowed_resources(issuer):
        raise InvalidTarget("not the application's", client_id=application.client_id)


def _auth_time(value: Any) -> int | None:
    if value in (None, ""):
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 10:
        value = int(value)
    if type(value) is not int or value < 1:
        raise InvalidRequest("auth_time must be a past instant in epoch seconds.")
    return value


def _amr(value: Any) -> tuple[str, ...]:
    methods = [] if value is None else value.split() if isinstance(value, str) else value
    if not isinstance(methods, list) or not all(
        isinstance(method, str) and method.isascii() and method.isalnum() for method in methods
    ):
        raise InvalidRequest("amr must be names of RFC 8176.")
    return tuple(methods)


def _claims(value: Any) -> Any:
    """Not looked at yet: `SignIn` does."""
    if value is None or value == "":
        return {}
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
