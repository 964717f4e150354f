"""docs/applications.md: its tables are the code's. An item that breaks a rule is a fault."""

import dataclasses
import re

import pytest

from ratchet import registration
from ratchet.application import Application
from ratchet.policy import PRESETS
from tests.functional.conftest import ROOT, Service
from tests.functional.test_registry import OPERATOR

PAGE = (ROOT / "docs" / "applications.md").read_text(encoding="utf-8")
# As DynamoDB has it, written by hand.
ITEM = {
    "client_id": {"S": "broken"},
    "confidential": {"BOOL": False},
    "grant_types": {"L": [{"S": "refresh_token"}]},
    "policy": {"M": {"preset": {"S": "native"}, "idle_ttl_seconds": {"N": "604800"}}},
}


TABLE = PAGE.partition("| Attribute |")[2].partition("\n\n")[0]


def test_the_page_has_every_attribute_that_may_be_written() -> None:
    named = set(re.findall(r"^\| `(\w+)` \| [a-z, ]+ \| .*\|", TABLE, re.MULTILINE))
    fields = {field.name for field in dataclasses.fields(Application)}
    assert named == fields - registration.NOT_WRITABLE


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
        ({"disabled": {"BOOL": True}}, "unknown: disabled"),
        ({"policy": {"M": {"preset": {"S": "cli"}, "leeway_seconds": {"N": "1.5"}}}}, "whole"),
        ({"grant_types": {"L": [{"S": "password"}]}}, "unknown grant types: password"),
    ],
)
def test_an_item_that_breaks_a_rule_is_a_fault_that_says_which(
    service: Service, broken: dict[str, object], says: str
) -> None:
    service.put_application({**ITEM, **broken})
    form = {"grant_type": "client_credentials", "client_id": "broken"}
    answer = service.call("POST", "/oauth/token", form=form)
    assert answer.status == 503
    assert says in answer.log["fault"]


def test_an_item_that_breaks_a_rule_is_listed_with_its_problems(service: Service) -> None:
    """Whoever has to mend it has to find it, and the others are listed as ever."""
    policy = {"M": {"preset": {"S": "cli"}, "leeway_seconds": {"N": "1.5"}}}
    service.put_application({**ITEM, "policy": policy})
    form = {"grant_type": "client_credentials"}
    operator = service.call("POST", "/oauth/token", form=form, auth=OPERATOR)["access_token"]
    listed = service.call("GET", "/applications", bearer=operator)["applications"]
    (broken,) = [one for one in listed if one["client_id"] == "broken"]
    assert broken["policy"]["leeway_seconds"] == 1.5
    assert "whole" in broken["problems"][0]
    assert len(listed) > 1
