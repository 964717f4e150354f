"""Schemathesis against the description of the HTTP surface, on a started local stack.

    python -m tests.engine.fuzz_api --examples 200 --seed 1

Every operation of the document that the stack serves gets `examples` requests made of its schemas:
valid ones, invalid ones, and either with what a caller would really hold in it (credentials, a live
or an ended session's tokens, its sid), so that they get past the first check. What must hold:

- no 5xx;
- no answer that the document does not have: status, content type, headers, body;
- a method that the document does not have is 405 with the right ones in `Allow`;
- every 2xx of the document was reached: else all of this would be about refusals.
"""

from __future__ import annotations

import argparse
import collections
import random
import re
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ratchet_cli.seed import ADA, SECRETS
from tests import proofs
from tests.local_stack import started

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "REPORT")
BACKEND = ("demo-backend", SECRETS["demo-backend"])
# Who asks, most of all those whom the operation is for.
ASKING = "Ratchet-Refresh-Token"
CALLERS = ["as generated", "nobody", "demo-backend", "wrong secret", "the operator"]
CLIENTS = ["the owner", "the owner", "demo-backend", "demo-backend in the body", "demo-machine"]
BEARERS = ["the operator", "the subject", "the subject", "an ended session", "somebody"]
OPERATOR = ("demo-operator", SECRETS["demo-operator"])
# An application to try things on: nobody else's request needs it.
GUINEA_PIG = "guinea-pig"
SCOPES = ("profile", "orders:read profile", "reports:read", "admin")
MORE_ROUNDS = 5
ASSERTION = ("client_assertion", "client_assertion_type")


@dataclass
class Report:
    """answers: by operation and status. unreached: documented successes that never came."""

    answers: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        return sum(self.answers.values())

    def lines(self) -> list[str]:
        labels = sorted({label for label, _ in self.answers})
        found = [
            f"{label:48} "
            + "  ".join(
                f"{status}: {count}"
                for (other, status), count in sorted(self.answers.items())
                if other == label
            )
            for label in labels
        ]
        total = f"{self.requests} requests, {len(labels)} operations, {self.seconds:.0f} s"
        return [*found, total, *(f"BROKEN {failure}" for failure in self.failures)]


class Holder:
    """Somebody who holds real things of the service: a fresh session whenever one is asked for."""

    def __init__(self, url: str, http: requests.Session) -> None:
        self.url = url
        self._http = http
        self._key = proofs.new_key()
        self._nonce: str | None = None
        page = http.get(f"{url}/account/sessions", timeout=10).text
        self.version = re.findall('href="([0-9a-f]+)/account.css"', page)[0]
        self.operator = self._post(
            "/oauth/token", {"grant_type": "client_credentials"}, auth=BACKEND
        )["access_token"]
        self.registrar = self._post(
            "/oauth/token", {"grant_type": "client_credentials"}, auth=OPERATOR
        )["access_token"]

    def proof(self, method: str, path: str) -> str:
        """For a request without access token. The first has no nonce, as every client's."""
        text = proofs.proof(
            self._key, method, self.url + path, now=int(time.time()), nonce=self._nonce
        )
        if self._nonce is None:
            form = {"grant_type": "client_credentials"}
            answer = self._http.post(
                f"{self.url}/oauth/token",
                data=form,
                headers={"DPoP": proofs.proof(self._key, "POST", f"{self.url}/oauth/token", now=1)},
                auth=BACKEND,
                timeout=10,
            )
            self._nonce = answer.headers["DPoP-Nonce"]
        return text

    def guinea_pig(self, disabled: bool) -> None:
        """Makes it what it was, in case a request has deleted or broken it."""
        sent: Any = {"headers": {"Authorization": f"Bearer {self.registrar}"}, "timeout": 10}
        address = f"{self.url}/applications"
        described = {"confidential": True, "policy": {"preset": "machine"}}
        self._http.post(address, json={"client_id": GUINEA_PIG, **described}, **sent)
        disabled_at = 1 if disabled else None
        patch = {**described, "disabled_at": disabled_at, "grant_types": None}
        self._http.patch(f"{address}/{GUINEA_PIG}", json=patch, **sent)
        self._http.delete(f"{address}/{GUINEA_PIG}/secrets", **sent)

    def session(self, client_id: str, *, ended: bool = False) -> dict[str, Any]:
        """Its tokens and its sid."""
        form = {"client_id": client_id, "sub": "ada", "device": "Pixel 9", "amr": "pwd"}
        session = self._post("/sessions", form, auth=BACKEND)
        if ended:
            self._http.delete(
                f"{self.url}/sessions/{session['sid']}",
                headers={"Authorization": f"Bearer {session['access_token']}"},
                timeout=10,
            )
        return session

    def _post(self, path: str, form: dict[str, str], auth: tuple[str, str]) -> dict[str, Any]:
        answer = self._http.post(self.url + path, data=form, auth=auth, timeout=10)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


