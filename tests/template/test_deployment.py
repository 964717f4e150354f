"""What a deployment is told, opens and keeps: template.yaml, samconfig.toml, docs/deploy.md."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import cfnlint.api
import pytest
from cfnlint.config import ManualArgs
from cfnlint.helpers import REGIONS

from ratchet.keys import ALGORITHMS
from ratchet.kms_keys import _KMS
from ratchet_cli import intrinsics, template

ROOT = Path(__file__).parents[2]
FILE = ROOT / "template.yaml"
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
DOMAIN = {
    "DomainName": "id.example.com",
    "CertificateArn": "arn:aws:acm:eu-central-1:123456789012:certificate/1-a",
}
TEMPLATE = template.load(FILE)
WHOLE = template.load(FILE, {**DOMAIN, "HostedZoneId": "Z1", "ProtectedExample": "yes"})
RESOURCES: dict[str, Any] = WHOLE["Resources"]
PARAMETERS: dict[str, Any] = WHOLE["Parameters"]
INTERFACE = WHOLE["Metadata"]["AWS::CloudFormation::Interface"]
API = RESOURCES["HttpApi"]["Properties"]
KEPT = {
    "SessionsTable",
    "ApplicationsTable",
    "UsersTable",
    "SecretsKey",
    "SigningKeysSecret",
    "PepperSecret",
}
STATEFUL = ("AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::SecretsManager::Secret")
STATEFUL_TOO = ("AWS::SQS::Queue", "AWS::Logs::LogGroup")


def of_type(*names: str) -> dict[str, dict[str, Any]]:
    return {name: each for name, each in RESOURCES.items() if each["Type"] in names}


def statements(function: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        each["Fn::If"][1] if "Fn::If" in each else each
        for policy in function.get("Policies", ())
        for each in policy["Statement"]
    ]


# --- cfn-lint ------------------------------------------------------------------------------------


def test_cfn_lint_has_nothing_to_say_for_any_region_not_even_hints() -> None:
    config = ManualArgs(regions=list(REGIONS), include_checks=["I"])
    assert cfnlint.api.lint(FILE.read_text(encoding="utf-8"), config=config) == []


def test_no_rule_of_cfn_lint_is_switched_off() -> None:
    assert "cfn-lint" not in FILE.read_text(encoding="utf-8")
    assert not [*ROOT.glob(".cfnlintrc*"), *ROOT.glob("setup.cfg")]


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_says_what_it_is_what_it_may_be_and_has_a_default(name: str) -> None:
    parameter = PARAMETERS[name]
    assert parameter["Description"].endswith(".")
    limited = {"AllowedValues", "AllowedPattern", "MaxValue"} & parameter.keys()
    assert limited
    default = TEMPLATE["Parameters"][name]["Default"]
    if "AllowedValues" in limited:
        assert default in parameter["AllowedValues"]
    elif "MaxValue" in limited:
        assert parameter["MinValue"] <= default <= parameter["MaxValue"]
    else:
        assert re.search(parameter["AllowedPattern"], default)
        assert parameter["ConstraintDescription"]


WRONG = {
    "DomainName": ["Id.example.com", "https://id.example.com", "localhost"],
    "CertificateArn": ["1-a", "arn:aws:iam::123456789012:server-certificate/a"],
    "HostedZoneId": ["z1", "/hostedzone/Z1"],
    "Issuer": ["https://i.test/", "http://i.test", "https://i.test?a=b", "i.test"],
    "ClaimsFunction": ["claims", "arn:aws:lambda:eu-central-1:123456789012:layer:claims"],
    "VerifierFunction": ["verifier", "arn:aws:lambda:eu-central-1:123456789012:layer:verifier"],
    "AuthorizerAudience": ["https://a.test https://b.test", "https://a.test,"],
    "SweepSchedule": ["rate(2 hours)", "rate(0 minutes)", "rate(1 minutes)", "cron(0 * * * ? *)"],
    "AlarmTopic": ["alarms", "arn:aws:sqs:eu-central-1:123456789012:alarms"],
}


def test_a_value_that_cannot_work_is_refused_before_anything_is_made() -> None:
    patterns = {name: each.get("AllowedPattern") for name, each in PARAMETERS.items()}
    assert WRONG.keys() == {name for name, pattern in patterns.items() if pattern}
    for name, values in WRONG.items():
        assert not [value for value in values if re.search(patterns[name], value)]


def test_the_console_shows_every_parameter_in_one_group_with_a_label() -> None:
    grouped = [name for group in INTERFACE["ParameterGroups"] for name in group["Parameters"]]
    assert grouped == list(PARAMETERS) == list(INTERFACE["ParameterLabels"])
    assert all(group["Label"]["default"] for group in INTERFACE["ParameterGroups"])
    heads = re.findall(r"^  # --- (.*?) -+$", FILE.read_text("utf-8"), re.MULTILINE)
    assert [group["Label"]["default"] for group in INTERFACE["ParameterGroups"]] == heads[
        : len(INTERFACE["ParameterGroups"])
    ]


def test_the_page_lists_the_parameters_with_their_defaults() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`|empty) \| .+ \|$", PAGE, re.MULTILINE)
    defaults = {name: str(each["Default"]) for name, each in TEMPLATE["Parameters"].items()}
    assert dict(rows) == defaults
    assert [name for name, _ in rows] == list(PARAMETERS)


# --- address -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "issuer"),
    [
        ({}, ""),
        ({"Issuer": "https://i.test"}, "https://i.test"),
        (DOMAIN, {"Fn::Sub": "https://${DomainName}"}),
        ({**DOMAIN, "Issuer": "https://i.test"}, "https://i.test"),
    ],
)
def test_the_issuer_is_the_one_that_was_given_or_the_domain_or_what_is_called(
    parameters: dict[str, str], issuer: object
) -> None:
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    parsed = template.load(FILE, parameters)
    if isinstance(issuer, dict):
        with pytest.raises(intrinsics.UnknownIntrinsicError, match="Sub"):
            intrinsics.value(parsed, variables["RATCHET_ISSUER"])
        assert variables["RATCHET_ISSUER"]["Fn::If"][2]["Fn::If"][1] == issuer
    else:
        assert intrinsics.value(parsed, variables["RATCHET_ISSUER"]) == issuer


@pytest.mark.parametrize(
    ("parameters", "there"),
    [
        ({}, set()),
        ({"HostedZoneId": "Z1"}, set()),
        (DOMAIN, {"Domain", "DomainMapping"}),
        ({**DOMAIN, "HostedZoneId": "Z1"}, {"Domain", "DomainMapping", "DomainRecord"}),
    ],
)
def test_a_domain_is_there_if_it_was_asked_for(parameters: dict[str, str], there: set[str]) -> None:
    resources = template.load(FILE, parameters)["Resources"]
    assert {name for name in resources if name.startswith("Domain")} == there


def test_a_domain_without_its_certificate_is_refused_before_anything_is_made() -> None:
    """CloudFormation's rules; and the other way round, which would be forgotten silently."""
    needs, nothing = (
        WHOLE["Rules"]["DomainNeedsCertificate"],
        WHOLE["Rules"]["NothingWithoutDomain"],
    )

    def asserted(rule: dict[str, Any], **given: str) -> bool:
        told = {name: {"Default": given.get(name, "")} for name in (*DOMAIN, "HostedZoneId")}
        if not intrinsics.value({"Parameters": told}, rule["RuleCondition"]):
            return True
        asked = (each["Assert"] for each in rule["Assertions"])
        return all(intrinsics.value({"Parameters": told}, each) for each in asked)

    assert asserted(needs)
    assert asserted(nothing)
    assert asserted(needs, **DOMAIN)
    assert not asserted(needs, DomainName="id.example.com")
    assert not asserted(nothing, CertificateArn=DOMAIN["CertificateArn"])
    assert not asserted(nothing, HostedZoneId="Z1")


