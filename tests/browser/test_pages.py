"""The pages under /account in a real browser, each state of them checked by axe-core."""

from collections.abc import Mapping
from typing import Any

import pytest

from ratchet_cli.seed import SECRETS
from tests.browser.playing import needed, play, sentences
from tests.local_stack import started

JOURNEYS = "pages.mjs"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What came of every journey."""
    needed()
    with started(tmp_path_factory.mktemp("tree")) as stack:
        backend = f"demo-backend:{SECRETS['demo-backend']}"
        return play(JOURNEYS, {"api": stack.url, "backend": backend})


@pytest.mark.parametrize("sentence", sentences(JOURNEYS))
def test_in_a_browser(results: Mapping[str, Any], sentence: str) -> None:
    assert results[sentence] is None, results[sentence]
