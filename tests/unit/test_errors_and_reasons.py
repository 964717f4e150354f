"""Reasons, errors, and the one translation of an error to an answer (design section 6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ratchet import endpoint, errors, events
from ratchet.errors import (
    ApplicationDisabled,
    ApplicationNotFound,
    Conflict,
    ExpiredToken,
    Fault,
    InsufficientScope,
    InvalidClient,
    InvalidDescription,
    InvalidDPoPProof,
    InvalidGrant,
    InvalidRequest,
    InvalidScope,
    InvalidSubjectToken,
    InvalidTarget,
    InvalidToken,
    MethodNotAllowed,
    MissingToken,
    OAuthError,
    OriginNotAllowed,
    PageNotFound,
    RefusedProof,
    ResourceError,
    SessionNotFound,
    TemporarilyUnavailable,
    Throttled,
    UnauthorizedClient,
    UnsupportedGrantType,
    UseDPoPNonce,
)
from ratchet.parts import Parts
from ratchet.reasons import Reason, Retry
from ratchet.request import Request
from ratchet.response import Response

# One of every kind, with a private detail that must stay private.
DETAIL = "private-detail"
EXAMPLES: list[OAuthError] = [
    OAuthError(DETAIL),
    InvalidRequest("The parameter scope is missing."),
    OriginNotAllowed("https://evil.example"),
    MethodNotAllowed("GET, DELETE"),
    InvalidClient(DETAIL),
    InvalidClient(DETAIL, basic=True),
    ApplicationDisabled(DETAIL, basic=True),
    *(InvalidGrant(reason, DETAIL) for reason in Reason),
    *(InvalidSubjectToken(reason, DETAIL) for reason in Reason),
    Throttled(DETAIL, retry_after_seconds=7),
    UnauthorizedClient(DETAIL),
    UnauthorizedClient(DETAIL, reason=Reason.APPLICATION_DISABLED),
    UnsupportedGrantType("client_credentials, refresh_token"),
    InvalidScope(DETAIL),
    InvalidTarget(DETAIL),
    InvalidToken(DETAIL),
    *(InvalidToken(DETAIL, reason=reason) for reason in Reason),
    ExpiredToken(DETAIL),
    InvalidDPoPProof(DETAIL),
    UseDPoPNonce("a-nonce", DETAIL),
    ResourceError(DETAIL),
    RefusedProof(InvalidDPoPProof(DETAIL)),
    RefusedProof(UseDPoPNonce("a-nonce", DETAIL)),
    MissingToken(DETAIL),
    InsufficientScope("sessions:read"),
    SessionNotFound(DETAIL),
    ApplicationNotFound(DETAIL),
    PageNotFound(DETAIL),
    InvalidDescription(["a scope must be printable"]),
    Conflict("Disable the application first."),
    TemporarilyUnavailable(DETAIL),
]


def subclasses(kind: type[OAuthError]) -> set[type[OAuthError]]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def answer(error: OAuthError) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and JSON body that a client gets for an error."""
    payload = endpoint._refusal(error).to_payload({})
    return payload["statusCode"], payload["headers"], json.loads(payload["body"])


# --- texts ---------------------------------------------------------------------------------------


def test_every_kind_of_error_has_an_example_here() -> None:
    assert {type(error) for error in EXAMPLES} == subclasses(OAuthError)
    defined = {value for value in vars(errors).values() if isinstance(value, type)}
    assert {type(error) for error in EXAMPLES} <= defined


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_description_of_its_own_in_allowed_characters(reason: Reason) -> None:
    assert_allowed(reason.description)
    assert [other.description for other in Reason].count(reason.description) == 1


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_public_text_is_in_allowed_characters(error: OAuthError) -> None:
    assert_allowed(error.description)
    assert_allowed(error.code or "-")


def assert_allowed(text: str) -> None:
    """RFC 6749 section 5.2: %x20-21 / %x23-5B / %x5D-7E, and so no quote and no backslash."""
    assert text
    assert all(0x20 <= ord(character) <= 0x7E and character not in '"\\' for character in text)


def test_the_reasons_are_those_of_the_design() -> None:
    assert {reason.value for reason in Reason} == {
        *("malformed", "unknown_pepper", "idle_expired", "absolute_expired", "reused"),
        *("revoked_by_user", "revoked_by_operator", "revoked_everywhere", "application_disabled"),
        *("assertion_invalid", "assertion_expired", "assertion_used"),
        # Ours: a browser without the cookie is no lost session.
        "no_cookie",
        *("policy_cutoff", "session_unknown", "wrong_client", "throttled", "unavailable"),
        # of sign-ins with a password
        *("wrong_credentials", "user_disabled", "password_changed"),
        "wrong_key",
    }


def test_only_what_passes_by_itself_is_to_be_tried_again() -> None:
    after = {reason for reason in Reason if reason.retry is Retry.AFTER}
    assert after == {Reason.THROTTLED, Reason.UNAVAILABLE}
    assert {reason.retry for reason in Reason} == {Retry.AFTER, Retry.NEVER}


