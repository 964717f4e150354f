"""Looks for secrets in the files of the tree that git knows (`make lint`).

What looks like one and is none stands in KNOWN, with the reason. Exit status 1 for anything else,
and for a line in KNOWN that nothing needs any more.
"""

import multiprocessing
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from fnmatch import fnmatch
from pathlib import Path

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import Settings, transient_settings

ROOT = Path(__file__).parents[1]

# A hash of every package, and pictures.
UNREAD = ("*requirements*.txt", "requirements/*.txt", "*.png")
# What could get into this tree. Not the one that takes every `password = "..."` for a password:
# ruff does so, outside of the tests (S105 to S107).
DETECTORS = (
    "AWSKeyDetector",
    "Base64HighEntropyString",
    "BasicAuthDetector",
    "GitHubTokenDetector",
    "HexHighEntropyString",
    "JwtTokenDetector",
    "NpmDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SlackDetector",
    "StripeDetector",
)
ALPHABET, ENTROPY, JWT = "the alphabet of base64url", "Base64 High Entropy String", "JSON Web Token"
KNOWN = {
    ("events/*.json", ENTROPY): "forms, base64 as API Gateway sends them",
    ("layers/ratchet/ratchet/password.py", ENTROPY): "a hash, of nobody's password",
    ("tests/browser/pages.mjs", JWT): "an unsigned token without claims",
    ("tests/clients/test_command_line.py", "Basic Auth Credentials"): "an address to be refused",
    ("tests/engine/fuzz_api.py", JWT): "an unsigned token without claims",
    ("tests/engine/garbage_kinds.py", ENTROPY): ALPHABET,
    ("tests/events/form_post.json", ENTROPY): "a form, base64 as API Gateway sends it",
    ("tests/fixtures/items/*.json", ENTROPY): "hashes, tokens and keys made for the tests alone",
    ("tests/fixtures/items/*.json", "Hex High Entropy String"): "hashes of such secrets",
    ("tests/functional/previous_version.py", "Hex High Entropy String"): "the id of a commit",
    ("tests/functional/test_client_assertions.py", JWT): "tokens without claims and signature",
    ("tests/stack/test_explain.py", JWT): "a token with a made-up signature",
    ("tests/unit/test_keys.py", ENTROPY): "the public key that RFC 7638 shows",
    ("tests/unit/test_refresh_token.py", ENTROPY): ALPHABET,
    ("tests/unit/test_sender.py", JWT): "an unsigned token without claims",
    ("tests/verify/test_verifier.py", ENTROPY): ALPHABET,
    ("tests/verify/wycheproof/*.json", ENTROPY): "published test vectors",
    ("tests/verify/wycheproof/*.json", JWT): "published test vectors",
}

Found = tuple[str, str, int]
"""Path, kind, line."""


def detecting() -> AbstractContextManager[Settings]:
    """In it `found` knows what to look for."""
    return transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]})


def found(path: str) -> list[Found]:
    """What looks like a secret in one file, known or not. path: below the root."""
    secrets = SecretsCollection(root=str(ROOT))
    secrets.scan_file(path)
    return [(name, secret.type, secret.line_number) for name, secret in secrets]


def known_as(finding: Found) -> tuple[str, str] | None:
    """The line of KNOWN that explains it."""
    path, kind, _ = finding
    return next((key for key in KNOWN if fnmatch(path, key[0]) and kind == key[1]), None)


def problems(findings: Iterable[Found]) -> list[str]:
    """What is to be said of these findings, which are those of the whole tree."""
    findings = sorted(findings)
    used = {known_as(finding) for finding in findings}
    return [
        *(f"{f[0]}:{f[2]}: looks like a secret ({f[1]})" for f in findings if not known_as(f)),
        *(f"{path}: no {kind} there any more" for path, kind in KNOWN if (path, kind) not in used),
    ]


def tree() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - ours
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    return [
        path
        for path in listed
        if path and (ROOT / path).is_file() and not any(fnmatch(path, each) for each in UNREAD)
    ]


def main() -> int:
    # Forked, so that the processes have the settings, too.
    with detecting(), multiprocessing.get_context("fork").Pool() as pool:
        findings = [each for some in pool.map(found, tree(), chunksize=8) for each in some]
    said = problems(findings)
    print("\n".join(said) or "No secrets.")
    if said:
        print("If it is none, add it to KNOWN in scripts/find_secrets.py, with the reason.")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
