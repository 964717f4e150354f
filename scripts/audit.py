"""Asks PyPI which of the pinned packages have known vulnerabilities (`make audit`).

Exit status: 0 none has, 1 some have, 3 not all could be asked about (no network, or a mirror of
PyPI that knows no vulnerabilities). pip-audit itself calls the last case "none found".
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NONE, SOME, UNKNOWN = 0, 1, 3


def asked(requirements: Path) -> dict[str, list[str] | None]:
    """The ids of the vulnerabilities of each pin; None where nobody could be asked."""
    answer = subprocess.run(  # noqa: S603 - no word of it comes from outside
        [
            *(sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off"),
            *("--require-hashes", "--disable-pip", "--requirement", str(requirements)),
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    if not answer.stdout:
        print(answer.stderr.strip().rpartition("\n")[2], file=sys.stderr)
        return {"": None}
    found = json.loads(answer.stdout)["dependencies"]
    return {
        f"{each['name']} {each.get('version', '')}": (
            None if "skip_reason" in each else [known["id"] for known in each["vulns"]]
        )
        for each in found
    }


def main() -> int:
    result = NONE
    pinned = ("layers/*/requirements.txt", "requirements/*.txt", "bench/peers/requirements.txt")
    for path in sorted(path for pattern in pinned for path in ROOT.glob(pattern)):
        name, pins = path.relative_to(ROOT), asked(path)
        known = {pin: ids for pin, ids in pins.items() if ids}
        unasked = [pin for pin, ids in pins.items() if ids is None]
        for pin, ids in known.items():
            print(f"{name}: {pin}: {', '.join(ids)}")
        if unasked:
            print(f"{name}: NOT AUDITED, {len(unasked)} of {len(pins)} pins: nobody could be asked")
        elif not known:
            print(f"{name}: {len(pins)} pins, no known vulnerability")
        result = SOME if known else result or (UNKNOWN if unasked else NONE)
    return result


if __name__ == "__main__":
    sys.exit(main())
