"""Promises 1, 2 and 6: what a session and a refresh cost, counted by the engine itself.

The emulator reports write units truthfully and read units flat, so reads are counted as calls.
"""

from ratchet.request import MAX_RESOURCES
from ratchet.session_item import MAX_ITEM_BYTES, item_bytes
from tests.functional import test_client_assertions, test_id_tokens, test_touch
from tests.functional.conftest import BACKEND, Answer, Service
from tests.identity_provider import identity_provider

KEY = "a-random-idempotency-key"


def charged(service: Service) -> list[tuple[float, bool]]:
    """Write units of every write, and whether an index was written."""
    return [
        (float(entry["CapacityUnits"]), bool(entry.get("GlobalSecondaryIndexes")))
        for entry in service.calls.charged
        if isinstance(entry, dict)
    ]


def largest_start(service: Service) -> Answer:
    """A session whose item takes as much room as one may, found by trying."""
    answer = None
    for padding in range(100, 500):
        tried = service.call(
            "POST",
            "/sessions",
            body={
                "client_id": "demo-native",
                "sub": "u" * 128,
                "device": "d" * 64,
                "claims": {"padding": "x" * padding},
            },
            auth=BACKEND,
        )
        if tried.status == 400:
            assert tried["error"] == "invalid_request"
            assert "too long" in tried["error_description"]
            break
        answer = tried
    assert answer is not None
    assert tried.status == 400
    return answer


def test_a_refresh_is_one_write_unit_and_no_read_also_after_1000_rotations(
    service: Service,
) -> None:
    answer = service.start()
    service.refresh(service.start()["refresh_token"])
    for _ in range(1000):
        service.calls.clear()
        answer = service.refresh(answer["refresh_token"], key=KEY)
        assert service.calls.names == ["UpdateItem"]
        assert charged(service) == [(1.0, False)]
    assert service.session(answer["sid"]).generation == 1000
    assert item_bytes(service.item(answer["sid"])) <= MAX_ITEM_BYTES


def test_a_refresh_with_resources_and_scopes_is_one_write_unit_and_no_read(
    service: Service,
) -> None:
    resources = [f"https://api.test/{number}" for number in range(MAX_RESOURCES)]
    service.change("demo-native", audience=tuple(resources))
    scope = "profile orders:read"
    for started in (service.start(), service.start(scope=scope, resource=resources)):
        token = started["refresh_token"]
        for _ in range(3):
            service.calls.clear()
            answer = service.refresh(token, key=KEY, scope=scope, resource=resources)
            token = answer["refresh_token"]
            assert answer.status == 200
            assert service.calls.names == ["UpdateItem"]
            assert charged(service) == [(1.0, False)]


def test_the_largest_session_that_may_start_stays_at_one_unit_for_life(service: Service) -> None:
    answer = largest_start(service)
    for _ in range(3):
        service.calls.clear()
        answer = service.refresh(answer["refresh_token"], key=KEY)
        assert charged(service) == [(1.0, False)]
    assert item_bytes(service.item(answer["sid"])) <= MAX_ITEM_BYTES
    service.call(
        "POST",
        "/oauth/revoke",
        form={"client_id": "demo-native", "token": answer["refresh_token"]},
    )
    assert item_bytes(service.item(answer["sid"])) <= MAX_ITEM_BYTES


def test_a_replay_of_the_parent_is_one_call_too(service: Service) -> None:
    first = service.start()
    service.refresh(first["refresh_token"])
    service.calls.clear()
    assert service.refresh(first["refresh_token"]).status == 200
    assert service.calls.names == ["UpdateItem"]


def test_a_touch_is_one_write_unit_and_no_index_write_and_none_within_the_interval(
    service: Service,
) -> None:
    """the largest session there may be; API use is counted at most once an interval"""
    answer = largest_start(service)
    test_touch.switch_on(service)
    test_touch.touch_one(service, service.refresh(answer["refresh_token"], key=KEY)["sid"])
    for _ in range(3):
        service.now += test_touch.INTERVAL
        bearer = service.operator()
        service.parts.applications.get("demo-native", service.now)
        for written in ([(1.0, False)], []):
            service.calls.clear()
            test_touch.touch_one(service, answer["sid"], bearer)
            assert service.calls.names == ["BatchGetItem", "UpdateItem"][: 1 + len(written)]
            assert charged(service) == written
    assert item_bytes(service.item(answer["sid"])) <= MAX_ITEM_BYTES


def test_the_policy_is_read_once_a_minute_not_once_a_refresh(service: Service) -> None:
    answer = service.start()
    service.calls.clear()
    for _ in range(10):
        service.now += 1
        answer = service.refresh(answer["refresh_token"])
    assert service.calls.names == ["UpdateItem"] * 10
    service.now += 60
    service.calls.clear()
    service.refresh(answer["refresh_token"])
    assert service.calls.names == ["GetItem", "UpdateItem"]


def test_an_id_token_costs_no_more_than_any_other_start_of_a_session(service: Service) -> None:
    """the session is the mark that the token was used"""
    service.start()
    service.calls.clear()
    service.start()
    plain = charged(service)
    with identity_provider() as provider:
        shop = test_id_tokens.Shop(service, provider)
        shop.bearer(shop.id_token(jti="warm"), KEY)
        service.calls.clear()
        answer = shop.bearer(shop.id_token(), KEY)
    assert service.calls.names == ["PutItem", "UpdateItem"]
    assert charged(service) == plain
    assert item_bytes(service.item(answer["sid"])) <= MAX_ITEM_BYTES


def test_a_start_is_one_write_and_one_more_for_its_event_each_with_the_index(
    service: Service,
) -> None:
    """the session and both indexes; then it leaves its first place in one for the next"""
    service.start()
    service.calls.clear()
    service.start()
    assert service.calls.names == ["PutItem", "UpdateItem"]
    assert charged(service) == [(3.0, True), (3.0, True)]


def test_a_client_assertion_costs_one_write_unit_more(service: Service) -> None:
    test_client_assertions.register(service)
    token = test_client_assertions.start(service)["refresh_token"]
    service.calls.clear()
    form = test_client_assertions.proved(
        test_client_assertions.assertion(service), refresh_token=token
    )
    assert service.call("POST", "/oauth/refresh", form=form).status == 200
    assert service.calls.names == ["PutItem", "UpdateItem"]
    assert charged(service) == [(1.0, False), (1.0, False)]
