"""Prints docs/licences.md: what the layers ship of others, and under which licence.

It is read from the metadata of the same versions in the virtual environment.
"""

import re
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]

HEAD = """# Licences

Ratchet is under [Apache-2.0](../LICENSE). Its layers ship these packages of others; the licences'
texts are in the layers, in each package's `dist-info`. `make licences` makes this page, and the
tests refuse a licence that is not on their short list of permissive ones.

| layer | package | version | licence |
|---|---|---|---|
"""
TAIL = """
The Lambda runtime brings boto3 and botocore (Apache-2.0), with what they need. What only developers
install is in requirements/dev.txt and is not shipped.
"""


def shipped() -> list[tuple[str, str, str]]:
    """Layer, package and version of every pin."""
    return [
        (path.parent.name, name, version)
        for path in sorted(ROOT.glob("layers/*/requirements.txt"))
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", path.read_text("utf-8"), re.M)
    ]


def licence(package: str) -> str:
    """As the package declares it: an SPDX expression (PEP 639), or what came before those."""
    declared = metadata(package)
    return declared["License-Expression"] or declared["License"] or "none declared"


def page() -> str:
    rows = [
        f"| {layer} | {package} | {version} | {licence(package)} |\n"
        for layer, package, version in shipped()
    ]
    return HEAD + "".join(rows) + TAIL


if __name__ == "__main__":
    print(page(), end="")
