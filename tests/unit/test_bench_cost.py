"""What is reckoned of counted units and of prices, and the line through samples of memory."""

import json
from datetime import date
from typing import Any

import pytest

from bench import cost
from bench.growth_child import slope


def counted(**changes: int) -> dict[str, Any]:
    refresh = {"write_units": 1, "read_units": 0, "signatures": 0, "log_bytes": 948}
    refresh |= {"answer_bytes": 1000, **changes}
    return {
        "refresh": {**refresh, "cpu_ms": {"median": 1.0}},
        "start": {**refresh, "write_units": 6},
        "item": {"bytes": 400},
    }


RESULT = {
    "counted": {"secretsmanager": counted(), "kms": counted(read_units=1, signatures=1)},
    "memory_mb": 512,
    "sweep": {"write_units": 4, "read_units": 1, "events": 0.8},
    "assumed": cost.ASSUMED,
}


def test_every_price_has_a_unit_and_a_source_and_all_have_a_date() -> None:
    found = json.loads(cost.PRICES.read_text(encoding="utf-8"))
    date.fromisoformat(found["dated"])
    named = [each for each in found["per_user"].values() if isinstance(each, dict)]
    for each in (*found["prices"].values(), *named):
        assert each["source"].startswith("https://")
    for each in found["prices"].values():
        assert each["usd"] > 0
        assert each["per"] >= 1
        assert each["unit"]


def test_active_users_are_charged_by_the_tier_they_fall_into() -> None:
    assert cost.users_month("Cognito Lite", 10_000) == 0
    assert cost.users_month("Cognito Lite", 10_001) == pytest.approx(0.0055)
    expected = 90_000 * 0.0055 + 900_000 * 0.0046
    assert cost.users_month("Cognito Lite", 1_000_000) == pytest.approx(expected)
    assert cost.users_month("Cognito Essentials", 1_000_000) == pytest.approx(990_000 * 0.015)


def test_a_function_has_its_share_of_a_cpu_and_waits_for_dynamodb_and_for_kms() -> None:
    """a millisecond of CPU takes 3.5 of them in a function of 512 MB, and then it waits"""
    assert cost.duration_ms(RESULT, "secretsmanager") == 9
    assert cost.duration_ms(RESULT, "kms") == 24


def test_a_million_refreshes_are_the_sum_of_what_they_ask_for() -> None:
    parts = {name: part * 1e6 for name, part in cost.request(RESULT, "kms", "refresh").items()}
    assert parts == pytest.approx(
        {
            "API Gateway": 1.00,
            "Lambda": 0.20 + 24_000 * 0.5 * 0.0000133334,
            "DynamoDB": 0.625 + 0.125,
            "KMS": 3.00,
            "log": 0.50,
            "transfer": 0.09,
        }
    )


def test_a_session_costs_what_its_refreshes_cost_and_what_it_costs_besides() -> None:
    none, many = (cost.session_month(RESULT, "secretsmanager", times) for times in (0, 100))
    each = sum(cost.request(RESULT, "secretsmanager", "refresh").values())
    assert none > 0
    assert many - none == pytest.approx(100 * each)


def test_the_slope_of_memory_is_that_of_the_best_line() -> None:
    assert slope([5, 5, 5, 5]) == 0
    assert slope([1, 3, 5, 7]) == pytest.approx(2)
    assert slope([10, 10, 11, 10, 10]) == pytest.approx(0)
