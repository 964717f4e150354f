"""POST /oauth/revoke: RFC 7009."""

import pytest

from ratchet.reasons import Reason
from tests.functional.conftest import BACKEND, Answer, Service


def revoke(service: Service, token: str, client_id: str = "demo-native", **form: str) -> Answer:
    return service.call(
        "POST", "/oauth/revoke", form={"client_id": client_id, "token": token, **form}
    )


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
@pytest.mark.parametrize("hint", ["", "refresh_token", "access_token", "nonsense"])
def test_either_token_ends_the_whole_session_whatever_the_hint_says(
    service: Service, kind: str, hint: str
) -> None:
    first = service.start()
    answer = revoke(service, first[kind], token_type_hint=hint)
    assert (answer.status, answer.body) == (200, None)
    assert answer.headers["cache-control"] == "no-store"
    session = service.session(first["sid"])
    assert (session.reason, session.ended_by) == (Reason.REVOKED_BY_USER, "demo-native")
    refused = service.refresh(first["refresh_token"])
    assert (refused.status, refused["error_reason"]) == (400, "revoked_by_user")
    assert [event["type"] for event in service.told] == ["session.revoked"]


def test_the_direct_parent_signs_out_too(service: Service) -> None:
    first = service.start()
    second = service.refresh(first["refresh_token"])
    assert revoke(service, first["refresh_token"]).status == 200
    assert service.refresh(second["refresh_token"])["error_reason"] == "revoked_by_user"


def test_revoking_twice_is_200_and_changes_nothing(service: Service) -> None:
    first = service.start()
    revoke(service, first["refresh_token"])
    ended_at = service.session(first["sid"]).ended_at
    service.now += 10
    assert revoke(service, first["refresh_token"]).status == 200
    assert service.session(first["sid"]).ended_at == ended_at
    assert len(service.told) == 1


@pytest.mark.parametrize("token", ["nonsense", "rt1_" + "A" * 104, "a.b.c"])
def test_a_token_that_is_none_of_ours_is_200(service: Service, token: str) -> None:
    assert revoke(service, token).status == 200
    assert "UpdateItem" not in service.calls.names


def test_another_applications_token_is_200_and_stays_valid(service: Service) -> None:
    first = service.start()
    for kind in ("refresh_token", "access_token"):
        assert revoke(service, first[kind], "demo-browser").status == 200
    assert service.session(first["sid"]).ended_at is None
    assert service.refresh(first["refresh_token"]).status == 200


def test_the_access_token_of_an_application_itself_has_no_session_to_end(service: Service) -> None:
    answer = service.call("POST", "/oauth/revoke", form={"token": service.operator()}, auth=BACKEND)
    assert (answer.status, answer.log["outcome"]) == (200, "ignored")


def test_a_caller_that_cannot_authenticate_revokes_nothing(service: Service) -> None:
    first = service.start()
    answer = service.call(
        "POST",
        "/oauth/revoke",
        form={"token": first["refresh_token"]},
        auth=("demo-backend", "wrong"),
    )
    assert (answer.status, answer["error"]) == (401, "invalid_client")
    assert service.session(first["sid"]).ended_at is None


def test_the_token_is_required(service: Service) -> None:
    answer = service.call("POST", "/oauth/revoke", form={"client_id": "demo-native"})
    assert (answer.status, answer["error"]) == (400, "invalid_request")


def test_a_session_that_has_expired_keeps_that_as_its_reason(service: Service) -> None:
    first = service.start("demo-sensitive")
    service.now += 900
    assert revoke(service, first["refresh_token"], "demo-sensitive").status == 200
    session = service.session(first["sid"])
    assert (session.reason, session.ended_at) == (Reason.IDLE_EXPIRED, service.now)
    assert [event["type"] for event in service.told] == ["session.expired"]
    refused = service.refresh(first["refresh_token"], "demo-sensitive")
    assert refused["error_reason"] == "idle_expired"


def test_signing_out_with_a_copy_of_a_replaced_token_ends_the_session_as_reuse(
    service: Service,
) -> None:
    """the direct parent is what a client that lost an answer has; anything older is a copy

    (of a session that is bound to a key: test_dpop.py)
    """
    first = service.start()
    second = service.refresh(first["refresh_token"])
    third = service.refresh(second["refresh_token"])
    assert revoke(service, first["refresh_token"]).status == 200
    assert service.session(first["sid"]).reason is Reason.REUSED
    assert "session.reuse_detected" in [event["type"] for event in service.told]
    assert service.refresh(third["refresh_token"])["error_reason"] == "reused"


def test_a_token_that_is_newer_than_a_restored_table_signs_out_too(service: Service) -> None:
    first = service.start()
    old = service.item(first["sid"])
    newest = service.refresh(service.refresh(first["refresh_token"])["refresh_token"])
    service.put_item(old)
    assert revoke(service, newest["refresh_token"]).status == 200
    assert service.session(first["sid"]).reason is Reason.REVOKED_BY_USER