# --- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_answered_with_its_public_text_and_is_never_stored(error: OAuthError) -> None:
    status, headers, body = answer(error)
    assert status == error.status
    assert 400 <= status < 600
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Pragma"] == "no-cache"
    assert body["error_description"] == error.description
    assert body.get("error", "") == error.code
    assert DETAIL not in json.dumps([headers, body])


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_with_a_reason_says_it_and_whether_to_retry(error: OAuthError) -> None:
    _, _, body = answer(error)
    if error.reason is None:
        assert not {"error_reason", "retry"} & body.keys()
    else:
        assert body["error_reason"] == error.reason.value
        assert body["retry"] == error.reason.retry.value


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_the_log_keeps_the_private_detail_and_the_reason(error: OAuthError) -> None:
    log = endpoint._refusal(error).log
    assert log["error"] == (error.code or None)
    assert log["detail"] == (error.detail or None)
    assert log.get("error_reason") == (error.reason.value if error.reason else None)


@pytest.mark.parametrize("reason", Reason)
def test_a_refused_refresh_token_is_an_invalid_grant_with_its_reason(reason: Reason) -> None:
    """RFC 6749 section 5.2."""
    assert answer(InvalidGrant(reason))[::2] == (
        400,
        {
            "error": "invalid_grant",
            "error_description": reason.description,
            "error_reason": reason.value,
            "retry": reason.retry.value,
        },
    )


@pytest.mark.parametrize(
    ("error", "status", "challenge"),
    [
        (InvalidClient("x"), 401, None),
        (InvalidClient("x", basic=True), 401, 'Basic realm="ratchet", charset="UTF-8"'),
        # RFC 6750 section 3.1: no error code for who sent no token
        (MissingToken(), 401, 'Bearer realm="ratchet"'),
        (
            ExpiredToken("x"),
            401,
            'Bearer realm="ratchet", error="invalid_token", '
            'error_description="The access token expired"',
        ),
        (
            InvalidToken("x", reason=Reason.REVOKED_BY_USER),
            401,
            'Bearer realm="ratchet", error="invalid_token", '
            'error_description="The user signed out."',
        ),
        (
            InsufficientScope("sessions:read"),
            403,
            'Bearer realm="ratchet", error="insufficient_scope", scope="sessions:read"',
        ),
    ],
)
def test_a_challenge_is_what_the_rfcs_ask_for(
    error: OAuthError, status: int, challenge: str | None
) -> None:
    got, headers, _ = answer(error)
    assert (got, headers.get("WWW-Authenticate")) == (status, challenge)


def test_only_errors_of_authentication_challenge() -> None:
    for error in EXAMPLES:
        if error.status not in {401, 403}:
            assert "WWW-Authenticate" not in answer(error)[1]


def test_a_missing_token_has_no_error_code() -> None:
    assert "error" not in answer(MissingToken())[2]


def test_a_wrong_method_names_the_right_ones() -> None:
    status, headers, _ = answer(MethodNotAllowed("GET, DELETE"))
    assert (status, headers["Allow"]) == (405, "GET, DELETE")


def test_who_tries_too_often_is_told_how_long_to_wait() -> None:
    status, headers, body = answer(Throttled(retry_after_seconds=7))
    assert (status, headers["Retry-After"]) == (429, "7")
    assert (body["error"], body["error_reason"], body["retry"]) == (
        "slow_down",
        "throttled",
        "after",
    )


def test_a_fault_of_ours_says_when_to_come_back() -> None:
    status, headers, body = answer(TemporarilyUnavailable())
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    assert int(headers["Retry-After"]) > 0
    assert (body["error_reason"], body["retry"]) == ("unavailable", "after")


# --- what is raised while a request is answered --------------------------------------------------

Raised = Callable[..., tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> Raised:
    """The answer to a request whose flow raises `error`, and the fields of its log line."""
    logged: dict[str, Any] = {}
    monkeypatch.setattr(events, "request_finished", lambda _, **fields: logged.update(fields))
    parts = cast("Parts", SimpleNamespace(issuer="https://id.test"))

    def answer(error: Exception, method: str = "POST") -> tuple[dict[str, Any], dict[str, Any]]:
        def respond(_request: Request, _parts: Parts, _now: int) -> Response:
            raise error

        event = {
            "routeKey": "ANY /oauth/token",
            "requestContext": {"domainName": "id.test", "http": {"method": method}},
        }
        handler = endpoint.handler("issue", {"POST /oauth/token": respond}, lambda: parts)
        return handler(event, None), logged

    return answer


def test_a_fault_is_a_503_and_its_cause_is_for_the_log(raised: Raised) -> None:
    payload, log = raised(Fault("dynamodb: ThrottlingException"))
    assert payload["statusCode"] == log["status"] == 503
    assert int(payload["headers"]["Retry-After"]) > 0
    assert log["fault"] == "dynamodb: ThrottlingException"
    assert "dynamodb" not in payload["body"]


def test_a_defect_is_a_503_whose_message_is_kept_nowhere(raised: Raised) -> None:
    """Its message could quote a token. Type and place are enough to find it."""
    payload, log = raised(KeyError("rt1_secret"))
    assert payload["statusCode"] == 503
    assert log["fault"] == "KeyError"
    assert "test_errors_and_reasons.py:" in log["at"]
    assert "rt1_secret" not in f"{log}{payload}"


def test_a_refusal_is_answered_as_it_was_raised(raised: Raised) -> None:
    payload, log = raised(InvalidGrant(Reason.REUSED, "behind", sid="s1"))
    assert payload["statusCode"] == 400
    assert (log["sid"], log["error_reason"], log["detail"]) == ("s1", "reused", "behind")


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "post", "?"])
def test_a_method_without_a_route_is_a_405(raised: Raised, method: str) -> None:
    payload, _ = raised(AssertionError("not reached"), method)
    assert (payload["statusCode"], payload["headers"]["Allow"]) == (405, "POST")
