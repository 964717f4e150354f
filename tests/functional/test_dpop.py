"""DPoP (RFC 9449): what is bound to a key is of no use without it, and a thief ends nothing."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from joserfc.jwk import Key

from ratchet import endpoint
from ratchet.application import JWT_BEARER, TOKEN_EXCHANGE
from ratchet.dpop import NONCE_SECONDS
from ratchet.grants import refresh_token
from ratchet.session_item import MAX_ITEM_BYTES, item_bytes, largest_bytes
from tests import proofs
from tests.functional.conftest import BACKEND, ISSUER, MACHINE, START, Answer, Service
from tests.functional.test_id_tokens import TOKEN_TYPE, Shop
from tests.identity_provider import identity_provider

KEY = proofs.new_key()
THIEFS_KEY = proofs.new_key()
JKT = proofs.jkt(KEY)
IDEMPOTENCY_KEY = "a-random-idempotency-key"


def claims(access_token: str) -> dict[str, Any]:
    payload = access_token.split(".")[1]
    decoded: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded


class Client:
    """A client with a key. It learns its nonce as RFC 9449 section 8 has it."""

    def __init__(self, service: Service, key: Key = KEY) -> None:
        self.service = service
        self.key = key
        self.nonce: str | None = None

    def proof(self, method: str, path: str, **changes: Any) -> str:
        fields = {"now": self.service.now, "nonce": self.nonce, **changes}
        return proofs.proof(self.key, method, ISSUER + path, **fields)

    def learn(self) -> None:
        """Any request with a proof gets a nonce; this one has no token worth a look."""
        answer = self.post("/oauth/token", {"grant_type": "client_credentials"}, auth=MACHINE)
        self.nonce = answer.headers["dpop-nonce"]

    def post(
        self,
        path: str,
        form: Mapping[str, str],
        proof: str | None = None,
        auth: tuple[str, str] | None = None,
        **headers: str,
    ) -> Answer:
        sent = {"DPoP": proof or self.proof("POST", path), **headers}
        return self.service.call("POST", path, form=form, headers=sent, auth=auth)

    def refresh(self, token: str, proof: str | None = None, **headers: str) -> Answer:
        form = {"client_id": "demo-native", "refresh_token": token}
        return self.post("/oauth/refresh", form, proof, None, **headers)

    def resource(
        self, method: str, path: str, token: str, proof: str | None = None, scheme: str = "DPoP"
    ) -> Answer:
        address = path.partition("?")[0]
        made = proof or self.proof(method, address, access_token=token)
        headers = {"Authorization": f"{scheme} {token}", "DPoP": made}
        return self.service.call(method, path, headers=headers)


@pytest.fixture
def client(service: Service) -> Client:
    client = Client(service)
    client.learn()
    return client


@pytest.fixture
def thief(service: Service) -> Client:
    thief = Client(service, THIEFS_KEY)
    thief.learn()
    return thief


def bound(service: Service, **parameters: str) -> Answer:
    return service.start(dpop_jkt=JKT, **parameters)


# --- starting ------------------------------------------------------------------------------------


def test_a_backend_starts_a_session_that_is_bound_to_the_key_it_vouches_for(
    service: Service,
) -> None:
    answer = bound(service)
    assert answer["token_type"] == "DPoP"
    assert claims(answer["access_token"])["cnf"] == {"jkt": JKT}
    stored = service.item(answer["sid"])["jkt"]["B"]
    assert bytes(stored) == urlsafe_b64decode(JKT + "=")


def test_without_a_key_nothing_changes(service: Service) -> None:
    answer = service.start()
    assert answer["token_type"] == "Bearer"
    assert "cnf" not in claims(answer["access_token"])
    assert not {"jkt", "proof_id"} & service.item(answer["sid"]).keys()


@pytest.mark.parametrize(
    "jkt",
    ["x", JKT[:-1], JKT + "A", JKT[:-1] + "=", JKT[:-1] + "B", "é" * 43],
    ids=["a letter", "too short", "too long", "padded", "spare bits", "not ASCII"],
)
def test_a_thumbprint_that_is_none_starts_nothing(service: Service, jkt: str) -> None:
    form = {"client_id": "demo-native", "sub": "ada", "dpop_jkt": jkt}
    answer = service.call("POST", "/sessions", form=form, auth=BACKEND)
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert "dpop_jkt" in answer["error_description"]


def test_an_application_that_takes_no_dpop_is_not_given_a_session_that_seems_bound(
    service: Service,
) -> None:
    form = {"client_id": "demo-browser", "sub": "ada", "dpop_jkt": JKT}
    answer = service.call("POST", "/sessions", form=form, auth=BACKEND)
    assert (answer.status, answer["error"]) == (400, "invalid_request")
    assert "does not take DPoP" in answer.log["detail"]


def test_where_a_key_is_required_nothing_starts_without(service: Service) -> None:
    service.change("demo-native", dpop="required")
    form = {"client_id": "demo-native", "sub": "ada"}
    service.calls.clear()
    answer = service.call("POST", "/sessions", form=form, auth=BACKEND)
    assert (answer.status, answer["error"]) == (400, "invalid_dpop_proof")
    assert (answer.log["detail"], answer.log["client_id"]) == ("no proof", "demo-native")
    assert "PutItem" not in service.calls.names
    assert bound(service).status == 200


LOGIN = {
    "client_id": "demo-native",
    "email": "ada@example.com",
    "password": "correct-horse-battery-staple",
}


def test_a_sign_in_with_a_proof_starts_a_bound_session(service: Service) -> None:
    client = Client(service)
    asked = client.post("/login", LOGIN)
    assert (asked.status, asked["error"]) == (400, "use_dpop_nonce")
    client.nonce = asked.headers["dpop-nonce"]
    answer = client.post("/login", LOGIN)
    assert (answer.status, answer["token_type"]) == (200, "DPoP")
    assert service.session(answer["sid"]).jkt == JKT
    assert client.refresh(answer["refresh_token"]).status == 200
    assert service.call("POST", "/login", form=LOGIN)["token_type"] == "Bearer"


def test_a_sign_in_without_a_proof_where_it_is_required_costs_no_attempt(service: Service) -> None:
    service.change("demo-native", dpop="required")
    service.calls.clear()
    answer = service.call("POST", "/login", form=LOGIN)
    assert (answer.status, answer["error"]) == (400, "invalid_dpop_proof")
    assert service.calls.names == ["GetItem"]


@pytest.mark.parametrize("grant", [JWT_BEARER, TOKEN_EXCHANGE])
def test_an_id_token_with_a_proof_starts_a_bound_session(service: Service, grant: str) -> None:
    """the ID token is not used up by the request that lacked the nonce"""
    with identity_provider() as provider:
        shop = Shop(service, provider)
        shop.register(dpop="required")
        client, token = Client(service), shop.id_token()
        form = {"grant_type": grant, "client_id": "shop-app", "assertion": token}
        form |= {"subject_token": token, "subject_token_type": f"{TOKEN_TYPE}id_token"}
        headers = {"Idempotency-Key": IDEMPOTENCY_KEY}
        bare = service.call("POST", "/oauth/token", form=form, headers=headers)
        assert (bare.status, bare["error"]) == (400, "invalid_dpop_proof")
        asked = client.post("/oauth/token", form, None, None, **headers)
        assert (asked.status, asked["error"]) == (400, "use_dpop_nonce")
        client.nonce = asked.headers["dpop-nonce"]
        answer = client.post("/oauth/token", form, None, None, **headers)
        assert (answer.status, answer["token_type"]) == (200, "DPoP")
        session = service.session(answer["sid"])
        assert session.jkt == JKT
        # the same request again, and with the same proof or not: the same tokens for the same key
        again = client.post("/oauth/token", form, None, None, **headers)
        assert again["refresh_token"] == answer["refresh_token"]
        assert claims(again["access_token"])["cnf"] == {"jkt": JKT}
        thief = Client(service, THIEFS_KEY)
        thief.nonce = client.nonce
        stolen = thief.post("/oauth/token", form, None, None, **headers)
        assert (stolen.status, stolen["error_reason"]) == (400, "assertion_used")
        assert stolen.log["detail"] == "used before, with another key"
        assert service.session(answer["sid"]) == session


# --- refreshing ----------------------------------------------------------------------------------


def test_a_bound_session_is_refreshed_with_proofs_of_its_key(
    service: Service, client: Client
) -> None:
    answer = bound(service)
    for generation in range(1, 4):
        answer = client.refresh(answer["refresh_token"])
        assert (answer.status, answer["token_type"]) == (200, "DPoP")
        assert claims(answer["access_token"])["cnf"] == {"jkt": JKT}
        assert service.session(answer["sid"]).generation == generation
    assert answer.headers["dpop-nonce"]


def test_at_the_token_endpoint_it_is_the_same(service: Service, client: Client) -> None:
    token = bound(service)["refresh_token"]
    form = {"grant_type": "refresh_token", "client_id": "demo-native", "refresh_token": token}
    answer = client.post("/oauth/token", form)
    assert (answer.status, answer["token_type"]) == (200, "DPoP")


def test_a_refresh_of_a_bound_session_is_one_write_and_no_read(
    service: Service, client: Client
) -> None:
    answer = client.refresh(bound(service)["refresh_token"])
    for _ in range(5):
        service.calls.clear()
        answer = client.refresh(answer["refresh_token"], **{"Idempotency-Key": IDEMPOTENCY_KEY})
        assert service.calls.names == ["UpdateItem"]
    item = service.item(answer["sid"])
    assert item_bytes(item) <= largest_bytes(service.session(answer["sid"])) <= MAX_ITEM_BYTES


def untouched(service: Service, sid: str, before: Any, answer: Answer, error: str) -> None:
    assert (answer.status, answer["error"]) == (400, error)
    assert service.item(sid) == before
    assert service.told == []


def test_a_stolen_token_without_a_proof_is_refused_without_a_call(service: Service) -> None:
    first = bound(service)
    before = service.item(first["sid"])
    service.calls.clear()
    answer = service.refresh(first["refresh_token"])
    assert service.calls.names == []
    untouched(service, first["sid"], before, answer, "invalid_grant")
    assert (answer["error_reason"], answer["retry"]) == ("wrong_key", "never")
    assert (answer.log["detail"], answer.log["sid"]) == ("no proof", first["sid"])


def test_a_stolen_token_with_the_proof_of_another_key_is_refused_and_the_session_untouched(
    service: Service, client: Client, thief: Client
) -> None:
    first = bound(service)
    before = service.item(first["sid"])
    service.calls.clear()
    answer = thief.refresh(first["refresh_token"])
    assert service.calls.names == ["UpdateItem"]
    untouched(service, first["sid"], before, answer, "invalid_grant")
    assert (answer["error_reason"], answer["retry"]) == ("wrong_key", "never")
    assert answer.log["detail"] == "the proof of another key"
    assert client.refresh(first["refresh_token"]).status == 200


@pytest.mark.parametrize("rotations", [1, 2, 3])
def test_an_old_stolen_token_does_not_count_as_reuse_without_the_key(
    service: Service, client: Client, thief: Client, rotations: int
) -> None:
    """inside the leeway as the parent, and as an older one"""
    first = latest = bound(service)
    for _ in range(rotations):
        latest = client.refresh(latest["refresh_token"])
    before = service.item(first["sid"])
    answer = thief.refresh(first["refresh_token"])
    untouched(service, first["sid"], before, answer, "invalid_grant")
    assert answer["error_reason"] == "wrong_key"
    untouched(
        service, first["sid"], before, service.refresh(first["refresh_token"]), "invalid_grant"
    )
    assert client.refresh(latest["refresh_token"]).status == 200


def test_with_the_key_an_old_token_is_reuse_as_ever(service: Service, client: Client) -> None:
    """two copies of the client itself, key and all; any DPoP client repeats with the new nonce"""
    first = bound(service)
    client.refresh(client.refresh(first["refresh_token"])["refresh_token"])
    before = service.item(first["sid"])
    asked = client.refresh(first["refresh_token"])
    untouched(service, first["sid"], before, asked, "use_dpop_nonce")
    assert asked.log["detail"] == "a replaced token"
    client.nonce = asked.headers["dpop-nonce"]
    answer = client.refresh(first["refresh_token"])
    assert (answer.status, answer["error_reason"]) == (400, "reused")
    assert service.session(first["sid"]).ended_at == START
    assert "session.reuse_detected" in [event["type"] for event in service.told]


def test_copies_of_earlier_refreshes_end_nothing_however_many(
    service: Service, client: Client
) -> None:
    """not only of the last one: each has a proof that is still good, of the owner's key"""
    latest = first = bound(service)
    copies = []
    for _ in range(3):
        proof = client.proof("POST", "/oauth/refresh")
        copies.append((latest["refresh_token"], proof))
        latest = client.refresh(latest["refresh_token"], proof)
        client.nonce = latest.headers["dpop-nonce"]
        service.now += 60
    before = service.item(first["sid"])
    for token, proof in copies[:2]:
        for _ in range(2):
            answer = client.refresh(token, proof)
            untouched(service, first["sid"], before, answer, "use_dpop_nonce")
    # nor with a proof of another of the copies
    answer = client.refresh(copies[0][0], copies[1][1])
    untouched(service, first["sid"], before, answer, "use_dpop_nonce")
    assert client.refresh(latest["refresh_token"]).status == 200


