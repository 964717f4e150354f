"""Client authentication (RFC 6749 sections 2.3 and 5.2): one way at a time, one answer for all."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.application import Application, hash_secret
from ratchet.applications import Applications
from ratchet.client_assertion import ClientAssertions
from ratchet.client_authentication import (
    authenticate,
    authenticate_backend,
    authenticate_confidential,
)
from ratchet.errors import ApplicationDisabled, InvalidClient, InvalidRequest, OAuthError
from ratchet.request import Parameters, Request

NOW = 1_800_000_000
ODD = "a:b c+d%é/&="
# Nobody in this file sends one; tests/functional/test_client_assertions.py is about them.
NO_ASSERTIONS = cast("ClientAssertions", None)
MakeApplication = Callable[..., Application]


class Registered(dict[str, Application]):
    """As much of `Applications` as authentication needs."""

    def get(self, client_id: str, now: int) -> Application | None:  # type: ignore[override] # a stand-in
        assert now == NOW
        return super().get(client_id)


@pytest.fixture
def applications(make_application: MakeApplication) -> Applications:
    def confidential(client_id: str, *secrets: str, **fields: Any) -> Application:
        hashes = tuple(map(hash_secret, secrets))
        return make_application(
            client_id=client_id, confidential=True, secret_hashes=hashes, **fields
        )

    registered = [
        confidential("backend", "old-secret", "new-secret"),
        confidential("odd:id", ODD),
        confidential("off", "off-secret", disabled_at=NOW - 1),
        make_application(client_id="public"),
        make_application(client_id="public-off", disabled_at=NOW - 1),
    ]
    by_id = Registered({application.client_id: application for application in registered})
    return cast("Applications", by_id)


def request(authorization: str | None = None) -> Request:
    return Request(
        method="POST",
        resource="/oauth/token",
        headers={} if authorization is None else {"authorization": authorization},
        path_parameters={},
        query="",
        body=b"",
        request_id="r1",
        issuer="https://id.test",
    )


def basic(text: str | bytes, scheme: str = "Basic") -> str:
    raw = text.encode() if isinstance(text, str) else text
    return f"{scheme} {b64encode(raw).decode()}"


def authenticated(
    applications: Applications, authorization: str | None = None, **parameters: str
) -> str:
    return authenticate(
        request(authorization),
        Parameters(parameters),
        applications=applications,
        client_assertions=NO_ASSERTIONS,
        now=NOW,
    ).client_id


def refused(
    applications: Applications, authorization: str | None = None, **parameters: str
) -> OAuthError:
    with pytest.raises(OAuthError) as caught:
        authenticated(applications, authorization, **parameters)
    return caught.value


@pytest.mark.parametrize("secret", ["old-secret", "new-secret"])
@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
def test_an_application_authenticates_with_any_of_its_valid_secrets_in_the_header(
    applications: Applications, secret: str, scheme: str
) -> None:
    """Two of them are valid while one replaces the other."""
    assert authenticated(applications, basic(f"backend:{secret}", scheme)) == "backend"


@pytest.mark.parametrize("secret", ["old-secret", "new-secret"])
def test_an_application_authenticates_in_the_body(applications: Applications, secret: str) -> None:
    assert authenticated(applications, client_id="backend", client_secret=secret) == "backend"


def test_both_halves_of_basic_credentials_are_form_encoded(applications: Applications) -> None:
    """RFC 6749 section 2.3.1."""
    encoded = f"{quote_plus('odd:id')}:{quote_plus(ODD)}"
    assert authenticated(applications, basic(encoded)) == "odd:id"
    assert isinstance(refused(applications, basic(f"odd:id:{ODD}")), InvalidClient)


def test_a_public_application_only_names_itself(applications: Applications) -> None:
    assert authenticated(applications, client_id="public") == "public"


def test_a_public_application_may_send_an_empty_password(applications: Applications) -> None:
    """Many OAuth clients do; RFC 6749 section 2.3.1 lets an empty secret be omitted."""
    assert authenticated(applications, basic("public:")) == "public"
    assert authenticated(applications, basic("public")) == "public"
    assert authenticated(applications, client_id="public", client_secret="") == "public"


@pytest.mark.parametrize("client_id", ["backend", "public"])
def test_the_body_may_repeat_the_headers_client_id(
    applications: Applications, client_id: str
) -> None:
    password = "old-secret" if client_id == "backend" else ""
    header = basic(f"{client_id}:{password}")
    assert authenticated(applications, header, client_id=client_id) == client_id


def test_another_client_id_in_the_body_is_refused(applications: Applications) -> None:
    error = refused(applications, basic("backend:old-secret"), client_id="public")
    assert isinstance(error, InvalidRequest)


@pytest.mark.parametrize("secret", ["old-secret", "wrong"])
def test_two_ways_at_once_are_refused_even_if_both_are_right(
    applications: Applications, secret: str
) -> None:
    """ "The client MUST NOT use more than one authentication method in each request." """
    header = basic("backend:old-secret")
    error = refused(applications, header, client_id="backend", client_secret=secret)
    assert isinstance(error, InvalidRequest)


HEADER = {"WWW-Authenticate": 'Basic realm="ratchet", charset="UTF-8"'}


@pytest.mark.parametrize(
    ("authorization", "parameters"),
    [
        # nothing at all
        (None, {}),
        # unreadable
        ("", {}),
        ("Basic", {}),
        ("Basic !", {}),
        ("Basic YWJ", {}),
        ("Basic é", {}),
        ("Basic YmFja2VuZDpvbGQtc2VjcmV0,Basic YmFja2VuZDpvbGQtc2VjcmV0", {}),
        (basic(b"backend:\xff"), {}),
        (basic("backend:%FF"), {}),
        (basic("%FF:old-secret"), {}),
        ("Bearer abc", {}),
        ("Bearer abc", {"client_id": "public"}),
        # readable, and wrong
        (basic(""), {}),
        (basic(":old-secret"), {}),
        (basic("unknown:old-secret"), {}),
        (basic("backend:"), {}),
        (basic("backend"), {}),
        (basic("backend:wrong"), {}),
        (basic("backend:old-secret "), {}),
        (basic("Backend:old-secret"), {}),
        (basic("public:a-secret"), {}),
        (basic("off:wrong"), {}),
        (None, {"client_id": "unknown"}),
        (None, {"client_id": "backend"}),
        (None, {"client_id": "backend", "client_secret": ""}),
        (None, {"client_id": "backend", "client_secret": "wrong"}),
        (None, {"client_id": "public", "client_secret": "a-secret"}),
        (None, {"client_id": "off", "client_secret": "wrong"}),
        (None, {"client_secret": "old-secret"}),
    ],
)
def test_every_failure_looks_the_same_and_challenges_who_used_the_header(
    applications: Applications, authorization: str | None, parameters: dict[str, str]
) -> None:
    """So that client ids cannot be probed. Who sent nothing is told how to authenticate."""
    error = refused(applications, authorization, **parameters)
    assert type(error) is InvalidClient
    assert (error.status, error.code, error.reason) == (401, "invalid_client", None)
    assert error.description == "Client authentication failed."
    named = "client_id" in parameters and authorization is None
    assert error.headers == ({} if named else HEADER)


@pytest.mark.parametrize(
    ("authorization", "parameters", "headers"),
    [
        (basic("off:off-secret"), {}, HEADER),
        (None, {"client_id": "off", "client_secret": "off-secret"}, {}),
        (None, {"client_id": "public-off"}, {}),
    ],
)
def test_a_disabled_application_learns_it_only_if_it_is_who_it_says(
    applications: Applications,
    authorization: str | None,
    parameters: dict[str, str],
    headers: dict[str, str],
) -> None:
    error = refused(applications, authorization, **parameters)
    assert isinstance(error, ApplicationDisabled)
    assert (error.status, error.code) == (401, "invalid_client")
    assert error.reason == "application_disabled"
    assert error.headers == headers


@pytest.mark.parametrize(
    ("authorization", "parameters"), [(basic("public:"), {}), (None, {"client_id": "public"})]
)
def test_a_public_application_has_proved_nothing(
    applications: Applications, authorization: str | None, parameters: dict[str, str]
) -> None:
    with pytest.raises(InvalidClient, match="public application"):
        authenticate_confidential(
            request(authorization),
            Parameters(parameters),
            applications=applications,
            client_assertions=NO_ASSERTIONS,
            now=NOW,
        )


def test_a_confidential_application_is_let_in_where_only_such_are(
    applications: Applications,
) -> None:
    parameters = Parameters({"client_id": "backend", "client_secret": "new-secret"})
    application = authenticate_confidential(
        request(),
        parameters,
        applications=applications,
        client_assertions=NO_ASSERTIONS,
        now=NOW,
    )
    assert application.client_id == "backend"


def test_only_the_header_counts_where_the_body_is_about_somebody_else(
    applications: Applications,
) -> None:
    """POST /sessions: client_id in the body is the application that the session is for."""
    given: dict[str, Any] = {
        "applications": applications,
        "client_assertions": NO_ASSERTIONS,
        "now": NOW,
    }
    body = Parameters({"client_id": "public", "client_secret": "x"})
    header = request(basic("backend:old-secret"))
    assert authenticate_backend(header, body, **given).client_id == "backend"
    with pytest.raises(InvalidClient) as caught:
        authenticate_backend(request(), body, **given)
    assert caught.value.headers == HEADER


@given(authorization=st.text() | (st.binary() | st.text()).map(basic))
def test_an_arbitrary_header_is_refused_and_raises_nothing_else(authorization: str) -> None:
    nobody = cast("Applications", Registered())
    assert isinstance(refused(nobody, authorization), InvalidClient)


def test_no_secret_shows_in_an_error(applications: Applications) -> None:
    for error in (
        refused(applications, basic("backend:the-wrong-one")),
        refused(applications, client_id="backend", client_secret="the-wrong-one"),
    ):
        assert "the-wrong-one" not in f"{error!r}{error.detail}{error.log}{error.headers}"
