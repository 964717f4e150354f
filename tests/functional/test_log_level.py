"""LogLevel=DEBUG: with JSON logs Lambda gives it to the root logger, too."""

import json
import logging

import boto3
import pytest
from botocore.exceptions import ClientError

from ratchet_cli.seed import ADA
from tests.functional.conftest import Service


def test_at_debug_the_sdk_logs_no_password_and_no_key(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert service.login().status == 200
    # as a verifier of one's own is asked; that there is none makes no difference
    with pytest.raises(ClientError):
        boto3.client("lambda").invoke(
            FunctionName="no-such-function", Payload=json.dumps({"password": ADA["password"]})
        )
    secret = boto3.client("secretsmanager").get_secret_value(
        SecretId=service._environment["RATCHET_PEPPER_SECRET"]
    )["SecretString"]
    (pepper,) = (value for name, value in json.loads(secret).items() if name != "current")
    logging.getLogger("anything").debug("the root logger is at DEBUG")
    assert "the root logger is at DEBUG" in caplog.text
    for hidden in (ADA["password"], pepper, *service.handed_out):
        assert hidden not in caplog.text
    assert not {"botocore", "boto3", "urllib3"} & {
        record.name.partition(".")[0] for record in caplog.records
    }