def test_a_copy_of_a_replay_ends_nothing_once_the_leeway_is_over(
    service: Service, client: Client
) -> None:
    """its proof is none the session knows, and its nonce may be younger than the rotation"""
    first = bound(service)
    second = client.refresh(first["refresh_token"])
    service.now += 10
    client.learn()
    copied = client.proof("POST", "/oauth/refresh")
    assert client.refresh(first["refresh_token"], copied).log["outcome"] == "replayed_leeway"
    before = service.item(first["sid"])
    service.now += 30
    answer = client.refresh(first["refresh_token"], copied)
    untouched(service, first["sid"], before, answer, "use_dpop_nonce")
    assert client.refresh(second["refresh_token"]).status == 200


def test_a_nonce_about_one_token_says_nothing_about_another(
    service: Service, client: Client
) -> None:
    """a client that used an old token by mistake refreshes with the nonce it was told"""
    first = bound(service)
    second = client.refresh(first["refresh_token"])
    third = client.refresh(second["refresh_token"])
    client.nonce = client.refresh(first["refresh_token"]).headers["dpop-nonce"]
    copied = client.proof("POST", "/oauth/refresh")
    fourth = client.refresh(third["refresh_token"], copied)
    latest = client.refresh(fourth["refresh_token"])
    before = service.item(first["sid"])
    answer = client.refresh(third["refresh_token"], copied)
    untouched(service, first["sid"], before, answer, "use_dpop_nonce")
    assert client.refresh(latest["refresh_token"]).status == 200


