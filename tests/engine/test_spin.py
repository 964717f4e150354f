"""The specification of rotation holds in every state, and broken ones do not (`make model`)."""

import pytest

from tests.engine.spin import BROKEN, SMALL, check, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")


def test_the_protocol_holds_in_every_state() -> None:
    verdict = check(SMALL)
    assert verdict.complete
    assert verdict.violated == ""
    assert verdict.states > 10_000


@pytest.mark.parametrize("variant", BROKEN)
def test_a_broken_protocol_is_caught(variant: str) -> None:
    assert check(SMALL, variant).violated
