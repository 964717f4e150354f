"""What an application may be: every problem is told at once, and nothing unknown is let through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ratchet.application import (
    Application,
    InvalidApplication,
    from_mapping,
    hash_secret,
    to_mapping,
)
from ratchet.policy import PRESETS, Policy
from tests.unit.conftest import NOW

LEAST: dict[str, Any] = {
    "client_id": "app",
    "confidential": False,
    "policy": {"preset": "browser"},
}


def problems(**written: Any) -> set[str]:
    with pytest.raises(InvalidApplication) as caught:
        from_mapping({**LEAST, **written})
    assert str(caught.value) == "; ".join(caught.value.problems)
    return set(caught.value.problems)


def test_what_may_be_left_out_means_off() -> None:
    application = from_mapping(LEAST)
    assert application == Application(
        client_id="app", confidential=False, policy=PRESETS["browser"]
    )
    nothing = {name: None for name in to_mapping(application, {}) if name not in LEAST}
    assert from_mapping({**LEAST, **nothing}) == application


def test_an_application_is_read_back_as_it_was_written() -> None:
    written = {"preset": "sensitive", "leeway_seconds": 7}
    application = Application(
        client_id="shop",
        name="The shop",
        confidential=True,
        secret_hashes=(hash_secret("new"), hash_secret("old")),
        former_secret_until_at=NOW,
        grant_types=frozenset({"client_credentials", "refresh_token"}),
        scopes=frozenset({"a", "b"}),
        audience=("https://api.example",),
        starts_sessions_for=frozenset({"*"}),
        introspects_any=True,
        dpop="required",
        allowed_origins=frozenset({"https://shop.example", "http://localhost:*"}),
        policy=Policy.from_mapping(written),
        sessions_valid_after=1,
        disabled_at=2,
        version=3,
    )
    mapping = to_mapping(application, written)
    assert mapping["policy"] == written
    assert from_mapping(mapping) == application


def test_all_problems_are_told_at_once_those_of_the_policy_too() -> None:
    assert problems(
        client_id="with space",
        confidential="yes",
        secret_hashes=["beef"],
        grant_types=["password"],
        scopes="profile",
        sessions_valid_after=-1,
        scope=["profile"],
        policy={"preset": "browser", "leeway_seconds": 601, "idle_ttl_seconds": "1", "ttl": 1},
    ) == {
        "client_id must be 1 to 64 printable ASCII characters",
        "confidential must be true or false",
        "secret_hashes must be a list of SHA-256 hashes in hexadecimal",
        "unknown grant types: password",
        "scopes must be a list of texts",
        "sessions_valid_after must be an instant in whole epoch seconds",
        "unknown: scope",
        "leeway_seconds must not exceed 600",
        "idle_ttl_seconds must be a whole number of seconds from 0 to 315360000",
        "unknown: ttl (in the policy)",
    }


def test_what_cannot_be_read_brings_up_no_problem_that_is_none() -> None:
    """Nobody knows whether an application with secrets that is confidential "yes" may have them."""
    assert problems(confidential="yes", secret_hashes=["a" * 64]) == {
        "confidential must be true or false"
    }
    assert problems(policy={"preset": "brwser", "idle_ttl_seconds": 1, "leeway_seconds": 601}) == {
        "preset must be one of browser, native, sensitive, kiosk, cli, machine",
        "leeway_seconds must not exceed 600",
    }


@pytest.mark.parametrize("missing", LEAST)
def test_what_is_required_is_asked_for(missing: str) -> None:
    assert problems(**{missing: None}) == {f"{missing} is missing"}


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"confidential": True}, "a confidential application needs a secret"),
        ({"secret_hashes": ["0" * 64]}, "a public application has no secret"),
        (
            {"confidential": True, "secret_hashes": ["0" * 64] * 3},
            "at most 2 secrets are valid at once",
        ),
        (
            {"grant_types": ["client_credentials"]},
            "client_credentials is for confidential applications only",
        ),
        ({"scopes": ['a"']}, "a scope must be printable ASCII without space, quote and backslash"),
        ({"audience": ["a b"]}, "an audience must be printable ASCII without space"),
        ({"starts_sessions_for": [""]}, "starts_sessions_for must have client ids, or *"),
        ({"name": "a\nb"}, "name must be at most 128 printable characters"),
        ({"name": "a" * 129}, "name must be at most 128 printable characters"),
        ({"policy": "browser"}, "policy must be an object"),
        ({"policy": {}}, "preset must be one of browser, native, sensitive, kiosk, cli, machine"),
        ({"disabled_at": 2**32}, "disabled_at must be an instant in whole epoch seconds"),
        ({"disabled_at": True}, "disabled_at must be an instant in whole epoch seconds"),
        ({"version": -1}, "version must be a whole number, 0 or more"),
        ({"dpop": "yes"}, "dpop must be one of off, optional, required"),
        ({"introspects_any": 1}, "introspects_any must be true or false"),
        (
            {"secret_hashes": ["A" * 64]},
            "secret_hashes must be a list of SHA-256 hashes in hexadec",
        ),
    ],
)
def test_a_rule_that_is_broken_is_told(written: dict[str, Any], problem: str) -> None:
    (told,) = problems(**written)
    assert told.startswith(problem)


def test_a_long_access_token_is_warned_of_and_allowed() -> None:
    policy = Policy.from_mapping({"preset": "browser", "access_ttl_seconds": 86400})
    assert policy.warnings() == []
    policy = Policy.from_mapping({"preset": "browser", "access_ttl_seconds": 86401})
    (warning,) = policy.warnings()
    assert "more than 24 hours" in warning


def test_two_secrets_are_good_until_the_older_one_ends(
    make_application: Callable[..., Application],
) -> None:
    secrets = (hash_secret("new"), hash_secret("old"))
    both = make_application(confidential=True, secret_hashes=secrets)
    assert both.has_secret("new", NOW)
    assert not both.has_secret("\ud800", NOW)
    assert both.has_secret("old", NOW)
    assert not both.has_secret("other", NOW)
    ending = make_application(confidential=True, secret_hashes=secrets, former_secret_until_at=NOW)
    assert ending.has_secret("old", NOW - 1)
    assert not ending.has_secret("old", NOW)
    assert ending.has_secret("new", NOW)


# --- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example",
        "https://shop.example:8443",
        "http://localhost",
        "http://localhost:3000",
        "http://localhost:*",
        "http://127.0.0.1:*",
        "http://[::1]:8080",
    ],
)
def test_an_allowed_origin_is_one_as_a_browser_writes_it(origin: str) -> None:
    from_mapping({**LEAST, "allowed_origins": [origin]})


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "",
        "shop.example",
        "http://shop.example",
        "https://*.shop.example",
        "https://shop.example:*",
        "https://shop.example/",
        "https://shop.example/path",
        "https://Shop.example",
        "https://user@shop.example",
        "https://shop.example:0443",
        "https://shop.example\n",
        "http://localhost.evil.example:*",
        "http://localhost:*:*",
    ],
)
def test_what_no_browser_sends_or_everybody_may_have_is_no_allowed_origin(origin: str) -> None:
    (problem,) = problems(allowed_origins=["https://shop.example", origin])
    assert problem.startswith("an allowed origin must be https://host")


def test_there_is_an_end_to_allowed_origins() -> None:
    origins = [f"https://{number}.example" for number in range(21)]
    assert problems(allowed_origins=origins) == {"there may be 20 allowed_origins"}


def test_a_cookie_is_for_public_applications_with_allowed_origins() -> None:
    assert problems(refresh_cookie=True) == {"refresh_cookie needs allowed_origins"}
    confidential = {"confidential": True, "secret_hashes": [hash_secret("s").hex()]}
    assert problems(
        refresh_cookie=True, allowed_origins=["https://shop.example"], **confidential
    ) == {"refresh_cookie is for public applications only"}


@pytest.mark.parametrize(
    ("allowed", "origin", "answer"),
    [
        ("https://shop.example", "https://shop.example", True),
        ("https://shop.example", "https://shop.example:443", False),
        ("https://shop.example", "http://shop.example", False),
        ("https://shop.example", "https://shop.example.evil.example", False),
        ("https://shop.example", "https://evil.example", False),
        ("https://shop.example", "https://SHOP.example", False),
        ("https://shop.example", "null", False),
        ("https://shop.example", "", False),
        ("http://localhost:3000", "http://localhost:3000", True),
        ("http://localhost:3000", "http://localhost:3001", False),
        ("http://localhost:*", "http://localhost:3001", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost:", False),
        ("http://localhost:*", "http://localhost:*", False),
        ("http://localhost:*", "http://localhost:80:80", False),
        ("http://localhost:*", "https://localhost:3001", False),
        ("http://localhost:*", "http://127.0.0.1:3001", False),
        ("http://localhost:*", "http://localhost:\u0663", False),
    ],
)
def test_an_origin_is_allowed_as_a_whole_or_not(allowed: str, origin: str, answer: bool) -> None:
    application = from_mapping({**LEAST, "allowed_origins": [allowed]})
    assert application.allows_origin(origin) is answer


def test_an_application_without_allowed_origins_allows_none() -> None:
    assert not from_mapping(LEAST).allows_origin("https://shop.example")
    assert not from_mapping(LEAST).allows_origin("null")