def test_tabs_that_share_the_key_get_one_successor(service: Service, client: Client) -> None:
    first = bound(service)
    answers = [client.refresh(first["refresh_token"]) for _ in range(3)]
    assert {answer.status for answer in answers} == {200}
    assert len({answer["refresh_token"] for answer in answers}) == 1
    assert service.session(first["sid"]).generation == 1


def test_of_many_at_once_the_key_gets_one_successor_and_thieves_get_nothing(
    service: Service, client: Client, thief: Client
) -> None:
    """each in one write of its own, past the driver, which reads the log after each call"""
    first = bound(service)
    token, path = first["refresh_token"], "/oauth/refresh"
    handle = endpoint.handler(
        "refresh", {f"POST {path}": refresh_token.respond}, lambda: service.parts
    )

    def call(caller: Client) -> tuple[int, str]:
        event = {
            "routeKey": f"ANY {path}",
            "headers": {
                "content-type": "application/x-www-form-urlencoded",
                "dpop": caller.proof("POST", path),
            },
            "requestContext": {"http": {"method": "POST"}, "domainName": "id.test"},
            "body": f"client_id=demo-native&refresh_token={token}",
        }
        answer = handle(event, None)
        body = json.loads(answer["body"])
        return answer["statusCode"], body.get("refresh_token") or body["error_reason"]

    service.calls.clear()
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(call, [client, thief] * 8))
    assert len({answer for answer in answers[::2] if answer[0] == 200}) == 1
    assert {status for status, _ in answers[::2]} == {200}
    assert set(answers[1::2]) == {(400, "wrong_key")}
    assert service.calls.names == ["UpdateItem"] * 16
    session = service.session(first["sid"])
    assert (session.generation, session.ended_at) == (1, None)


