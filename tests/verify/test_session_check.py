"""APIs that cannot wait for exp ask whether the session is alive (RFC 7662)."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from ratchet_verify import EndedSession, SessionCheck, Unavailable, Verifier
from ratchet_verify.fetch import FetchFailed
from ratchet_verify.session_check import MAX_KEPT
from tests.verify.conftest import API, NOW, Issuer

URL = f"{API}/pay"


class Introspection:
    def __init__(self) -> None:
        self.active: Any = True
        self.asked: list[Any] = []

    def get_json(self, url: str, *, data: bytes, headers: dict[str, str]) -> Any:
        assert url == "https://id.test/oauth/introspect"
        # RFC 6749 section 2.3.1: "api:%3A" is what the colon of the secret becomes
        assert headers["Authorization"] == "Basic YXBpOiUzQQ=="
        self.asked.append(parse_qs(data.decode())["token"][0])
        if self.active is None:
            raise FetchFailed("HTTP 503")
        return {"active": self.active}


@pytest.fixture
def introspection() -> Introspection:
    return Introspection()


@pytest.fixture
def verifier(issuer: Issuer, introspection: Introspection) -> Verifier:
    check = SessionCheck(
        "https://id.test/oauth/introspect", "api", ":", get_json=introspection.get_json
    )
    return issuer.verifier(session_check=check)


def call(verifier: Verifier, token: str, *, session: bool = True) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return verifier.authenticate(headers, method="POST", url=URL, session=session)


def test_an_ended_session_is_refused_though_the_token_would_be_good(
    issuer: Issuer, verifier: Verifier, introspection: Introspection
) -> None:
    token = issuer.token()
    introspection.active = False
    assert call(verifier, token, session=False)
    with pytest.raises(EndedSession) as caught:
        call(verifier, token)
    assert "session of the access token has ended" in caught.value.headers["www-authenticate"]
    assert introspection.asked == [token]


def test_a_verdict_is_kept_for_seconds(
    issuer: Issuer, verifier: Verifier, introspection: Introspection
) -> None:
    token = issuer.token()
    for seconds in (0, 1, 9):
        issuer.now = NOW + seconds
        call(verifier, token)
    assert len(introspection.asked) == 1
    introspection.active = False
    issuer.now = NOW + 10
    with pytest.raises(EndedSession):
        call(verifier, token)
    issuer.now = NOW + 19
    introspection.active = True
    with pytest.raises(EndedSession):
        call(verifier, token)
    assert len(introspection.asked) == 2


def test_a_verdict_never_outlives_its_token(
    issuer: Issuer, verifier: Verifier, introspection: Introspection
) -> None:
    token = issuer.token(exp=NOW + 3)
    call(verifier, token)
    introspection.active = False
    issuer.now = NOW + 3
    with pytest.raises(EndedSession):
        call(verifier, token)


def test_a_clock_that_is_set_back_keeps_no_verdict_for_longer(
    issuer: Issuer, verifier: Verifier, introspection: Introspection
) -> None:
    token = issuer.token()
    call(verifier, token)
    issuer.now = NOW - 1
    call(verifier, token)
    assert len(introspection.asked) == 2


def test_one_tokens_verdict_says_nothing_of_another(
    issuer: Issuer, verifier: Verifier, introspection: Introspection
) -> None:
    call(verifier, issuer.token())
    introspection.active = False
    with pytest.raises(EndedSession):
        call(verifier, issuer.token())


@pytest.mark.parametrize("answer", [None, "yes", 1])
def test_while_nobody_knows_the_answer_is_503(
    issuer: Issuer, verifier: Verifier, introspection: Introspection, answer: Any
) -> None:
    introspection.active = answer
    with pytest.raises(Unavailable):
        call(verifier, issuer.token())
    introspection.active = True
    assert call(verifier, issuer.token())


def test_a_bad_token_is_not_asked_about(
    issuer: Issuer, verifier: Verifier, introspection: Introspection
) -> None:
    with pytest.raises(Exception, match="audience"):
        call(verifier, issuer.token(aud="https://other.test"))
    assert introspection.asked == []


def test_a_session_cannot_be_asked_for_without_anybody_to_ask(issuer: Issuer) -> None:
    with pytest.raises(ValueError, match="session_check"):
        call(issuer.verifier(), issuer.token())


def test_the_verdicts_that_are_kept_are_bounded(issuer: Issuer) -> None:
    check = SessionCheck(
        "https://id.test/oauth/introspect", "a", "b", get_json=lambda *_, **__: {"active": True}
    )
    claims = issuer.verifier().verify(issuer.token())
    for number in range(MAX_KEPT + 10):
        check.check(f"token {number}", claims, NOW)
    assert len(check._kept) == MAX_KEPT
