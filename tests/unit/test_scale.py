"""docs/scale.md says what bench/scale.py finds, and that is what its assumptions come to."""

import json

import pytest

from bench.scale import (
    LIMITS,
    PAGE,
    RESULTS,
    SIZES,
    Assumptions,
    play,
    simulate,
    tables,
    text,
    with_tables,
)
from ratchet.policy import DAY, PRESETS
from ratchet.session_item import ATTENTION_SHARDS

KEPT = json.loads(RESULTS.read_text(encoding="utf-8"))


def test_the_page_quotes_the_result() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, KEPT) == page


def test_the_result_is_what_the_simulation_finds_today() -> None:
    """Another price, policy, rule of the sweep, number of shards? `make bench-scale`."""
    assert simulate(Assumptions()) == KEPT


def test_the_page_names_the_assumptions_it_was_made_with() -> None:
    page, given = PAGE.read_text(encoding="utf-8"), Assumptions()
    for told in (
        f"the preset `{given.preset}`",
        f"used for {given.lasting_days} days",
        f"{given.refreshes_a_day} refreshes a day",
        f"{given.busy} times the average",
        f"{given.refresh_ms} ms billed for a refresh at {given.memory_mb} MB",
    ):
        assert told in page
    policy = PRESETS[given.preset]
    twelve = (policy.idle_ttl_seconds - policy.idle_warning_seconds) / DAY
    assert twelve == 12
    assert f"has {ATTENTION_SHARDS} shards" in page
    assert f"some {KEPT['sweep_keeps_up_with'] / 10**6:.0f} million sessions" in page
    assert f"about {given.sweep_a_second} sessions a second" in page


def test_everything_grows_with_the_sessions() -> None:
    small, large = (KEPT["sizes"][index] for index in (0, 1))
    for name, need in small["needed_at_peak"].items():
        assert large["needed_at_peak"][name] == pytest.approx(100 * need, rel=1e-4)
    assert [size["sessions"] for size in KEPT["sizes"]] == list(SIZES)
    assert set(small["needed_at_peak"]) == set(LIMITS)


def test_one_refresh_is_one_write_unit_and_a_visit_of_the_sweep_is_rare() -> None:
    """A million sessions that each refresh twice a day more: a write for each of these, no index
    write, no visit."""
    few, many = (
        simulate(Assumptions(sample=500, refreshes_a_day=each), [10**6])["sizes"][0]
        for each in (20, 22)
    )
    peak = 2 * 10**6 / DAY * Assumptions.busy
    name = "table, write units a second"
    assert many["needed_at_peak"][name] - few["needed_at_peak"][name] == pytest.approx(
        peak, rel=0.05
    )


def test_who_is_used_daily_is_visited_once_in_an_idle_time() -> None:
    given = Assumptions(sample=500, preset="native", lasting_days=300, refreshes_a_day=4)
    policy = PRESETS["native"]
    visits = sum(play(given).visits.values())
    waits = (policy.idle_ttl_seconds - policy.idle_warning_seconds) / DAY
    assert 0.8 / waits < visits < 2 / waits


def test_the_fullest_shard_has_little_more_than_its_part() -> None:
    assert 1 <= play(Assumptions(sample=1000)).hottest_shard * ATTENTION_SHARDS < 1.15


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,230")],
)
def test_three_digits_count(value: float, shown: str) -> None:
    assert text(value) == shown


def test_more_signatures_than_kms_allows_are_seen() -> None:
    found = simulate(Assumptions(sample=200, signs_in_kms=True))
    assert "KMS, signatures" in tables(found)
    assert found["sizes"][1]["share_of_limit"]["KMS, RSA signatures a second"] > 1