def test_a_domain_speaks_tls_1_2_or_newer() -> None:
    (configuration,) = RESOURCES["Domain"]["Properties"]["DomainNameConfigurations"]
    assert configuration["SecurityPolicy"] == "TLS_1_2"


# --- the API -------------------------------------------------------------------------------------


def test_api_gateway_answers_no_cors_by_itself() -> None:
    """Origins are each application's; API Gateway would replace the functions' headers."""
    assert "CorsConfiguration" not in API


def test_limits_of_a_route_are_for_routes_that_exist_and_are_parameters() -> None:
    keys = {route.key for route in template.routes(TEMPLATE)}
    assert API["RouteSettings"].keys() == {"ANY /oauth/token", "ANY /oauth/refresh", "ANY /login"}
    assert API["RouteSettings"].keys() <= keys
    for limit in [API["DefaultRouteSettings"], *API["RouteSettings"].values()]:
        rate, burst = limit["ThrottlingRateLimit"]["Ref"], limit["ThrottlingBurstLimit"]["Ref"]
        assert PARAMETERS[rate]["MinValue"] == PARAMETERS[burst]["MinValue"] == 1
        assert limit.keys() == {"ThrottlingRateLimit", "ThrottlingBurstLimit"}


def test_nothing_that_a_client_sends_gets_into_the_access_log() -> None:
    """A token may be in a header, in a query, in a body, and by mistake in a path."""
    settings = API["AccessLogSettings"]
    assert settings["DestinationArn"] == {"Fn::GetAtt": ["AccessLogGroup", "Arn"]}
    line = settings["Format"]
    assert "\n" not in line.strip()
    ours = {
        "requestId",
        "requestTime",
        "routeKey",
        "status",
        "responseLength",
        "responseLatency",
        "integration.status",
        "integrationLatency",
        "error.responseType",
    }
    assert sorted(re.findall(r"\$context\.([\w.]+)", line)) == sorted(ours)
    assert line.count("$") == len(ours)
    fields = json.loads(line)
    assert all(re.fullmatch(r"\$context\.[\w.]+", value) for value in fields.values())


