"""Project Wycheproof's vectors for JSON Web Signature and Key: each gets the verdict it expects."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ratchet_verify import jwk, jws
from ratchet_verify.jwk import PublicKey

FOLDER = Path(__file__).parent / "wycheproof"
SIGNATURES, KEYS = "json_web_signature_test", "json_web_key_test"

# What Wycheproof accepts and this package does not, because it verifies access tokens only.
SYMMETRIC = {"HS256", "HS384", "HS512"}
"""Who can verify these can sign them: no API should be able to."""
OTHER_ALGORITHM = {346, 347, 350, 351}
"""The key's own `alg` is PS256 while the token says PS384, or "ES521", which does not exist."""


def vectors(name: str) -> Iterator[Any]:
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    for group in document["testGroups"]:
        key = group.get("public") or group["private"]
        for test in group["tests"]:
            identity = f"{name}-{test['tcId']}-{group['comment']}-{test['comment']}"
            yield pytest.param(name, key, test, id=identity)


def accepted(keys: tuple[PublicKey, ...], token: str) -> bool:
    try:
        jws.verify(token, lambda _kid: keys, algorithms=jwk.ALGORITHMS)
    except jws.InvalidJWS:
        return False
    return True


def expected(name: str, key: Mapping[str, Any], test: Mapping[str, Any]) -> bool:
    algorithms = {one.get("alg") for one in key.get("keys", [key])}
    if algorithms <= SYMMETRIC or (name == SIGNATURES and test["tcId"] in OTHER_ALGORITHM):
        return False
    return bool(test["result"] == "valid")


@pytest.mark.parametrize(("name", "key", "test"), [*vectors(SIGNATURES), *vectors(KEYS)])
def test_a_vector_gets_the_expected_verdict(
    name: str, key: Mapping[str, Any], test: Mapping[str, Any]
) -> None:
    keys = jwk.parse(key if "keys" in key else {"keys": [key]})
    token = test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])
    assert accepted(keys, token) is expected(name, key, test)


def test_none_is_missing_and_not_all_are_refused() -> None:
    found = [parameters.values for parameters in (*vectors(SIGNATURES), *vectors(KEYS))]
    assert len(found) == 401 + 26
    assert sum(expected(*values) for values in found) == 33
