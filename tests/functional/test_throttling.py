"""A client that hammers with a dead token: the true reason, Retry-After, no write each time."""

from ratchet.dead_sessions import MAX_REMEMBERED, REMEMBERED_SECONDS, DeadSessions
from ratchet.reasons import Reason
from tests.functional.conftest import START, Answer, Service


def dead(service: Service) -> str:
    """The newest refresh token of a session that was revoked."""
    token = str(service.start()["refresh_token"])
    form = {"client_id": "demo-native", "token": token}
    service.call("POST", "/oauth/revoke", form=form)
    service.calls.clear()
    return token


def test_only_the_first_of_many_tries_costs_a_write(service: Service) -> None:
    token = dead(service)
    first = service.refresh(token)
    assert (first.status, first["error_reason"]) == (400, "revoked_by_user")
    assert "retry-after" not in first.headers
    assert service.calls.names == ["UpdateItem"]
    for _ in range(20):
        again = service.refresh(token)
        assert (again.status, again.body) == (400, first.body)
        assert again["retry"] == "never"
        assert again.headers["retry-after"] == str(REMEMBERED_SECONDS)
    assert service.calls.names == ["UpdateItem"]


def test_after_a_minute_the_table_is_asked_again(service: Service) -> None:
    token = dead(service)
    for _ in range(2):
        service.refresh(token)
        service.now += REMEMBERED_SECONDS
    assert service.calls.names.count("UpdateItem") == 2


def test_a_stored_end_is_remembered_and_an_expiry_is_not(service: Service) -> None:
    """By the clock of another instance an expired session may still be alive."""
    reused = service.start()["refresh_token"]
    service.refresh(service.refresh(reused)["refresh_token"])
    expired = service.start("demo-sensitive")["refresh_token"]
    service.now += 900

    def twice(token: str, client_id: str = "demo-native") -> list[Answer]:
        return [service.refresh(token, client_id) for _ in range(2)]

    ended, gone = twice(reused), twice(expired, "demo-sensitive")
    assert [answer["error_reason"] for answer in ended] == ["reused", "reused"]
    assert "retry-after" in ended[1].headers
    assert [answer["error_reason"] for answer in gone] == ["idle_expired", "idle_expired"]
    assert "retry-after" not in gone[1].headers


def test_another_application_learns_nothing_and_changes_nothing(service: Service) -> None:
    token = dead(service)
    service.refresh(token)
    assert service.refresh(token, "demo-browser")["error_reason"] == "wrong_client"
    assert service.refresh(token)["error_reason"] == "revoked_by_user"


def test_what_can_be_taken_back_is_not_remembered(service: Service) -> None:
    first = service.start()
    service.change("demo-native", sessions_valid_after=service.now + 1)
    assert service.refresh(first["refresh_token"])["error_reason"] == "policy_cutoff"
    service.change("demo-native", sessions_valid_after=0)
    assert service.refresh(first["refresh_token"]).status == 200


def test_a_live_session_is_not_held_up_by_a_dead_one(service: Service) -> None:
    token, live = dead(service), service.start()["refresh_token"]
    service.refresh(token)
    assert service.refresh(live).status == 200


def test_memory_is_bounded_and_the_oldest_is_forgotten_first() -> None:
    sessions = DeadSessions()
    for number in range(MAX_REMEMBERED + 1):
        sessions.remember(sid=f"{number}", client_id="a", reason=Reason.REUSED, now=START)
    assert sessions.reason(sid="0", client_id="a", now=START) is None
    assert sessions.reason(sid="1", client_id="a", now=START) is Reason.REUSED