@dataclass(frozen=True)
class Changes:
    """What is put into a generated request. Drawn as words: the real things come later."""

    caller: str
    owner: str
    ended: bool
    token: str
    scope: str | None
    subject: str | None
    real: bool
    proof: str


def changes_for(operation: Any) -> st.SearchStrategy[Changes]:
    security = operation.definition.raw.get("security", [])
    usual = BEARERS if {"bearer": []} in security else CLIENTS
    if operation.label == "POST /sessions":
        usual = ["demo-backend"] * len(CALLERS)
    if operation.label == "POST /oauth/introspect":
        usual = CLIENTS[2:]
    return st.builds(
        Changes,
        caller=st.sampled_from([*usual, *usual, *CALLERS]),
        owner=st.sampled_from(["demo-native", "demo-sensitive", "demo-browser"]),
        ended=st.sampled_from([False, False, True]),
        token=st.sampled_from(["refresh_token", "access_token", "operator", "cut off"]),
        scope=st.sampled_from([None, None, *SCOPES]),
        subject=st.sampled_from([None, "ada", "kim"]),
        real=st.sampled_from([True, True, True, False]),
        proof=st.sampled_from(["none", "none", "none", "real", "as generated"]),
    )


def put_in(case: Any, changes: Changes, holder: Holder) -> dict[str, Any]:
    """Puts real things into the request; returns how it has to be sent."""
    if changes.proof != "as generated":
        others = {name: value for name, value in case.headers.items() if name.lower() != "dpop"}
        proof = {"DPoP": holder.proof(case.method, case.path)} if changes.proof == "real" else {}
        case.headers = {**others, **proof}
    caller = changes.caller
    if case.path.startswith("/account"):
        return _as_browser(case, changes, holder)
    if case.path.startswith("/applications"):
        return _as_registrar(case, changes, holder)
    if caller == "as generated":
        return {}
    case.headers = {
        name: value for name, value in case.headers.items() if name.lower() != "authorization"
    }
    session: dict[str, Any] = {}
    needs_one = caller in BEARERS or isinstance(case.body, dict) or case.path_parameters
    if (needs_one and case.path != "/sessions") or caller in BEARERS[1:4]:
        ended = changes.ended or caller == "an ended session"
        session = holder.session(changes.owner, ended=ended and caller != "the subject")
    sent: dict[str, Any] = {}
    if caller in ("demo-backend", "wrong secret", "demo-machine"):
        secret = SECRETS.get(caller, "wrong")
        sent["auth"] = (caller if caller in SECRETS else BACKEND[0], secret)
    elif caller in BEARERS:
        bearers = {"the operator": holder.operator, "somebody": "eyJhbGciOiJub25lIn0.e30."}
        bearer = bearers.get(caller) or session["access_token"]
        sent["headers"] = {"Authorization": f"Bearer {bearer}"}
    if not changes.real:
        return sent
    if case.path_parameters and session:
        case.path_parameters = {**case.path_parameters, "sid": session["sid"]}
    if changes.subject and case.query is not None and caller in BEARERS:
        case.query = {**case.query, "sub": changes.subject}
        case.query.pop("cursor", None)
    if isinstance(case.body, dict):
        if case.path == "/sessions":
            signed_in = {**case.body, **_sign_in(case.body, changes, holder)}
            # the caller authenticates in the header
            case.body = {name: signed_in[name] for name in signed_in if name not in ASSERTION}
        elif case.path == "/login":
            typed = {**case.body, **_log_in(case.body, changes, holder)}
            proofs = {"client_secret", *ASSERTION}
            case.body = {name: typed[name] for name in typed if name not in proofs}
        elif case.path == "/sessions/touch":
            case.body = {"sids": [session["sid"], holder.operator[:22]]}
        elif session:
            if case.path == "/oauth/token" and changes.subject:
                # Of what is generated for so many grants hardly anything gets to its 200.
                case.body = {"grant_type": "client_credentials"}
            case.body = {**case.body, **_tokens(case.body, changes, session, holder)}
            _authenticate(case.body, changes)
        if ASKING in case.headers:
            _in_cookie(case, changes, session)
    return sent


