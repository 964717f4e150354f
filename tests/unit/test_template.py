"""What the local stack reads from a template."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ratchet_cli import template
from ratchet_cli.template import (
    Function,
    JwtAuthorizer,
    LambdaAuthorizer,
    Route,
    Schedule,
    Template,
    TemplateError,
)

DEPLOYED = Path(__file__).parents[2] / "template.yaml"

TEMPLATE = """
Parameters:
  Every: {Type: String, Default: rate(2 hours)}
Conditions:
  Wanted: !Not [!Equals [!Ref Every, ""]]
Globals:
  Function:
    Handler: app.handler
    Timeout: 10
    Environment:
      Variables:
        TABLE: !Ref Table
        ROLE: !GetAtt Role.Arn
        STREAM: !GetAtt Nested.Outputs.Arn
        BUS: !Sub "${AWS::StackName}-events"
        NUMBER: 5
        FLAG: true
Resources:
  Table: {Type: AWS::DynamoDB::Table, Condition: Wanted, DeletionPolicy: Retain}
  Role:
    Type: AWS::IAM::Role
    Properties: {AssumeRolePolicyDocument: {Version: 2012-10-17}}
  Group: {Type: AWS::Logs::LogGroup}
  Alarm: {Type: AWS::CloudWatch::Alarm}
  Api: {Type: AWS::Serverless::HttpApi}
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/hello
      MemorySize: 512
      Environment: {Variables: {OWN: x, NUMBER: 5}}
      Events:
        One: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: post, Path: /hello}}
        Any: {Type: HttpApi, Properties: {Method: "*", Path: "/hello/{name}"}}
        Rest: {Type: HttpApi}
        Hourly: {Type: ScheduleV2, Properties: {ScheduleExpression: !Ref Every, Input: "[1]"}}
        Daily: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 day)}}
"""


@pytest.fixture
def parsed(tmp_path: Path) -> Template:
    return read(tmp_path, TEMPLATE)


def read(folder: Path, text: str) -> Template:
    path = folder / "template.yaml"
    path.write_text(text, encoding="utf-8")
    return template.load(path)


def test_the_stack_has_the_state_and_not_the_functions_logs_and_alarms(parsed: Template) -> None:
    assert set(template.stack_template(parsed)["Resources"]) == {"Table", "Role"}


def test_resources_parameters_and_conditions_are_passed_on_unchanged(parsed: Template) -> None:
    derived = template.stack_template(parsed)
    assert derived["Parameters"] == {"Every": {"Type": "String", "Default": "rate(2 hours)"}}
    assert derived["Conditions"] == {
        "Wanted": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Every"}, ""]}]}
    }
    assert derived["Resources"]["Table"] == {
        "Type": "AWS::DynamoDB::Table",
        "Condition": "Wanted",
        "DeletionPolicy": "Retain",
    }
    policy = derived["Resources"]["Role"]["Properties"]["AssumeRolePolicyDocument"]
    assert policy == {"Version": "2012-10-17"}


def test_every_environment_variable_is_an_output(parsed: Template) -> None:
    outputs = template.stack_template(parsed)["Outputs"]
    assert all(name.isalnum() for name in outputs)
    assert {output["Description"]: output["Value"] for output in outputs.values()} == {
        "TABLE": {"Ref": "Table"},
        "ROLE": {"Fn::GetAtt": ["Role", "Arn"]},
        "STREAM": {"Fn::GetAtt": ["Nested", "Outputs.Arn"]},
        "BUS": {"Fn::Sub": "${AWS::StackName}-events"},
        "NUMBER": "5",
        "FLAG": "true",
        "OWN": "x",
    }


def test_two_values_of_one_variable_are_refused(tmp_path: Path) -> None:
    parsed = read(tmp_path, TEMPLATE.replace("{OWN: x, NUMBER: 5}", "{NUMBER: 6}"))
    with pytest.raises(TemplateError, match="Hello: NUMBER"):
        template.stack_template(parsed)


def test_functions_take_what_they_do_not_say_from_globals(parsed: Template) -> None:
    assert template.functions(parsed) == {
        "Hello": Function("Hello", "functions/hello", "app.handler", 10, 512)
    }


def test_routes_are_the_events_of_the_functions(parsed: Template) -> None:
    assert template.routes(parsed) == [
        Route("POST", "/hello", "Hello"),
        Route("ANY", "/hello/{name}", "Hello"),
        Route("$default", "", "Hello"),
    ]


def test_a_route_key_is_written_as_api_gateway_does(parsed: Template) -> None:
    keys = [route.key for route in template.routes(parsed)]
    assert keys == ["POST /hello", "ANY /hello/{name}", "$default"]


def test_a_schedule_is_a_rate_or_the_default_of_a_parameter(parsed: Template) -> None:
    assert template.schedules(parsed) == [
        Schedule("Hello", 7200, "[1]"),
        Schedule("Hello", 86400, None),
    ]


def test_a_schedule_that_is_no_rate_is_refused(tmp_path: Path) -> None:
    parsed = read(tmp_path, TEMPLATE.replace("rate(1 day)", "'cron(0 10 * * ? *)'"))
    with pytest.raises(TemplateError, match="cron"):
        template.schedules(parsed)


@pytest.mark.parametrize("text", ["", "a: [", "a: 1"])
def test_a_file_that_is_no_template_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TemplateError, match=r"template\.yaml"):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="No such file"):
        template.load(tmp_path / "template.yaml")


def test_the_deployed_template_is_understood() -> None:
    """Every HttpApi and ScheduleV2 event in the file, counted as text, was found."""
    parsed = template.load(DEPLOYED, {"ProtectedExample": "yes"})
    text = DEPLOYED.read_text(encoding="utf-8")
    assert len(template.routes(parsed)) == text.count("Type: HttpApi\n") > 0
    assert len(template.schedules(parsed)) == text.count("Type: ScheduleV2\n") > 0
    assert len(template.functions(parsed)) == text.count("Type: AWS::Serverless::Function\n") > 0
    assert yaml.safe_dump(template.stack_template(parsed))


# --- conditions and authorizers ------------------------------------------------------------------

PROTECTED = """
Parameters:
  Wanted: {Type: String, Default: "no"}
  Issuer: {Type: String, Default: ""}