def test_a_bound_session_stays_bound_when_the_application_takes_no_dpop_any_more(
    service: Service, client: Client
) -> None:
    """a change of the application is not retroactive, neither way"""
    first, free = bound(service), service.start()
    service.change("demo-native", dpop="off")
    client.learn()
    answer = client.refresh(first["refresh_token"])
    assert (answer.status, answer["token_type"]) == (200, "DPoP")
    assert service.refresh(answer["refresh_token"])["error_reason"] == "wrong_key"
    service.change("demo-native", dpop="required")
    assert service.refresh(free["refresh_token"])["token_type"] == "Bearer"


def test_a_session_that_started_unbound_takes_no_notice_of_a_proof(
    service: Service, client: Client
) -> None:
    """else a thief could bind a stolen session to a key of his own"""
    answer = client.refresh(service.start()["refresh_token"])
    assert (answer.status, answer["token_type"]) == (200, "Bearer")
    assert not {"jkt", "proof_id"} & service.item(answer["sid"]).keys()


# --- proofs --------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "for another address": ({"htu": f"{ISSUER}/oauth/token"}, "htu"),
    "for another method": ({"htm": "GET"}, "htm"),
    "of another type": ({"header": {"typ": "JWT"}}, "typ"),
    "of long ago": ({"iat": 5}, "iat"),
    "without jti": ({"jti": None}, "jti"),
    "with the private key": ({"header": {"jwk": KEY.as_dict(private=True)}}, "private key"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_proof_changes_nothing_and_the_log_says_what_is_wrong(
    service: Service, client: Client, case: str
) -> None:
    changes, detail = BROKEN[case]
    first = bound(service)
    before = service.item(first["sid"])
    service.calls.clear()
    answer = client.refresh(
        first["refresh_token"], client.proof("POST", "/oauth/refresh", **changes)
    )
    assert service.calls.names == []
    untouched(service, first["sid"], before, answer, "invalid_dpop_proof")
    assert answer.log["detail"] == detail
    assert client.refresh(first["refresh_token"]).status == 200


def test_two_proofs_in_one_request_are_refused(service: Service, client: Client) -> None:
    first = bound(service)
    two = ",".join(client.proof("POST", "/oauth/refresh") for _ in range(2))
    answer = client.refresh(first["refresh_token"], two)
    assert (answer["error"], answer.log["detail"]) == ("invalid_dpop_proof", "more than one")


def test_a_copy_of_the_last_request_neither_rotates_nor_ends_the_session(
    service: Service, client: Client
) -> None:
    """whoever saw it has the token and the proof, but not the key"""
    first = bound(service)
    copied = client.proof("POST", "/oauth/refresh")
    second = client.refresh(first["refresh_token"], copied)
    after = service.item(first["sid"])
    # as a retry by the network would: the same answer, which needs the key to be of use
    again = client.refresh(first["refresh_token"], copied)
    assert again["refresh_token"] == second["refresh_token"]
    answer = client.refresh(second["refresh_token"], copied)
    untouched(service, first["sid"], after, answer, "invalid_dpop_proof")
    assert answer.log["detail"] == "used before"
    service.now += 31
    answer = client.refresh(first["refresh_token"], copied)
    untouched(service, first["sid"], after, answer, "invalid_dpop_proof")
    assert client.refresh(second["refresh_token"]).status == 200


def test_without_rotation_the_token_and_its_binding_stay(service: Service, client: Client) -> None:
    service.set_policy("demo-native", rotation=False, rotation_off_reason="a legacy client")
    client.learn()
    first = bound(service)
    for _ in range(2):
        answer = client.refresh(first["refresh_token"])
        assert (answer.status, answer.log["outcome"]) == (200, "kept")
    assert service.refresh(first["refresh_token"])["error_reason"] == "wrong_key"


# --- nonces --------------------------------------------------------------------------------------


def test_a_proof_without_a_nonce_is_told_one_and_the_retry_succeeds(service: Service) -> None:
    client = Client(service)
    first = bound(service)
    before = service.item(first["sid"])
    service.calls.clear()
    answer = client.refresh(first["refresh_token"])
    assert service.calls.names == []
    untouched(service, first["sid"], before, answer, "use_dpop_nonce")
    assert (answer.log["error"], answer.log["detail"]) == ("use_dpop_nonce", "no nonce")
    client.nonce = answer.headers["dpop-nonce"]
    assert client.refresh(first["refresh_token"]).status == 200


def test_an_old_nonce_is_replaced(service: Service, client: Client) -> None:
    first = bound(service)
    service.now += NONCE_SECONDS
    answer = client.refresh(first["refresh_token"])
    assert (answer.status, answer.log["detail"]) == (400, "expired nonce")
    client.nonce = answer.headers["dpop-nonce"]
    assert client.refresh(first["refresh_token"]).status == 200


def test_a_success_has_the_next_nonce_and_only_for_those_who_use_proofs(
    service: Service, client: Client
) -> None:
    answer = client.refresh(bound(service)["refresh_token"])
    service.now += NONCE_SECONDS - 1
    client.nonce = answer.headers["dpop-nonce"]
    assert client.refresh(answer["refresh_token"]).status == 200
    assert "dpop-nonce" not in service.refresh(service.start()["refresh_token"]).headers


def test_a_forged_token_is_refused_before_its_proof_is_looked_at(service: Service) -> None:
    answer = Client(service).refresh("rt1_" + "A" * 104)
    assert (answer["error"], answer["error_reason"]) == ("invalid_grant", "unknown_pepper")


def test_a_page_may_read_its_nonce(service: Service) -> None:
    """from the refusal and from the success"""
    service.change("demo-browser", dpop="optional")
    client, origin = Client(service), {"Origin": "http://localhost:5173"}
    token = service.start("demo-browser", dpop_jkt=JKT)["refresh_token"]
    form = {"client_id": "demo-browser", "refresh_token": token}
    for status, error in ((400, "use_dpop_nonce"), (200, None)):
        answer = client.post("/oauth/refresh", form, None, None, **origin)
        assert (answer.status, answer.body.get("error")) == (status, error)
        assert "DPoP-Nonce" in answer.headers["access-control-expose-headers"]
        client.nonce = answer.headers["dpop-nonce"]


# --- confidential applications -------------------------------------------------------------------


def credentials(client: Client, proof: str | None = None) -> Answer:
    return client.post(
        "/oauth/token", {"grant_type": "client_credentials"}, proof=proof, auth=MACHINE
    )


def test_client_credentials_are_bound_to_the_key_of_the_request(
    service: Service, client: Client, thief: Client
) -> None:
    for one in (client, thief):
        answer = credentials(one)
        assert (answer.status, answer["token_type"]) == (200, "DPoP")
        assert claims(answer["access_token"])["cnf"] == {"jkt": proofs.jkt(one.key)}


def test_client_credentials_need_a_proof_where_it_is_required(
    service: Service, client: Client
) -> None:
    form = {"grant_type": "client_credentials"}
    assert service.call("POST", "/oauth/token", form=form, auth=MACHINE)["token_type"] == "Bearer"
    service.change("demo-machine", dpop="required")
    answer = service.call("POST", "/oauth/token", form=form, auth=MACHINE)
    assert (answer.status, answer["error"]) == (400, "invalid_dpop_proof")
    assert answer.log["client_id"] == "demo-machine"
    service.change("demo-machine", dpop="off")
    client.learn()
    assert credentials(client)["token_type"] == "Bearer"


# --- resources -----------------------------------------------------------------------------------


def test_sessions_take_a_bound_token_with_its_proof(service: Service, client: Client) -> None:
    tokens = bound(service)
    access_token, sid = tokens["access_token"], tokens["sid"]
    listed = client.resource("GET", "/sessions?sub=ada", access_token)
    assert (listed.status, listed["sessions"][0]["sid"]) == (200, sid)
    assert listed.headers["dpop-nonce"]
    assert client.resource("GET", f"/sessions/{sid}", access_token).status == 200
    assert client.resource("DELETE", f"/sessions/{sid}", access_token).status == 204
    over = client.resource("GET", "/sessions", access_token)
    assert (over.status, over["error_reason"]) == (401, "revoked_by_user")
    assert over.headers["www-authenticate"].startswith(
        'DPoP realm="ratchet", error="invalid_token"'
    )


def test_a_bound_token_is_no_bearer_token(service: Service, client: Client) -> None:
    """Section 7.2."""
    token = bound(service)["access_token"]
    bare = service.call("GET", "/sessions", bearer=token)
    assert (bare.status, bare["error"], bare["error_reason"]) == (401, "invalid_token", "wrong_key")
    assert bare.log["detail"] == "bound to another key"
    assert client.resource("GET", "/sessions", token, scheme="Bearer").status == 401


def test_a_bound_token_with_the_proof_of_another_key_is_refused(
    service: Service, thief: Client
) -> None:
    tokens = bound(service)
    answer = thief.resource("DELETE", "/sessions", tokens["access_token"])
    assert (answer.status, answer["error"]) == (401, "invalid_token")
    assert answer["error_reason"] == "wrong_key"
    assert answer.headers["www-authenticate"] == (
        'DPoP realm="ratchet", error="invalid_token", error_description="The token is bound to a '
        'key that the request does not prove to have.", algs="ES256 EdDSA PS256 RS256"'
    )
    assert service.session(tokens["sid"]).ended_at is None


def test_a_bearer_token_is_not_taken_with_the_scheme_dpop(service: Service, client: Client) -> None:
    answer = client.resource("GET", "/sessions", service.start()["access_token"])
    assert (answer.status, answer["error"], answer["error_reason"]) == (
        401,
        "invalid_token",
        "wrong_key",
    )


def test_at_a_resource_too_a_nonce_is_asked_for(service: Service) -> None:
    client, token = Client(service), bound(service)["access_token"]
    answer = client.resource("GET", "/sessions", token)
    assert (answer.status, answer["error"]) == (401, "use_dpop_nonce")
    assert answer.headers["www-authenticate"] == (
        'DPoP realm="ratchet", error="use_dpop_nonce", algs="ES256 EdDSA PS256 RS256"'
    )
    client.nonce = answer.headers["dpop-nonce"]
    assert client.resource("GET", "/sessions", token).status == 200


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"access_token": None}, "ath"),
        ({"access_token": "another.access.token"}, "ath"),
        ({"htm": "DELETE"}, "htm"),
        ({"htu": f"{ISSUER}/sessions/x"}, "htu"),
    ],
)
def test_a_proof_that_is_not_for_this_request_is_refused(
    service: Service, client: Client, changes: dict[str, Any], detail: str
) -> None:
    token = bound(service)["access_token"]
    made = client.proof("GET", "/sessions", **{"access_token": token, **changes})
    answer = client.resource("GET", "/sessions", token, made)
    assert (answer.status, answer["error"]) == (401, "invalid_dpop_proof")
    assert answer.log["detail"] == detail