def _as_browser(case: Any, changes: Changes, holder: Holder) -> dict[str, Any]:
    """What the pages consist of is there only at the version that their HTML names."""
    if changes.real and "version" in case.path_parameters:
        case.path_parameters = {**case.path_parameters, "version": holder.version}
    return {}


def _as_registrar(case: Any, changes: Changes, holder: Holder) -> dict[str, Any]:
    if case.path_parameters and (changes.real or case.method != "GET"):
        holder.guinea_pig(changes.ended or changes.subject is None)
        case.path_parameters = {"client_id": GUINEA_PIG}
    if (case.path, case.method) == ("/applications", "POST") and changes.real:
        client_id = f"pig-{uuid.uuid4()}"
        least = {"confidential": False, "policy": {"preset": "browser"}}
        described = case.body if changes.ended and isinstance(case.body, dict) else {}
        case.body = {**described, **least, "client_id": client_id}
        case.query = {"dry_run": "true"} if changes.subject else {}
    elif case.method == "PATCH" and changes.real:
        case.query = {name: value for name, value in (case.query or {}).items() if name == "mode"}
        case.body = {"scopes": ["profile"], "policy": {"access_ttl_seconds": 60}}
    elif case.method == "POST" and isinstance(case.body, dict) and changes.real:
        case.body = {"keep_former_seconds": 60}
    if changes.caller in ("the subject", "an ended session", "somebody", "wrong secret"):
        return {"headers": {"Authorization": f"Bearer {holder.operator}"}}
    return {"headers": {"Authorization": f"Bearer {holder.registrar}"}}


def _in_cookie(case: Any, changes: Changes, session: dict[str, Any]) -> None:
    """What a browser adds for a page of demo-browser; of others a request for it is left out."""
    case.headers = dict(case.headers)
    if case.body.get("client_id") != "demo-browser":
        del case.headers[ASKING]
        return
    cookie = f"__Host-Http-ratchet-demo-browser={session['refresh_token']}"
    case.headers |= {"Origin": "http://localhost:3000", "Cookie": cookie}
    for name in ("token", "refresh_token") if changes.subject else ("token",):
        case.body.pop(name, None)


def _sign_in(body: dict[str, Any], changes: Changes, holder: Holder) -> dict[str, Any]:
    """Keeps the names that were generated, with values that the service can take."""
    usual: dict[str, Any] = {"scope": changes.scope or "", "auth_time": 1_700_000_000, "amr": "pwd"}
    usual |= {"resource": [holder.url], "acr": "silver"}
    usual |= {"claims": '{"tenant": "t1"}'} if changes.subject else {}
    return {"client_id": changes.owner} | {name: usual[name] for name in usual if name in body}


def _log_in(body: dict[str, Any], changes: Changes, holder: Holder) -> dict[str, Any]:
    """Ada's own sign-in; the wrong ones are enough to be throttled."""
    usual: dict[str, Any] = {
        "scope": changes.scope or "",
        "device": "Pixel 9",
        "resource": [holder.url],
    }
    typed = {"email": ADA["email"], "password": ADA["password"]}
    return {**typed, "client_id": changes.owner} | {
        name: usual[name] for name in usual if name in body
    }


def _tokens(
    body: dict[str, Any], changes: Changes, session: dict[str, Any], holder: Holder
) -> dict[str, Any]:
    cut_off = session["refresh_token"][:-1]
    tokens = {**session, "operator": holder.operator, "cut off": cut_off}
    found: dict[str, Any] = {"scope": changes.scope} if changes.scope else {}
    if body.get("grant_type") == "client_credentials" and changes.scope != "admin":
        found["scope"] = ""
    if "resource" in body:
        found["resource"] = [holder.url]
    if "token" in body:
        found["token"] = tokens[changes.token]
    if "token" not in body and body.get("grant_type", "refresh_token") == "refresh_token":
        found["refresh_token"] = cut_off if changes.token == "cut off" else tokens["refresh_token"]
    return found