@pytest.mark.parametrize("name", of_type("AWS::Logs::LogGroup"))
def test_logs_are_kept_for_as_long_as_the_parameter_says(name: str) -> None:
    assert RESOURCES[name]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


# --- functions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        ("RefreshFunction", "RefreshConcurrency"),
        ("IssueFunction", "IssueConcurrency"),
        ("LoginFunction", "LoginConcurrency"),
        ("SweepFunction", "SweepConcurrency"),
    ],
)
def test_a_reservation_is_a_parameter_and_0_is_none(function: str, parameter: str) -> None:
    """To Lambda 0 means that the function never runs."""
    reserved = RESOURCES[function]["Properties"]["ReservedConcurrentExecutions"]
    condition, then, otherwise = reserved["Fn::If"]
    assert then == {"Ref": parameter}
    assert otherwise == {"Ref": "AWS::NoValue"}
    for value, holds in (("0", False), ("7", True)):
        parsed = {**TEMPLATE, "Parameters": {**PARAMETERS, parameter: {"Default": value}}}
        assert intrinsics.holds(parsed, condition) is holds


def test_the_transport_is_a_parameter_of_refreshes_alone() -> None:
    name, environments = "RATCHET_TRANSPORT", {}
    for function, each in of_type("AWS::Serverless::Function").items():
        own = each["Properties"].get("Environment", {"Variables": {}})["Variables"]
        environments[function] = own.get(name)
    assert environments.pop("RefreshFunction") == {"Ref": "HotPathTransport"}
    assert set(environments.values()) == {None}
    assert WHOLE["Globals"]["Function"]["Environment"]["Variables"][name] == "boto3"


