"""Where the signing key lives makes no difference to anyone but the operator (design section 8)."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from ratchet.keys import ALGORITHMS, generate_jwk
from tests.functional.conftest import BACKEND, MACHINE, START, Service
from tests.functional.key_fleet import PLACEHOLDER, Fleet, jwks, verified


def backend(home: str, algorithm: str = "RS256", bits: str = "2048") -> dict[str, Any]:
    return {
        "RATCHET_SIGNING_BACKEND": home,
        "RATCHET_SIGNING_ALGORITHM": algorithm,
        "RATCHET_SIGNING_RSA_BITS": bits,
    }


HOMES = ["secretsmanager", "kms"]
KINDS = [(algorithm, "2048") for algorithm in ALGORITHMS] + [("RS256", "3072"), ("PS256", "4096")]


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize(("algorithm", "bits"), KINDS)
def test_another_library_verifies_every_token_with_the_published_keys(
    service: Service, monkeypatch: pytest.MonkeyPatch, home: str, algorithm: str, bits: str
) -> None:
    fleet = Fleet(service, monkeypatch, **backend(home, algorithm, bits))
    fleet.rotate()
    published = jwks(service)
    assert {key["alg"] for key in published["keys"]} == {algorithm}
    assert all("d" not in key and "kms_key" not in key for key in published["keys"])
    started = service.start()
    refreshed = service.refresh(started["refresh_token"])
    machine = service.call(
        "POST", "/oauth/token", form={"grant_type": "client_credentials"}, auth=MACHINE
    )
    again = service.call(
        "POST",
        "/oauth/token",
        form={
            "grant_type": "refresh_token",
            "client_id": "demo-native",
            "refresh_token": refreshed["refresh_token"],
        },
    )
    for answer in (started, refreshed, again, machine):
        token = verified(answer["access_token"], published)
        assert token.header == {
            "alg": algorithm,
            "typ": "at+jwt",
            "kid": next(
                key["kid"] for key in published["keys"] if key["kid"] == token.header["kid"]
            ),
        }
    # and our own functions accept them
    bearer = refreshed["access_token"]
    assert service.call("GET", "/sessions", bearer=bearer).status == 200
    if algorithm in ("RS256", "PS256"):
        size = len(published["keys"][0]["n"]) * 6 // 8 * 8
        assert abs(size - int(bits)) < 8


def watched(parts: Any) -> Counter[str]:
    """What the signer and the peppers ask of Secrets Manager and KMS."""
    calls: Counter[str] = Counter()

    def note(model: Any, **_: Any) -> None:
        calls[model.name] += 1

    parts.signer._secret._client.meta.events.register("before-call.secretsmanager", note)
    parts.signer._kms._client().meta.events.register("before-call.kms", note)
    return calls


@pytest.mark.parametrize(("home", "expected"), [("secretsmanager", {}), ("kms", {"Sign": 20})])
def test_a_warm_container_asks_nobody_or_kms_once_a_token(
    service: Service, monkeypatch: pytest.MonkeyPatch, home: str, expected: dict[str, int]
) -> None:
    fleet = Fleet(service, monkeypatch, **backend(home))
    fleet.rotate()
    answer = service.start().body
    service.refresh(answer["refresh_token"])
    calls = watched(fleet.containers[0])
    for _ in range(20):
        answer = service.refresh(answer["refresh_token"]).body
        assert jwks(service)["keys"]
    assert calls == expected


def test_with_kms_a_refresh_reads_once_and_writes_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(service, monkeypatch, **backend("kms"))
    fleet.rotate()
    first = service.start()
    service.calls.watch(fleet.containers[0].store._client, "dynamodb")
    service.refresh(first["refresh_token"])
    service.calls.clear()
    service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    assert service.calls.names == ["GetItem", "UpdateItem"] * 2


# --- KMS away ------------------------------------------------------------------------------------


@contextmanager
def kms_away(fleet: Fleet) -> Iterator[None]:
    signer: Any = fleet.containers[0].signer
    hooks = signer._kms._client().meta.events

    def refuse(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="none")

    hooks.register("before-call.kms", refuse)
    yield
    hooks.unregister("before-call.kms", refuse)


def test_with_kms_away_nothing_is_written_and_the_retry_succeeds(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = Fleet(service, monkeypatch, **backend("kms"))
    fleet.rotate()
    first = service.start("demo-sensitive")
    before = service.item(first["sid"])
    with kms_away(fleet):
        answer = service.refresh(first["refresh_token"], "demo-sensitive")
        started = service.call(
            "POST", "/sessions", form={"client_id": "demo-native", "sub": "eve"}, auth=BACKEND
        )
    assert (answer.status, answer["error_reason"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
    assert answer.log["fault"] == "kms: EndpointConnectionError"
    assert service.item(first["sid"]) == before
    assert started.status == 503
    assert capsys.readouterr().out.count('"SigningFaults":[1]') == 2
    # longer than the idle time would be a sign-out by its own right; ten minutes are none
    service.now += 600
    assert service.refresh(first["refresh_token"], "demo-sensitive").status == 200


def test_a_dead_token_costs_no_signature(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(service, monkeypatch, **backend("kms"))
    fleet.rotate()
    first = service.start()
    service.call(
        "POST",
        "/oauth/revoke",
        form={"client_id": "demo-native", "token": first["refresh_token"]},
    )
    calls = watched(fleet.containers[0])
    assert service.refresh(first["refresh_token"])["error_reason"] == "revoked_by_user"
    wrong = service.refresh(service.start()["refresh_token"], "demo-browser")
    assert wrong["error_reason"] == "wrong_client"
    assert calls["Sign"] == 1  # of the start


# --- a secret that cannot be used ----------------------------------------------------------------

P256 = generate_jwk("ES256")
UNUSABLE = {
    "not JSON": ("{", "the secret is not a JSON object"),
    "no current slot": (json.dumps({"next": P256}), "the slot current is empty"),
    "never filled": (PLACEHOLDER, "the slot current is empty"),
    "two keys with one kid": (json.dumps({"current": P256, "next": P256}), "one key is in two"),
    "a weak key": (
        json.dumps({"current": generate_jwk("RS256", rsa_bits=1024)}),
        "slot current is shorter than 2048 bits",
    ),
}


@pytest.mark.parametrize(("text", "said"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_secret_that_cannot_be_used_is_named_in_the_log_and_503_outside(
    service: Service, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    fleet = Fleet(service, monkeypatch)
    fleet.client.put_secret_value(SecretId=fleet.keys_id, SecretString=text)
    answer = service.call(
        "POST", "/oauth/token", form={"grant_type": "client_credentials"}, auth=MACHINE
    )
    assert (answer.status, answer["error_reason"]) == (503, "unavailable")
    assert said in answer.log["fault"]
    assert P256["d"] not in service.log.getvalue()


def test_a_secret_that_is_not_there_is_named_in_the_log_and_503_outside(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(service, monkeypatch)
    fleet.client.delete_secret(SecretId=fleet.keys_id, ForceDeleteWithoutRecovery=True)
    answer = service.call("GET", "/.well-known/jwks.json")
    assert answer.status == 503
    assert answer.log["fault"] == "secretsmanager: ResourceNotFoundException"


@pytest.mark.parametrize(("text", "said"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_good_set_that_is_cached_works_on_until_its_limit(
    service: Service, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    fleet = Fleet(service, monkeypatch)
    fleet.rotate()
    before = jwks(service)
    fleet.client.put_secret_value(SecretId=fleet.keys_id, SecretString=text)
    service.now = START + 86399
    assert jwks(service) == before
    warnings = [line for line in service.lines() if line["level"] == "WARNING"]
    assert said in warnings[-1]["fault"]
    service.now = START + 86400
    assert service.call("GET", "/.well-known/jwks.json").status == 503