def _authenticate(body: dict[str, Any], changes: Changes) -> None:
    """The client of the form, instead of one that was generated."""
    for name in ("client_id", "client_secret", *ASSERTION):
        body.pop(name, None)
    if changes.caller == "the owner":
        body["client_id"] = changes.owner
    elif changes.caller == "demo-backend in the body":
        body["client_id"], body["client_secret"] = BACKEND


def run(url: str, *, examples: int, seed: int) -> Report:
    """Every operation with `examples` requests; what is broken is in the report's failures."""
    report, http = Report(), requests.Session()
    http.trust_env = False
    holder = Holder(url, http)
    started_at = time.perf_counter()
    document = http.get(f"{url}/openapi.json", timeout=10).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    results: Iterable[Any] = schema.get_all_operations()
    operations = [result.ok() for result in results]
    for operation in operations:
        try:
            # Few examples may miss a success by chance: then as many again, a few times.
            for again in range(MORE_ROUNDS):
                _fuzz(operation, holder, http, report, examples=examples, seed=seed + again)
                if not _unreached(operation, report):
                    break
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the operation's result
            report.failures.append(f"{operation.label}: {_told(error)}")
    for path, item in document["paths"].items():
        _other_methods(path, item, schema, http, url, report)
    for operation in operations:
        for status in _unreached(operation, report):
            report.failures.append(f"{operation.label}: no request got to its {status}")
    report.seconds = time.perf_counter() - started_at
    return report


def _unreached(operation: Any, report: Report) -> list[str]:
    """The successes of the document that no request has got to yet."""
    return [
        status
        for status in operation.definition.raw["responses"]
        if status.startswith("2") and not report.answers[operation.label, int(status)]
    ]


def _fuzz(
    operation: schemathesis.APIOperation[Any, Any, Any, Any],
    holder: Holder,
    http: requests.Session,
    report: Report,
    *,
    examples: int,
    seed: int,
) -> None:
    modes = [schemathesis.GenerationMode.POSITIVE]
    takes_nothing = not operation.body and not list(operation.iter_parameters())
    if not takes_nothing:
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=min(examples, 5) if takes_nothing else examples,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(case=cases, changes=changes_for(operation))
    def one(case: Any, changes: Changes) -> None:
        how = put_in(case, changes, holder)
        answer = case.call(session=http, timeout=10, **how)
        report.answers[operation.label, answer.status_code] += 1
        problem = undescribed(case, answer)
        assert problem is None, f"{case.as_curl_command(how.get('headers'))}: {problem}"

    one()


def _other_methods(
    path: str,
    item: dict[str, Any],
    schema: schemathesis.BaseSchema,
    http: requests.Session,
    url: str,
    report: Report,
) -> None:
    described = {method.upper() for method in item} & set(METHODS)
    operation = schema[path][min(described)]
    for method in sorted(set(METHODS) - described):
        answer = http.request(method, url + re.sub(r"{\w+}", "x", path), timeout=10)
        report.answers[f"other methods of {path}", answer.status_code] += 1
        if answer.status_code != 405 or set(answer.headers["Allow"].split(", ")) != described:
            report.failures.append(f"{method} {path}: {answer.status_code} {answer.headers}")
        elif method != "HEAD" and (problem := undescribed(operation.Case(), answer)):
            report.failures.append(f"{method} {path}: {problem}")


def undescribed(case: Any, answer: requests.Response) -> str | None:
    """What of an answer the document does not have, or None."""
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        return _told(group)
    return None


def _told(error: BaseException) -> str:
    parts = getattr(error, "exceptions", None)
    return " | ".join(map(_told, parts)) if parts else f"{type(error).__name__}: {error}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Schemathesis against a local stack.")
    parser.add_argument("--examples", type=int, default=200, help="requests an operation")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    sys.stdout.write(f"seed {seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as tree, started(Path(tree)) as stack:
        report = run(stack.url, examples=options.examples, seed=seed)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
