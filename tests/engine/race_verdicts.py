"""What must come out of the races: for every session of a round, what its callers were answered,
what the table holds, what was told, and what its tokens are worth afterwards.

The table of the scenarios is in `races`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ratchet import refresh_token
from ratchet.errors import InvalidGrant
from ratchet.parts import Parts
from ratchet.reasons import Reason
from ratchet.session import Session
from tests.engine.race_scenarios import Raced, present
from tests.engine.race_workers import Answer, Told, application


class BrokenPromise(AssertionError):
    """What the races found, and in which round."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


def must(kept: bool, otherwise: str) -> None:
    if not kept:
        raise BrokenPromise(otherwise)


class Verdicts:
    """What came of a session in a round, by the rules of its scenario."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def of(
        self,
        scenario: str,
        raced: Raced,
        answers: list[Answer],
        told: Mapping[str, list[Told]],
    ) -> str:
        """Who won. Raises BrokenPromise."""
        refreshes = [answer for answer in answers if answer.call.what == "refresh"]
        given = {answer.token for answer in refreshes if answer.status == 200}
        refused = Counter(answer.reason for answer in refreshes if answer.status != 200)
        must(len(given) <= 1, f"a fork: {len(given)} successors of one token")
        must(
            {answer.status for answer in answers} <= {200, 400},
            f"answered {Counter(answer.status for answer in answers)}",
        )
        successor = next(iter(given), None)
        if successor is not None:
            parsed = refresh_token.parse(successor, peppers=self.parts.peppers, now=raced.now)
            must(parsed.sid == raced.sid, "a token of another session")
            must(
                parsed.generation == raced.generation + 1,
                f"generation {raced.generation} became {parsed.generation}",
            )
        session = self.parts.store.get(raced.sid) if raced.last else None
        if raced.last:
            must(session is not None, "the session is gone")
        rules = {"same": "lives", "retry": "lives", "many": "lives"}
        judge = getattr(self, f"_{rules.get(scenario, scenario)}")
        who_won: str = judge(raced, answers, successor, refused, session, told.get(raced.sid, []))
        return who_won

    def _lives(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        must(not refused, f"refused inside the leeway: {dict(refused)}")
        must(successor is not None, "nobody got a successor")
        if session is not None and successor is not None:
            # Of a chain only now: what is told in a later round is not this one's.
            must(not told, f"events: {told}")
            self._must_live(raced, session, successor)
        return "one successor"

    def _revoke(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        must(set(refused) <= {Reason.REVOKED_BY_USER}, f"refused: {dict(refused)}")
        for answer in answers:
            must(
                answer.call.what == "refresh" or answer.status == 200,
                f"a revocation was answered {answer.status}",
            )
        assert session is not None
        self._must_be_ended(raced, session, Reason.REVOKED_BY_USER, successor, told)
        return _who_won(successor, refused, "revoke")

    def _sweep(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        assert session is not None
        must(
            successor is None or (session.ended_at is None and not refused),
            f"refreshed and ended: {dict(refused)}, {session.reason}",
        )
        if successor is not None:
            must(not told, f"events: {told}")
            self._must_live(raced, session, successor)
            return "refresh first"
        must(set(refused) == {Reason.IDLE_EXPIRED}, f"refused: {dict(refused)}")
        self._must_be_ended(raced, session, Reason.IDLE_EXPIRED, successor, told)
        must(session.ended_at == raced.now + 1, f"ended at {session.ended_at}")
        return "sweep first"

    def _cutoff(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        must(set(refused) <= {Reason.POLICY_CUTOFF}, f"refused: {dict(refused)}")
        assert session is not None
        must(session.ended_at is None, f"ended: {session.reason}")
        must(not told, f"events: {told}")
        expected = raced.generation + (successor is not None)
        must(session.generation == expected, f"generation {session.generation}")
        new, _ = application(raced.application.client_id, valid_after=raced.now - 50)
        self._must_not_work(replace(raced, application=new), successor, Reason.POLICY_CUTOFF)
        return _who_won(successor, refused, "cutoff")

    def _reuse(
        self,
        raced: Raced,
        answers: list[Answer],
        successor: str | None,
        refused: Counter[str | None],
        session: Session | None,
        told: list[Told],
    ) -> str:
        must(set(refused) == {Reason.REUSED}, f"refused: {dict(refused)}")
        for answer in answers:
            old = answer.call.token in raced.older
            must(not (old and answer.status == 200), "a used token was answered")
        assert session is not None
        self._must_be_ended(raced, session, Reason.REUSED, successor, told)
        current = Counter(
            answer.reason
            for answer in answers
            if answer.status != 200 and answer.call.token == raced.presented
        )
        return _who_won(successor, current, "reuse")

    def _must_live(self, raced: Raced, session: Session, successor: str) -> None:
        must(session.ended_at is None, f"the session was lost: {session.reason}")
        must(
            session.generation == raced.generation + 1,
            f"generation {raced.generation} became {session.generation}",
        )
        token = refresh_token.parse(successor, peppers=self.parts.peppers, now=raced.now)
        must(session.current_hash == token.hash(), "a successor that is not the stored one")
        try:
            present(successor, raced, raced.now + 1, self.parts)
        except InvalidGrant as error:
            raise BrokenPromise(f"the successor does not work: {error.reason}") from None

    def _must_be_ended(
        self,
        raced: Raced,
        session: Session,
        reason: Reason,
        successor: str | None,
        told: list[Told],
    ) -> None:
        must(session.ended_at is not None, "the session was not ended")
        must(session.reason is reason, f"ended as {session.reason}, not {reason}")
        ids = {event.id for event in told}
        types = {event.type for event in told}
        must(len(ids) == len(types) > 0, f"told with ids {sorted(ids)}")
        must({event.at for event in told} == {session.ended_at}, f"told of another end: {told}")
        must({event.reason for event in told} == {reason}, f"told with another reason: {told}")
        must(
            ("session.reuse_detected" in types) == (reason is Reason.REUSED),
            f"told as {sorted(types)}",
        )
        self._must_not_work(raced, successor, reason)

    def _must_not_work(self, raced: Raced, successor: str | None, reason: Reason) -> None:
        for token in filter(None, (successor, raced.presented, *raced.older)):
            try:
                present(token, raced, raced.now + 5, self.parts)
            except InvalidGrant as error:
                must(error.reason is reason, f"refused afterwards as {error.reason}")
            else:
                raise BrokenPromise("a token works after the end")


def _who_won(successor: str | None, refused: Counter[str | None], other: str) -> str:
    if successor is None:
        return f"{other} first"
    return f"refresh, then {other}" if refused else "refresh first"
