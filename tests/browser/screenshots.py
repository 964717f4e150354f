"""`make screenshots`: takes the pictures of docs/sessions-page.md anew, of a local stack."""

import tempfile
from pathlib import Path

from ratchet_cli.seed import SECRETS
from tests.browser.playing import node
from tests.local_stack import ROOT, started

FOLDER = ROOT / "docs" / "images"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as tree, started(Path(tree)) as stack:
        backend = f"demo-backend:{SECRETS['demo-backend']}"
        node("screenshots.mjs", {"api": stack.url, "backend": backend, "folder": str(FOLDER)})


if __name__ == "__main__":
    main()
