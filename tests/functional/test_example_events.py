"""events/ replayed through the handlers: what `sam local invoke -e` would be answered."""

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet_cli import template
from tests.example_events import NAMES, STATUS, example, function
from tests.functional.conftest import Service
from tests.functional.key_fleet import Fleet

TEMPLATE = template.load(Path(__file__).parents[2] / "template.yaml", {"ProtectedExample": "yes"})


def invoke(service: Service, name: str, event: Any) -> Any:
    return service._functions.invoke(function(name), event)


def test_every_function_has_an_example_named_after_its_folder() -> None:
    assert {function(name) for name in NAMES} == set(template.functions(TEMPLATE))


@pytest.mark.parametrize("name", [*STATUS, "example", "authorizer"])
def test_an_example_is_for_a_route_of_its_function(name: str) -> None:
    event = example(name)
    route = next(one for one in template.routes(TEMPLATE) if one.key == event["routeKey"])
    if name == "authorizer":
        assert event["type"] == "REQUEST"
    else:
        assert route.function == function(name)


@pytest.mark.parametrize("name", STATUS)
def test_an_example_is_answered(service: Service, name: str) -> None:
    answer = invoke(service, name, example(name))
    assert answer["statusCode"] == STATUS[name]
    for token in ("access_token", "refresh_token"):
        body = json.loads(answer["body"] or "{}") if name.startswith(("issue", "login")) else {}
        service.handed_out |= {body[token]} if token in body else set()


def test_an_example_with_an_operators_token_is_answered(service: Service) -> None:
    event = example("sessions", ACCESS_TOKEN=service.operator())
    assert invoke(service, "sessions", event)["statusCode"] == 200


def test_the_example_api_tells_what_api_gateway_found_out(service: Service) -> None:
    # Nobody's role is needed to say it.
    from functions.example import app

    assert app.handler(example("example"), None)["jwt"]["claims"]["sub"] == "ada"


@pytest.mark.parametrize("name", ["sweep", "sweep.dry_run"])
def test_the_schedules_event_sweeps(service: Service, name: str) -> None:
    report = invoke(service, name, example(name))
    assert report["complete"] is True
    assert report.get("dry_run", False) is (name == "sweep.dry_run")


def test_secrets_managers_event_begins_a_rotation(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(service, monkeypatch)
    event = example("rotate_keys", SIGNING_KEYS_SECRET=fleet.keys_id)
    invoke(service, "rotate_keys", {**event, "ClientRequestToken": fleet.begin()})
    versions = fleet.client.list_secret_version_ids(SecretId=fleet.keys_id)["Versions"]
    assert ["AWSPENDING"] in [version["VersionStages"] for version in versions]
