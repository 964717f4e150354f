"""docs/applications.md: its items work as they stand, and its table of presets is the code's."""

import json
import re

import pytest

from ratchet.policy import PRESETS
from tests.functional.conftest import ROOT, Service

PAGE = (ROOT / "docs" / "applications.md").read_text(encoding="utf-8")
# its SHA-256 stands in the page
SECRET = "secret"


def test_the_items_of_the_page_make_a_backend_and_an_application_it_starts_sessions_for(
    service: Service,
) -> None:
    for item in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL):
        service.put_application(json.loads(item))
    backend = ("shop-backend", SECRET)
    answer = service.call(
        "POST", "/sessions", form={"client_id": "shop-app", "sub": "ada"}, auth=backend
    )
    assert answer.status == 200, answer
    assert (answer["refresh_token_expires_in"], answer["scope"]) == (604800, "orders:read profile")
    assert service.refresh(answer["refresh_token"], "shop-app").status == 200
    form = {"grant_type": "client_credentials", "scope": "sessions:read"}
    assert service.call("POST", "/oauth/token", form=form, auth=backend).status == 200


def test_the_page_has_the_numbers_of_every_preset() -> None:
    (header,) = re.findall(r"^\| Preset \|(.*)\|$", PAGE, re.MULTILINE)
    names = re.findall(r"`(\w+)`", header)
    for preset, policy in PRESETS.items():
        (row,) = re.findall(rf"^\| `{preset}` \|(.*)\|$", PAGE, re.MULTILINE)
        numbers = [int(number) for number in row.split("|")]
        assert numbers == [getattr(policy, name) for name in names]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"policy": {"M": {"preset": {"S": "nothing"}}}}, "preset must be one of"),
        ({"confidential": {"BOOL": True}}, "needs a secret"),
        ({"grant_types": {"L": [{"S": "password"}]}}, "unknown grant types: password"),
    ],
)
def test_an_item_that_breaks_a_rule_is_a_fault_that_says_which(
    service: Service, broken: dict[str, object], says: str
) -> None:
    item = json.loads(re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    service.put_application({**item, "client_id": {"S": "broken"}, **broken})
    form = {"grant_type": "client_credentials", "client_id": "broken"}
    answer = service.call("POST", "/oauth/token", form=form)
    assert answer.status == 503
    assert says in answer.log["fault"]