def test_a_copied_proof_is_refused_by_the_instance_that_has_seen_it(
    service: Service, client: Client
) -> None:
    token = bound(service)["access_token"]
    made = client.proof("GET", "/sessions", access_token=token)
    assert client.resource("GET", "/sessions", token, made).status == 200
    answer = client.resource("GET", "/sessions", token, made)
    assert (answer.status, answer["error"]) == (401, "invalid_dpop_proof")
    assert answer.log["detail"] == "used before"


# --- introspection, revocation, metadata ---------------------------------------------------------


def test_introspection_tells_the_key(service: Service, client: Client) -> None:
    """Section 6.2."""
    tokens = bound(service)
    kinds = {"refresh_token": "refresh_token", "access_token": "DPoP"}
    for name, token_type in kinds.items():
        form = {"token": tokens[name]}
        answer = service.call("POST", "/oauth/introspect", form=form, auth=BACKEND)
        assert answer["active"] is True
        assert (answer["token_type"], answer["cnf"]) == (token_type, {"jkt": JKT})
    form = {"token": service.start()["refresh_token"]}
    assert "cnf" not in service.call("POST", "/oauth/introspect", form=form, auth=BACKEND).body


def test_signing_out_needs_no_proof(service: Service) -> None:
    """Whoever finds a token may end it; that a client has lost its key must not keep it alive."""
    tokens = bound(service)
    form = {"client_id": "demo-native", "token": tokens["refresh_token"]}
    assert service.call("POST", "/oauth/revoke", form=form).status == 200
    assert service.session(tokens["sid"]).ended_at == START