def test_a_function_writes_to_our_log_group_and_no_other() -> None:
    """SAM gives each role AWSLambdaBasicExecutionRole, which allows all of the account's."""
    assert WHOLE["Globals"]["Function"]["PermissionsBoundary"] == {"Ref": "RoleBoundary"}
    boundary = RESOURCES["RoleBoundary"]["Properties"]["PolicyDocument"]["Statement"]
    others, ours = boundary
    writes = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert set(others["NotAction"]) == writes | {"logs:CreateLogGroup"}
    assert (set(ours["Action"]), ours["Resource"]) == (writes, {"Fn::GetAtt": ["LogGroup", "Arn"]})
    for function in of_type("AWS::Serverless::Function").values():
        assert "PermissionsBoundary" not in function["Properties"]
        assert "Role" not in function["Properties"]


# --- keys ----------------------------------------------------------------------------------------


def signing() -> list[dict[str, Any]]:
    return [
        statement
        for function in of_type("AWS::Serverless::Function").values()
        for statement in statements(function["Properties"])
        if "kms:Sign" in statement["Action"]
    ]


def test_who_signs_with_kms_signs_with_our_algorithms_only() -> None:
    """No other algorithm of a key, and digests: whoever has the role signs no raw message."""
    pinned = sorted(_KMS[algorithm][0] for algorithm in ALGORITHMS)
    known = boto3.client("kms", region_name="eu-central-1").meta.service_model
    assert set(pinned) <= set(known.shape_for("SigningAlgorithmSpec").enum)  # type: ignore[attr-defined]
    assert len(signing()) == 4
    for statement in signing():
        condition = statement["Condition"]["StringEquals"]
        assert condition.keys() == {
            "aws:ResourceTag/ratchet:stack",
            "kms:MessageType",
            "kms:SigningAlgorithm",
        }
        assert sorted(condition["kms:SigningAlgorithm"]) == pinned
        assert condition["kms:MessageType"] == "DIGEST"


def test_a_rotation_makes_signing_keys_of_our_kinds_only() -> None:
    function = RESOURCES["RotateKeysFunction"]["Properties"]
    (create,) = [each for each in statements(function) if each["Action"] == "kms:CreateKey"]
    condition = create["Condition"]["StringEquals"]
    assert condition["kms:KeyUsage"] == "SIGN_VERIFY"
    sizes = PARAMETERS["SigningRsaBits"]["AllowedValues"]
    assert condition["kms:KeySpec"] == [*(f"RSA_{bits}" for bits in sizes), "ECC_NIST_P256"]


def test_the_key_of_the_secrets_decrypts_for_secrets_manager_only() -> None:
    """A role that may decrypt can read the two secrets, and nothing else under that key."""
    key = RESOURCES["SecretsKey"]["Properties"]
    assert (key["KeySpec"], key["KeyUsage"]) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    assert key["EnableKeyRotation"] is True
    _, deny = key["KeyPolicy"]["Statement"]
    assert deny["Effect"] == "Deny"
    assert {"kms:Decrypt", "kms:GenerateDataKey*"} <= set(deny["Action"])
    via = {"Fn::Sub": "secretsmanager.${AWS::Region}.${AWS::URLSuffix}"}
    assert deny["Condition"] == {"StringNotEquals": {"kms:ViaService": via}}


@pytest.mark.parametrize("name", of_type("AWS::SecretsManager::Secret"))
def test_a_secret_is_under_our_key(name: str) -> None:
    """Under AWS's own, whoever may read secrets in the account could read it."""
    key = RESOURCES[name]["Properties"]["KmsKeyId"]
    assert key == {"Fn::GetAtt": ["SecretsKey", "Arn"]}


