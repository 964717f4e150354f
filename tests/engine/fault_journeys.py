"""What is under way when something fails: every request, and what must come of it in the end.

JOURNEYS has them all, each with every call of it that can fail.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from ratchet import client_assertion
from ratchet.application import JWT_BEARER
from ratchet.policy import PRESETS
from tests.engine.fault_service import (
    BACKEND,
    ISSUER,
    KEY,
    KEYED,
    NATIVE,
    STRICT,
    TOUCHED,
    TRUSTING,
    Answer,
    Service,
    must,
)
from tests.identity_provider import rsa_key, sign


@dataclass
class Stage:
    """What a journey starts from: made before anything fails, in a container of its own.

    token: the session's current one. old: one that was replaced and used.
    """

    service: Service
    sid: str = ""
    token: str = ""
    old: str = ""
    access: str = ""
    generation: int = 0
    client_id: str = NATIVE
    key: str | None = None


class Journey:
    """A request, and what must have come of it in the end."""

    status = 200
    """What the request is answered in the end, once nothing fails."""
    in_kms = False
    """Whether the access tokens are signed in KMS."""
    starts = False
    """Whether the request starts a session, of which an event tells."""

    def done(self, answer: Answer) -> bool:
        return answer.status == self.status

    def prepare(self, stage: Stage) -> None:
        answer = stage.service.start(stage.client_id)
        stage.sid, stage.token = answer["sid"], answer["refresh_token"]
        stage.access = answer["access_token"]

    def request(self, stage: Stage) -> Answer:
        raise NotImplementedError

    def judge(self, stage: Stage, answer: Answer) -> None:
        """After the request has been answered in the end."""


class Refresh(Journey):
    """The whole point: whatever fails, one successor."""

    def __init__(
        self, client_id: str = NATIVE, key: str | None = None, *, in_kms: bool = False
    ) -> None:
        self._client_id, self._key, self.in_kms = client_id, key, in_kms

    def prepare(self, stage: Stage) -> None:
        stage.client_id, stage.key = self._client_id, self._key
        super().prepare(stage)

    def request(self, stage: Stage) -> Answer:
        return stage.service.refresh(stage.token, stage.client_id, stage.key)

    def judge(self, stage: Stage, answer: Answer) -> None:
        service = stage.service
        session = service.session(stage.sid)
        must(session.ended_at is None, f"signed out: {session.reason}")
        must(session.generation == 1, f"generation {session.generation}, not 1")
        if self._key or self._client_id != STRICT:
            again = service.refresh(stage.token, stage.client_id, stage.key)
            must(again.status == 200, f"repeated: {again.status} {again.body}")
            must(again["refresh_token"] == answer["refresh_token"], "a fork")
        follow = service.refresh(answer["refresh_token"], stage.client_id, KEY[::-1])
        must(follow.status == 200, f"the successor: {follow.status} {follow.body}")
        session = service.session(stage.sid)
        must(session.generation == 2, f"generation {session.generation}, not 2")


class Start(Journey):
    """A sign-in. One whose answer was lost leaves a session behind that nobody has a token of."""

    starts = True

    def __init__(self, *, in_kms: bool = False) -> None:
        self.in_kms = in_kms

    def prepare(self, stage: Stage) -> None:
        pass

    def request(self, stage: Stage) -> Answer:
        return stage.service.start()

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(answer["sid"])
        must(session.generation == 0, f"generation {session.generation}")
        follow = stage.service.refresh(answer["refresh_token"])
        must(follow.status == 200, f"its token: {follow.status} {follow.body}")


class Ending(Journey):
    """A session that ends: told at least once, always with the same id, and then settled."""

    reason = "revoked_by_user"

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(stage.sid)
        must(session.ended_at is not None, "not ended")
        must(session.reason == self.reason, f"ended as {session.reason}")
        refused = stage.service.refresh(stage.token)
        must(refused.status == 400, f"a token of it: {refused.status}")
        must(refused["error_reason"] == self.reason, f"told {refused['error_reason']}")


class Revoke(Ending):
    def request(self, stage: Stage) -> Answer:
        return stage.service.revoke(stage.token)


class Delete(Ending):
    """An operator ends a session."""

    reason = "revoked_by_operator"
    status = 204

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        form = {"grant_type": "client_credentials"}
        answer = stage.service.call("POST", "/oauth/token", form=form, auth=BACKEND)
        stage.access = answer["access_token"]

    def request(self, stage: Stage) -> Answer:
        return stage.service.call("DELETE", f"/sessions/{stage.sid}", bearer=stage.access)


class SignOut(Ending):
    """A session ends itself. If that took effect unheard, its repetition is told just that: 401."""

    status = 204

    def done(self, answer: Answer) -> bool:
        if answer.status == 401:
            return bool(answer["error_reason"] == self.reason)
        return super().done(answer)

    def request(self, stage: Stage) -> Answer:
        return stage.service.call("DELETE", f"/sessions/{stage.sid}", bearer=stage.access)


class Reuse(Ending):
    """Theft: the fault must neither hide it nor turn into it."""

    reason = "reused"
    status = 400

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        stage.old = stage.token
        for _ in range(2):
            stage.token = stage.service.refresh(stage.token)["refresh_token"]

    def request(self, stage: Stage) -> Answer:
        return stage.service.refresh(stage.old)


class Introspect(Journey):
    def request(self, stage: Stage) -> Answer:
        form = {"token": stage.token}
        return stage.service.call("POST", "/oauth/introspect", form=form, auth=BACKEND)

    def judge(self, stage: Stage, answer: Answer) -> None:
        must(answer["active"] is True, "not active")


class Show(Journey):
    def request(self, stage: Stage) -> Answer:
        return stage.service.call("GET", f"/sessions/{stage.sid}", bearer=stage.access)

    def judge(self, stage: Stage, answer: Answer) -> None:
        must(answer["status"] == "active", f"{answer['status']}")


class Touch(Journey):
    """An API's use of a session counts, once. stage.access: a token of the API's own."""

    def prepare(self, stage: Stage) -> None:
        stage.client_id = TOUCHED
        super().prepare(stage)
        stage.service.now += 60
        form = {"grant_type": "client_credentials"}
        answer = stage.service.call("POST", "/oauth/token", form=form, auth=BACKEND)
        stage.access = answer["access_token"]

    def request(self, stage: Stage) -> Answer:
        body = {"sids": [stage.sid]}
        return stage.service.call("POST", "/sessions/touch", body=body, bearer=stage.access)

    def judge(self, stage: Stage, answer: Answer) -> None:
        (found,) = answer["sessions"]
        # "fresh": the write had taken effect, and its answer was lost
        must(found["outcome"] in ("touched", "fresh"), found["outcome"])
        session = stage.service.session(stage.sid)
        counted = (session.active_at or 0) >= session.started_at + 60
        must(counted, f"active at {session.active_at}")
        must(session.idle_deadline_at == found["idle_deadline_at"], "another deadline")
        must(stage.service.refresh(stage.token, TOUCHED).status == 200, "its token does not work")


class List(Journey):
    def request(self, stage: Stage) -> Answer:
        return stage.service.call("GET", "/sessions", bearer=stage.access)

    def judge(self, stage: Stage, answer: Answer) -> None:
        must(stage.sid in {found["sid"] for found in answer["sessions"]}, "not listed")


class Sweep(Journey):
    """A sweep, not a request: a fault is counted, and the next sweep goes on.

    Ends an idle session. One that lives must go on living.
    """

    def prepare(self, stage: Stage) -> None:
        super().prepare(stage)
        stage.service.now += PRESETS["native"].idle_ttl_seconds

    def request(self, stage: Stage) -> Answer:
        report = stage.service.sweep()
        bad = report.get("faults") or report.get("unpublished") or not report["complete"]
        must(bool(report.get("faults")) == (not report["complete"]), f"{report}")
        return Answer(503 if bad else 200, {}, report, {})

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(stage.sid)
        must(session.reason == "idle_expired", f"ended as {session.reason}")
        must(session.ended_at == session.idle_deadline_at, f"ended at {session.ended_at}")


class SweepLiving(Sweep):
    """A refresh has moved the deadline: the sweep warns or files anew, and ends nothing."""

    def prepare(self, stage: Stage) -> None:
        Journey.prepare(self, stage)
        service, policy = stage.service, PRESETS["native"]
        service.now += policy.idle_ttl_seconds - 10
        stage.token = service.refresh(stage.token)["refresh_token"]
        service.now += 20

    def judge(self, stage: Stage, answer: Answer) -> None:
        service, session = stage.service, stage.service.session(stage.sid)
        must(session.ended_at is None, f"ended as {session.reason}")
        must((session.attention_at or 0) > service.now, "still due")
        must(service.refresh(stage.token).status == 200, "its token does not work")


class Warn(Sweep):
    """The warning before an idle deadline: told at least once, always with the same id."""

    def prepare(self, stage: Stage) -> None:
        Journey.prepare(self, stage)
        policy = PRESETS["native"]
        stage.service.now += policy.idle_ttl_seconds - policy.idle_warning_seconds

    def judge(self, stage: Stage, answer: Answer) -> None:
        session = stage.service.session(stage.sid)
        must(session.warned_deadline_at == session.idle_deadline_at, "not warned")
        must(session.ended_at is None, f"ended as {session.reason}")


class IdToken(Journey):
    """An ID token becomes one session, and the same request gets that one again."""

    starts = True

    def prepare(self, stage: Stage) -> None:
        provider = stage.service.provider
        stage.token = provider.id_token(now=stage.service.now, jti=secrets.token_hex(8))

    def request(self, stage: Stage) -> Answer:
        form = {"grant_type": JWT_BEARER, "client_id": TRUSTING, "assertion": stage.token}
        return stage.service.call("POST", "/oauth/token", form=form, key=KEY)

    def judge(self, stage: Stage, answer: Answer) -> None:
        service = stage.service
        again = self.request(stage)
        must(again.status == 200, f"repeated: {again.status} {again.body}")
        must(again["refresh_token"] == answer["refresh_token"], "a second session")
        follow = service.refresh(answer["refresh_token"], TRUSTING)
        must(follow.status == 200, f"its token: {follow.status} {follow.body}")
        replayed = self.request(stage)
        must(replayed.status == 400, f"replayed: {replayed.status}")
        must(replayed["error_reason"] == "assertion_used", f"told {replayed['error_reason']}")


class ClientAssertion(Journey):
    """A refresh by an application that proves itself with a JWT, which is good for one request.

    stage.access is that JWT.
    """

    def prepare(self, stage: Stage) -> None:
        service = stage.service
        form = {"client_id": KEYED, "sub": "ada", **self._proof(service)}
        answer = service.call("POST", "/sessions", form=form)
        stage.sid, stage.token = answer["sid"], answer["refresh_token"]
        stage.access = self._proof(service)["client_assertion"]

    def _proof(self, service: Service) -> dict[str, str]:
        claims = {"iss": KEYED, "sub": KEYED, "aud": ISSUER, "jti": secrets.token_hex(8)}
        text = sign({**claims, "iat": service.now, "exp": service.now + 300}, rsa_key("first"))
        return {"client_assertion": text, "client_assertion_type": client_assertion.TYPE}

    def request(self, stage: Stage) -> Answer:
        form = {
            "refresh_token": stage.token,
            "client_assertion": stage.access,
            "client_assertion_type": client_assertion.TYPE,
        }
        return stage.service.call("POST", "/oauth/refresh", form=form, key=KEY)

    def judge(self, stage: Stage, answer: Answer) -> None:
        service = stage.service
        must(service.session(stage.sid).generation == 1, "not rotated once")
        form = {"token": stage.token, **self._proof(service), "client_assertion": stage.access}
        replayed = service.call("POST", "/oauth/introspect", form=form, key=KEY)
        must(replayed.status == 401, f"replayed: {replayed.status}")


UNPROTECTED = "refresh, bare"

JOURNEYS: Mapping[str, tuple[Journey, tuple[str, ...]]] = {
    "refresh": (Refresh(), ("peppers", "keys", "application", "rotate")),
    "refresh, key": (Refresh(STRICT, KEY), ("rotate",)),
    # Leeway 0 and no key: a lost answer is lost, except to the SDK, which repeats the very bytes.
    UNPROTECTED: (Refresh(STRICT), ("rotate",)),
    "refresh, kms": (Refresh(in_kms=True), ("keys", "session", "sign", "rotate")),
    "id token": (
        IdToken(),
        ("peppers", "keys", "application", "create", "publish", "rearm"),
    ),
    "client assertion": (ClientAssertion(), ("application", "use", "rotate")),
    "start": (Start(), ("peppers", "keys", "application", "create", "publish", "rearm")),
    "start, kms": (Start(in_kms=True), ("sign", "create", "publish")),
    "revoke": (Revoke(), ("peppers", "application", "end", "publish", "settle")),
    "reuse": (Reuse(), ("rotate", "end", "publish", "settle")),
    "delete": (Delete(), ("keys", "session", "end", "publish", "settle")),
    "sign out": (SignOut(), ("session", "end", "publish", "settle")),
    "introspect": (Introspect(), ("peppers", "application", "session")),
    "show": (Show(), ("keys", "application", "session")),
    "touch": (Touch(), ("keys", "application", "batch", "touch")),
    "list": (List(), ("session", "list", "batch")),
    "sweep": (Sweep(), ("due", "batch", "application", "end", "publish", "settle")),
    "sweep, living": (SweepLiving(), ("due", "batch", "rearm")),
    "warn": (Warn(), ("publish", "rearm")),
}
"""Every request, and every call of it that can fail."""