def test_signing_out_with_an_old_token_is_no_reuse_without_the_key(
    service: Service, client: Client
) -> None:
    """else whoever has one, and no key, could end the session and raise the alarm for a theft"""
    first = bound(service)
    latest = client.refresh(client.refresh(first["refresh_token"])["refresh_token"])
    before = service.item(first["sid"])
    form = {"client_id": "demo-native", "token": first["refresh_token"]}
    answer = service.call("POST", "/oauth/revoke", form=form)
    assert (answer.status, answer.body) == (200, None)
    assert (answer.log["outcome"], answer.log["detail"]) == ("ignored", "replaced")
    assert (service.item(first["sid"]), service.told) == (before, [])
    assert client.refresh(latest["refresh_token"]).status == 200


@pytest.mark.parametrize("which", ["access_token", "direct parent"])
def test_a_bound_access_token_and_the_direct_parent_sign_out_too(
    service: Service, client: Client, which: str
) -> None:
    first = bound(service)
    client.refresh(first["refresh_token"])
    token = first["access_token"] if which == "access_token" else first["refresh_token"]
    form = {"client_id": "demo-native", "token": token}
    assert service.call("POST", "/oauth/revoke", form=form).status == 200
    assert service.session(first["sid"]).reason == "revoked_by_user"


def test_the_metadata_names_the_algorithms(service: Service) -> None:
    answer = service.call("GET", "/.well-known/oauth-authorization-server")
    assert answer["dpop_signing_alg_values_supported"] == ["ES256", "EdDSA", "PS256", "RS256"]
