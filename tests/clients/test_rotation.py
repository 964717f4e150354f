"""Rotation as clients see it: many at once, lost answers, thieves. Over HTTP, against the stack."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx

from tests.clients.conftest import Client

CALLERS = 16
KEY = "a-random-idempotency-key"


def at_once(client: Client, token: str, client_id: str = "demo-native") -> list[httpx.Response]:
    """The same token, presented by CALLERS that each have a connection of their own."""
    together = Barrier(CALLERS)

    def present(_: int) -> httpx.Response:
        with httpx.Client(base_url=client.url, timeout=30) as http:
            together.wait()
            return http.post(
                "/oauth/refresh", data={"client_id": client_id, "refresh_token": token}
            )

    with ThreadPoolExecutor(CALLERS) as callers:
        return list(callers.map(present, range(CALLERS)))


def test_16_presentations_at_once_get_16_answers_with_one_successor(client: Client) -> None:
    token = client.start()["refresh_token"]
    for _ in range(5):
        answers = at_once(client, token)
        assert [answer.status_code for answer in answers] == [200] * CALLERS
        (token,) = {answer.json()["refresh_token"] for answer in answers}
        assert len({answer.json()["access_token"] for answer in answers}) == CALLERS
    sid = client.refresh(token).json()["sid"]
    form = {"grant_type": "client_credentials"}
    operator = client.http.post(
        "/oauth/token", data=form, auth=("demo-backend", "demo-backend-secret")
    )
    shown = client.http.get(
        f"/sessions/{sid}", headers={"Authorization": f"Bearer {operator.json()['access_token']}"}
    )
    assert (shown.json()["generation"], shown.json()["status"]) == (6, "active")


def test_with_leeway_0_one_of_16_wins_and_the_others_are_reuse(client: Client) -> None:
    token = client.start("demo-sensitive")["refresh_token"]
    answers = at_once(client, token, "demo-sensitive")
    assert [answer.status_code for answer in answers].count(200) == 1
    reasons = {answer.json().get("error_reason") for answer in answers}
    assert reasons == {None, "reused"}


def test_a_token_whose_successor_was_used_ends_the_session_and_the_successor_is_dead_too(
    client: Client,
) -> None:
    first = client.start()["refresh_token"]
    second = client.refresh(first).json()["refresh_token"]
    third = client.refresh(second).json()["refresh_token"]
    for token in (first, second, third):
        answer = client.refresh(token)
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_grant"
        assert answer.json()["error_reason"] == "reused"


def test_a_lost_response_is_retried_inside_the_leeway_without_a_key(client: Client) -> None:
    first = client.start()["refresh_token"]
    client.refresh(first)
    again = client.refresh(first)
    assert again.status_code == 200
    assert client.refresh(again.json()["refresh_token"]).status_code == 200


def test_a_lost_response_is_retried_beyond_the_leeway_with_the_same_key(client: Client) -> None:
    """demo-sensitive has no leeway at all, so every retry is beyond it"""
    first = client.start("demo-sensitive")["refresh_token"]
    lost = client.refresh(first, "demo-sensitive", KEY)
    again = client.refresh(first, "demo-sensitive", KEY)
    assert again.status_code == 200
    assert again.json()["refresh_token"] == lost.json()["refresh_token"]


def test_beyond_the_leeway_a_different_key_is_reuse(client: Client) -> None:
    first = client.start("demo-sensitive")["refresh_token"]
    second = client.refresh(first, "demo-sensitive", KEY).json()["refresh_token"]
    stolen = client.refresh(first, "demo-sensitive", "another-random-key-of-a-thief")
    assert stolen.json()["error_reason"] == "reused"
    assert client.refresh(second, "demo-sensitive").json()["error_reason"] == "reused"
