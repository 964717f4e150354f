"""The environment as one checked value (design section 4)."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest

from ratchet.settings import AuthorizerSettings, InvalidSettings, Settings
from ratchet_cli import template

MAY_BE_EMPTY = {"RATCHET_ISSUER", "RATCHET_CLAIMS_FUNCTION", "RATCHET_VERIFIER_FUNCTION"}
ENVIRONMENT = {
    "RATCHET_ISSUER": "https://id.test",
    "RATCHET_SESSIONS_TABLE": "sessions",
    "RATCHET_APPLICATIONS_TABLE": "applications",
    "RATCHET_SINGLE_USE_TABLE": "single-use",
    "RATCHET_USERS_TABLE": "users",
    "RATCHET_ATTEMPTS_TABLE": "attempts",
    "RATCHET_SWEEP_TABLE": "sweep",
    "RATCHET_SIGNING_KEYS_SECRET": "keys",
    "RATCHET_PEPPER_SECRET": "peppers",
    "RATCHET_EVENT_BUS": "bus",
    "RATCHET_CLAIMS_FUNCTION": "arn:aws:lambda:eu-central-1:000000000000:function:claims",
    "RATCHET_VERIFIER_FUNCTION": "arn:aws:lambda:eu-central-1:000000000000:function:verifier",
    "RATCHET_SIGNING_BACKEND": "secretsmanager",
    "RATCHET_SIGNING_ALGORITHM": "RS256",
    "RATCHET_SIGNING_RSA_BITS": "2048",
    "RATCHET_STACK": "ratchet",
    "RATCHET_LOG_GROUP": "log-group",
    "RATCHET_TRANSPORT": "boto3",
}


def problems(environment: dict[str, str]) -> str:
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_environment(environment)
    return str(caught.value)


def test_every_variable_is_a_field() -> None:
    settings = Settings.from_environment(ENVIRONMENT)
    assert asdict(settings) == {
        **{name.removeprefix("RATCHET_").lower(): value for name, value in ENVIRONMENT.items()},
        "signing_rsa_bits": 2048,
    }
    with pytest.raises(FrozenInstanceError):
        settings.issuer = "https://other.test"  # type: ignore[misc] # must be refused


def test_the_variables_are_those_of_the_template() -> None:
    path = Path(__file__).parents[2] / "template.yaml"
    outputs = template.stack_template(template.load(path))["Outputs"].values()
    names = {output["Description"] for output in outputs}
    assert {name for name in names if name.startswith("RATCHET_")} == set(ENVIRONMENT)


def test_variables_of_others_are_none_of_our_business() -> None:
    environment = {**ENVIRONMENT, "PATH": "", "AWS_REGION": "x", "ratchet_x": "1", "RATCHETX": "1"}
    assert Settings.from_environment(environment) == Settings.from_environment(ENVIRONMENT)


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_missing_variable_is_named(name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    assert problems(environment) == f"{name} is missing"


@pytest.mark.parametrize("name", sorted(ENVIRONMENT.keys() - MAY_BE_EMPTY))
def test_an_empty_variable_is_named(name: str) -> None:
    assert problems({**ENVIRONMENT, name: ""}) == f"{name} is empty"


def test_the_issuer_may_be_empty() -> None:
    """Then it is the address of the API that is being called."""
    assert Settings.from_environment({**ENVIRONMENT, "RATCHET_ISSUER": ""}).issuer == ""


def test_the_functions_of_the_deployment_may_be_empty() -> None:
    """Then there are none."""
    environment = {**ENVIRONMENT, "RATCHET_CLAIMS_FUNCTION": "", "RATCHET_VERIFIER_FUNCTION": ""}
    settings = Settings.from_environment(environment)
    assert (settings.claims_function, settings.verifier_function) == ("", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATCHET_SIGNING_BACKEND", "hsm"),
        ("RATCHET_SIGNING_ALGORITHM", "HS256"),
        ("RATCHET_SIGNING_ALGORITHM", "none"),
        ("RATCHET_SIGNING_RSA_BITS", "1024"),
    ],
)
def test_a_choice_that_there_is_not_is_named(name: str, value: str) -> None:
    assert problems({**ENVIRONMENT, name: value}).startswith(f"{name} is not one of ")


def test_an_unknown_variable_is_refused() -> None:
    """A misspelled setting would otherwise be silently without effect."""
    assert problems({**ENVIRONMENT, "RATCHET_LEEWAY": "5"}) == "RATCHET_LEEWAY is unknown"


@pytest.mark.parametrize("tail", ["/", "/path/", "?a=b", "#a"])
def test_an_issuer_has_no_trailing_slash_query_or_fragment(tail: str) -> None:
    """RFC 8414 section 2; clients compare it character by character."""
    issuer = f"https://id.test{tail}"
    assert "RATCHET_ISSUER" in problems({**ENVIRONMENT, "RATCHET_ISSUER": issuer})


def test_all_problems_are_reported_at_once() -> None:
    assert problems(
        {
            "RATCHET_ISSUER": "https://id.test/",
            "RATCHET_EVENT_BUS": "",
            "RATCHET_B": "",
            "RATCHET_A": "",
        }
    ).split("; ") == [
        "RATCHET_A is unknown",
        "RATCHET_B is unknown",
        "RATCHET_SESSIONS_TABLE is missing",
        "RATCHET_APPLICATIONS_TABLE is missing",
        "RATCHET_SINGLE_USE_TABLE is missing",
        "RATCHET_USERS_TABLE is missing",
        "RATCHET_ATTEMPTS_TABLE is missing",
        "RATCHET_SWEEP_TABLE is missing",
        "RATCHET_SIGNING_KEYS_SECRET is missing",
        "RATCHET_PEPPER_SECRET is missing",
        "RATCHET_EVENT_BUS is empty",
        "RATCHET_CLAIMS_FUNCTION is missing",
        "RATCHET_VERIFIER_FUNCTION is missing",
        "RATCHET_SIGNING_BACKEND is missing",
        "RATCHET_SIGNING_ALGORITHM is missing",
        "RATCHET_SIGNING_RSA_BITS is missing",
        "RATCHET_STACK is missing",
        "RATCHET_LOG_GROUP is missing",
        "RATCHET_TRANSPORT is missing",
        "RATCHET_ISSUER has a trailing slash, a query or a fragment",
    ]


# --- what the authorizer has besides -------------------------------------------------------------

OF_THE_AUTHORIZER = {
    "AUTHORIZER_SERVICE_URL": "https://x.execute-api.test",
    "AUTHORIZER_AUDIENCE": "",
    "AUTHORIZER_SESSION_CHECK": "yes",
}


def test_the_authorizer_has_variables_of_its_own() -> None:
    environment = {**ENVIRONMENT, **OF_THE_AUTHORIZER}
    settings = AuthorizerSettings.from_environment(environment)
    assert (settings.service_url, settings.audience) == ("https://x.execute-api.test", ())
    assert settings.session_check is True
    assert Settings.from_environment(environment) == Settings.from_environment(ENVIRONMENT)


def test_its_variables_are_those_of_the_template() -> None:
    path = Path(__file__).parents[2] / "template.yaml"
    outputs = template.stack_template(template.load(path))["Outputs"].values()
    names = {output["Description"] for output in outputs}
    assert {name for name in names if name.startswith("AUTHORIZER_")} == set(OF_THE_AUTHORIZER)


def test_there_may_be_several_audiences() -> None:
    environment = {**OF_THE_AUTHORIZER, "AUTHORIZER_AUDIENCE": "https://a.test, https://b.test"}
    settings = AuthorizerSettings.from_environment(environment)
    assert settings.audience == ("https://a.test", "https://b.test")


def test_whatever_is_wrong_with_its_variables_is_named() -> None:
    with pytest.raises(InvalidSettings) as caught:
        AuthorizerSettings.from_environment({"AUTHORIZER_SESSION_CHECK": "on", "AUTHORIZER_X": ""})
    assert str(caught.value).split("; ") == [
        "AUTHORIZER_X is unknown",
        "AUTHORIZER_AUDIENCE is missing",
        "AUTHORIZER_SERVICE_URL is missing",
        "AUTHORIZER_SESSION_CHECK is not one of yes, no",
    ]