def test_each_secret_is_rotated_as_often_as_its_parameter_says() -> None:
    found = {
        schedule["Properties"]["SecretId"]["Ref"]: schedule["Properties"]["RotationRules"]
        for schedule in of_type("AWS::SecretsManager::RotationSchedule").values()
    }
    assert found == {
        "SigningKeysSecret": {"AutomaticallyAfterDays": {"Ref": "KeyRotationDays"}},
        "PepperSecret": {"AutomaticallyAfterDays": {"Ref": "PepperRotationDays"}},
    }


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_type(*STATEFUL, *STATEFUL_TOO))
def test_what_cannot_be_made_again_outlives_the_stack(name: str) -> None:
    resource = RESOURCES[name]
    kept = "Retain" if name in KEPT else "Delete"
    assert resource["DeletionPolicy"] == kept
    replaced = "Retain" if resource["Type"] == "AWS::Logs::LogGroup" else kept
    assert resource["UpdateReplacePolicy"] == replaced


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_a_table_is_paid_by_use_encrypted_and_if_kept_protected_and_recoverable(name: str) -> None:
    table = RESOURCES[name]["Properties"]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSESpecification"] == {"SSEEnabled": True}
    recovery = table.get("PointInTimeRecoverySpecification")
    assert recovery == ({"PointInTimeRecoveryEnabled": True} if name in KEPT else None)
    assert table.get("DeletionProtectionEnabled") is (True if name in KEPT else None)


def test_dynamodb_deletes_what_has_expired_where_items_say_when() -> None:
    """Else the tables grow forever, or lose sessions before their time."""
    expiring = {
        name: each["Properties"]["TimeToLiveSpecification"]
        for name, each in of_type("AWS::DynamoDB::Table").items()
        if "TimeToLiveSpecification" in each["Properties"]
    }
    assert expiring.keys() == {"SessionsTable", "SingleUseTable", "AttemptsTable"}
    for specification in expiring.values():
        assert specification == {"AttributeName": "expires_at", "Enabled": True}


def test_the_page_names_what_stays() -> None:
    section = PAGE.partition("\n## Removing\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+(?:Table|Secret|Key))`", section)) == KEPT


@pytest.mark.parametrize("name", of_type("AWS::SQS::Queue"))
def test_a_queue_is_reached_over_tls_only(name: str) -> None:
    (policy,) = [
        each["Properties"]
        for each in of_type("AWS::SQS::QueuePolicy").values()
        if {"Ref": name} in each["Properties"]["Queues"]
    ]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Resource"] == {"Fn::GetAtt": [name, "Arn"]}
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


# --- outputs -------------------------------------------------------------------------------------


def test_outputs_are_described_and_those_that_never_change_are_exported() -> None:
    """An import keeps its value from changing: a new layer version could not be deployed."""
    changing = {
        "Url",
        "DomainTarget",
        "DashboardUrl",
        "ExampleUrl",
        "VerifyLayerArn",
        "ClientLayerArn",
    }
    for name, output in WHOLE["Outputs"].items():
        assert output["Description"]
        expected = (
            None if name in changing else {"Name": {"Fn::Sub": f"${{AWS::StackName}}-{name}"}}
        )
        assert output.get("Export") == expected
    shown = {*of_type("AWS::DynamoDB::Table")} & KEPT
    assert shown <= WHOLE["Outputs"].keys()


# --- samconfig.toml ------------------------------------------------------------------------------


def test_the_page_says_how_often_the_guide_asks_about_authentication() -> None:
    """SAM asks for each route without an authorizer of API Gateway's, and takes Return for a no."""
    asked = [route for route in template.routes(TEMPLATE) if route.authorizer is None]
    assert f"Of {len(asked)} routes it asks" in PAGE


def test_samconfig_asks_before_it_changes_anything_and_knows_the_parameters() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
    assert config.pop("version") == 0.1
    deploy = config["default"]["deploy"]["parameters"]
    assert deploy["confirm_changeset"] is True
    assert deploy["capabilities"] == "CAPABILITY_IAM"
    assert deploy["resolve_s3"] is True
    assert "application=ratchet" in deploy["tags"]
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    production = tomllib.loads(shown)["production"]["deploy"]["parameters"]
    assert production.keys() >= deploy.keys() - {"fail_on_empty_changeset"}
    overrides = re.findall(r"(\w+)=", production["parameter_overrides"])
    assert overrides
    assert set(overrides) <= PARAMETERS.keys()


def test_every_link_of_the_page_leads_somewhere() -> None:
    for link in re.findall(r"\]\((\w[\w./-]*)(?:#[\w-]+)?\)", PAGE.replace("https://", "")):
        if link.endswith(".md"):
            assert (ROOT / "docs" / link).is_file(), link
