"""A file of one's own as the function that adds claims, on the local stack (docs/claims.md)."""

import re
from pathlib import Path

import jwt

from tests.clients.conftest import Client
from tests.local_stack import ROOT, started


def test_the_function_of_the_page_adds_its_claims_on_the_local_stack(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    (source,) = re.findall("```python\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "claims.py"
    for plan in ("gold", "platinum"):
        # the second start finds the function of the first in the state it kept
        file.write_text(source.replace("gold", plan), encoding="utf-8")
        with started(tmp_path, "--parameter", f"ClaimsFunction={file}", "--keep") as stack:
            client = Client(stack.url)
            with client.http:
                token = client.start()["access_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["plan"], claims["tenant"]) == (plan, "t1")