Conditions:
  HasIssuer: !Not [!Equals [!Ref Issuer, ""]]
  IsWanted: !Equals [!Ref Wanted, "yes"]
  Both: !And [!Condition HasIssuer, !Condition IsWanted]
  Either: !Or [!Condition HasIssuer, !Condition IsWanted]
Resources:
  Both: {Type: AWS::DynamoDB::Table, Condition: Both}
  Either: {Type: AWS::DynamoDB::Table, Condition: Either}
  Checker: {Type: AWS::Serverless::Function, Properties: {CodeUri: c, Handler: app.handler}}
  Api:
    Type: AWS::Serverless::HttpApi
    Condition: IsWanted
    Properties:
      Auth:
        Authorizers:
          Own:
            IdentitySource: $request.header.Authorization
            JwtConfiguration:
              issuer: !If [HasIssuer, !Ref Issuer, !Sub "https://${Api}.test"]
              audience: [!If [HasIssuer, !Ref Issuer, !Sub "https://${Api}.test"], other]
          Function:
            FunctionArn: !GetAtt Checker.Arn
            Identity: {Headers: [Authorization], ReauthorizeEvery: 0}
  Orders:
    Type: AWS::Serverless::Function
    Condition: IsWanted
    Properties:
      CodeUri: functions/orders
      Handler: app.handler
      Environment: {Variables: {URL: !Sub "https://${Api}.${AWS::Region}.test"}}
      Events:
        Jwt:
          Type: HttpApi
          Properties:
            ApiId: !Ref Api
            Method: GET
            Path: /jwt
            Auth: {Authorizer: Own, AuthorizationScopes: [a, b]}
        Lambda:
          Type: HttpApi
          Properties: {ApiId: !Ref Api, Method: GET, Path: /lambda, Auth: {Authorizer: Function}}
        Open: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: GET, Path: /open}}
"""


def protected(folder: Path, **parameters: str) -> Template:
    path = folder / "template.yaml"
    path.write_text(PROTECTED, encoding="utf-8")
    return template.load(path, parameters)


@pytest.mark.parametrize(
    ("parameters", "there"),
    [
        ({}, {"Checker"}),
        ({"Issuer": "https://i.test"}, {"Checker", "Either"}),
        ({"Wanted": "yes", "Another": "x"}, {"Checker", "Either", "Api", "Orders"}),
        (
            {"Wanted": "yes", "Issuer": "https://i.test"},
            {"Checker", "Either", "Both", "Api", "Orders"},
        ),
    ],
)
def test_what_a_condition_leaves_out_is_not_there(
    tmp_path: Path, parameters: dict[str, str], there: set[str]
) -> None:
    assert set(protected(tmp_path, **parameters)["Resources"]) == there


def test_a_number_is_compared_as_a_text(tmp_path: Path) -> None:
    text = TEMPLATE.replace('[!Ref Every, ""]', "[!Ref Number, 0]").replace(
        "Parameters:", "Parameters:\n  Number: {Type: Number, Default: 0}"
    )
    path = tmp_path / "template.yaml"
    path.write_text(text, encoding="utf-8")
    for given, there in (({}, False), ({"Number": "0"}, False), ({"Number": "1"}, True)):
        assert ("Table" in template.load(path, given)["Resources"]) is there


def test_a_route_says_who_lets_requests_pass(tmp_path: Path) -> None:
    parsed = protected(tmp_path, Wanted="yes", Issuer="https://i.test")
    own = JwtAuthorizer("https://i.test", ("https://i.test", "other"))
    assert template.routes(parsed) == [
        Route("GET", "/jwt", "Orders", own, ("a", "b")),
        Route("GET", "/lambda", "Orders", LambdaAuthorizer("Checker", ("Authorization",))),
        Route("GET", "/open", "Orders"),
    ]


def test_the_address_of_an_api_that_is_not_emulated_has_its_logical_id(tmp_path: Path) -> None:
    outputs = template.stack_template(protected(tmp_path, Wanted="yes"))["Outputs"]
    assert outputs["Variable0"]["Value"] == {"Fn::Sub": "https://Api.${AWS::Region}.test"}


def test_a_condition_that_only_cloudformation_can_work_out_is_refused(tmp_path: Path) -> None:
    text = PROTECTED.replace('[!Ref Wanted, "yes"]', '[!Ref AWS::Region, "yes"]')
    with pytest.raises(TemplateError, match="Ref"):
        read(tmp_path, text)
