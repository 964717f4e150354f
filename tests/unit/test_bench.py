"""docs/performance.md quotes what was measured; how ratios are made of times."""

import json
import re
from xml.etree import ElementTree

import pytest

from bench import page, turns
from bench.picture import bars


def test_the_page_says_what_the_results_say() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.written(text) == text, "python -m bench.page writes it anew"
    for path, svg in page.drawn().items():
        assert path.read_text(encoding="utf-8") == svg, path
        assert f"images/{path.name}" in text


def test_no_figure_of_the_page_was_written_by_hand() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    by_hand = re.sub(r"<!-- bench.*?<!-- end -->", "", text, flags=re.DOTALL)
    assert not re.findall(r"[0-9.]+ (?:ms|MB|times)\b", by_hand)


def test_a_result_says_when_and_where_and_how_to_repeat_it() -> None:
    for subject in page.SUBJECTS:
        found = json.loads((page.RESULTS / f"{subject}.json").read_text(encoding="utf-8"))
        assert {"command", "at", "machine", "python", "engine"} <= found.keys()


def test_each_subject_meets_each_round() -> None:
    seen: list[str] = []
    subjects = {
        name: turns.Subject(lambda _, name=name: seen.append(name))  # type: ignore[misc]
        for name in ("a", "b", "c")
    }
    times = turns.in_turn(subjects, rounds=6, unmeasured=0)
    assert ["".join(seen[at : at + 3]) for at in range(0, 18, 3)] == ["abc", "bca", "cab"] * 2
    assert {len(found.cpu) for found in times.values()} == {6}


def test_a_ratio_is_that_of_the_medians_and_a_slow_round_counts_for_both() -> None:
    one, other = [2.0, 2.0, 20.0, 2.2], [1.0, 1.0, 10.0, 1.1]
    found = turns.ratio(one, other)
    assert (found["low"], found["median"], found["high"]) == pytest.approx((2, 2, 2))
    beyond = turns.difference(one, other)
    assert beyond["median"] == pytest.approx(1.05)
    assert beyond["low"] <= beyond["median"] <= beyond["high"]


def test_a_picture_is_well_formed_whatever_a_bar_is_called() -> None:
    values = {name: dict.fromkeys(("low", "median", "high"), 2.0) for name in ("x & y", "z")}
    svg = bars("a < b", values)
    assert len(ElementTree.fromstring(svg).findall("{*}rect")) == 2  # noqa: S314 - our own
