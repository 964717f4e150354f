"""The game: what clients, a thief, an operator, a clock and the sweep may do, at random.

`Play` has a rule for each; how it is done and compared is in `model_comparison`.
"""

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from ratchet.reasons import Reason
from tests.engine.model_comparison import APPLICATION, Actors, Compared, Played, Request
from tests.engine.rotation_model import DAY, HOUR, INTERVAL, LEEWAY, WINDOW, Chain, Token
from tests.functional.conftest import BACKEND, START, Service

THIEFS_KEY = "a-key-the-thief-made-up"
MAX_SESSIONS = 3

# Hypothesis gives every rule the same weight, so what ends sessions is one rule among many that
# let them live, and most numbers mean a session that is alive.
which = st.integers(0, 7)
seconds = st.sampled_from([1, 1, 5, 5, LEEWAY, LEEWAY + 1, WINDOW, WINDOW + 1, HOUR, DAY - 1])
age = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
mostly = st.sampled_from([True, True, False])
edges = st.sampled_from(["leeway", "leeway", "leeway", "window", "idle", "idle", "absolute"])


class Play(Compared):
    """One application, up to three sessions, everybody at random."""

    def __init__(self, service: Service, played: Played) -> None:
        super().__init__(service, played)
        self.swept_at = START

    # --- operator ---

    @initialize(
        leeway=st.sampled_from([0, LEEWAY, LEEWAY]), interval=st.sampled_from([0, INTERVAL])
    )
    def open(self, leeway: int, interval: int) -> None:
        self._change(leeway_seconds=leeway, touch_interval_seconds=interval)
        self._start()

    @rule()
    @precondition(lambda self: len(self.chains) < MAX_SESSIONS)
    def sign_in(self) -> None:
        self._note("sign_in")
        self._start()

    @rule(what=st.sampled_from(["leeway", "rotation", "touch", "no cut-off", "cut off", "cut off"]))
    def change_policy(self, what: str) -> None:
        """`sessions_valid_after` ends all sessions until now, until that is taken back."""
        self._note("change_policy")
        if what == "leeway":
            self._change(leeway_seconds=LEEWAY - self.policy.leeway_seconds)
        elif what == "rotation":
            off = self.policy.rotation
            self._change(rotation=not off, rotation_off_reason="a test" if off else "")
        elif what == "touch":
            self._change(touch_interval_seconds=INTERVAL - self.policy.touch_interval_seconds)
        else:
            self.valid_after = self.service.now if what == "cut off" else 0
            self._change()

    @rule(at=which, how=st.sampled_from(["operator", "everywhere", "sign out"]), back=age)
    def end(self, at: int, how: str, back: int) -> None:
        self._note("end")
        chain, _ = self._at(at)
        if how == "operator":
            self._operator_revokes(chain)
        elif how == "everywhere":
            self._operator_signs_out_everywhere(chain.sub)
        else:
            self._sign_out(chain, chain.tokens[-1 - back % len(chain.tokens)])

    def _operator_revokes(self, chain: Chain) -> None:
        answer = self.service.call(
            "DELETE", f"/sessions/{chain.sid}", bearer=self.service.operator()
        )
        assert answer.status == 204, answer
        self._ended(chain, Reason.REVOKED_BY_OPERATOR)

    def _operator_signs_out_everywhere(self, sub: str) -> None:
        answer = self.service.call("DELETE", f"/sessions?sub={sub}", bearer=self.service.operator())
        # those that have expired are ended too, as expired
        open_ones = [chain for chain in self.chains if chain.sub == sub and not chain.ended]
        assert (answer.status, answer["ended"]) == (200, len(open_ones)), answer
        for chain in open_ones:
            self._ended(chain, Reason.REVOKED_EVERYWHERE)

    def _sign_out(self, chain: Chain, token: Token) -> None:
        """RFC 7009, also with a token that has been replaced."""
        form = {"client_id": APPLICATION, "token": token.text}
        assert self.service.call("POST", "/oauth/revoke", form=form).status == 200
        # A cut-off can be taken back, so who signs out meanwhile has to be signed out for good.
        if self.service.now < token.last_at:
            known = token in (chain.current, chain.parent)
            self._ended(chain, Reason.REVOKED_BY_USER if known else Reason.REUSED)

    # --- clock and sweep ---

    @rule(by=seconds)
    def wait(self, by: int) -> None:
        self._note("wait")
        self.service.now += by

    @rule(at=which, edge=edges, beyond=st.sampled_from([-1, -1, 0, 1]))
    def wait_for(self, at: int, edge: str, beyond: int) -> None:
        """Until an instant at which something changes, or the second before or after it."""
        self._note("wait_for")
        chain, _ = self._at(at)
        instants = {
            "leeway": chain.rotated_at + LEEWAY,
            "window": chain.rotated_at + WINDOW,
            "idle": chain.idle_deadline_at,
            "absolute": chain.absolute_deadline_at,
        }
        self.service.now = max(self.service.now, instants[edge] + beyond)

    @rule()
    @precondition(lambda self: self.service.now > self.swept_at + LEEWAY)
    def sweep(self) -> None:
        self._note("sweep")
        self.swept_at = self.service.now
        report = self.service.sweep()
        assert report["complete"], report
        for chain in self.chains:
            reason = self._dead(chain)
            if chain.ended is None and reason is Reason.POLICY_CUTOFF:
                # ended when its turn comes, which may be later
                item = self.service.item(chain.sid)
                chain.ended = reason if "ended_at" in item else None
            elif chain.ended is None:
                chain.ended = reason

    # --- the owner ---

    @rule(at=which, with_key=st.booleans(), times=st.sampled_from([1, 1, 2]))
    def refresh(self, at: int, with_key: bool, times: int) -> None:
        self._note("refresh")
        chain, owner = self._at(at)
        for _ in range(times):
            key = self._key() if with_key else None
            self._keep(chain, owner, self._present(chain, owner.credential, key))

    @rule(
        at=which,
        with_key=mostly,
        again=st.sampled_from([None, None, 0, LEEWAY, LEEWAY + 1, WINDOW]),
    )
    def lose_an_answer(self, at: int, with_key: bool, again: int | None) -> None:
        """It does not arrive, so the owner keeps the token it had. again: repeats it so late."""
        self._note("lose_an_answer")
        chain, owner = self._at(at)
        key = self._key() if with_key else None
        request = Request(owner.credential, key, self.service.now, self.policy.leeway_seconds)
        answer = self._present(chain, request.token, request.key)
        if answer.status == 200 and answer.log["outcome"] == "rotated":
            owner.lost = request
            if again is not None:
                self._retry(chain, owner, request, with_key, again)

    @rule(at=which, with_key=mostly, late=st.sampled_from([0, 1, LEEWAY]))
    @precondition(lambda self: any(owner.lost for owner in self.actors))
    def retry(self, at: int, with_key: bool, late: int) -> None:
        """The request whose answer was lost, again: the very same one, or without its key."""
        self._note("retry")
        chain, owner = self._those(lambda actors: actors.lost, at)
        assert owner.lost is not None
        self._retry(chain, owner, owner.lost, with_key, late)

    def _retry(
        self, chain: Chain, owner: Actors, request: Request, with_key: bool, late: int
    ) -> None:
        self.service.now += late
        key = request.key if with_key else None
        age = self.service.now - request.sent_at
        seen = self.witnesses[self.chains.index(chain)]
        may = (0 < request.leeway_seconds >= age) or (key is not None and age <= WINDOW)
        alive = not self._dead(chain) and request.token.last_at > self.service.now
        promised = may and alive and not seen.successor_used(request.token.text)
        answer = self._present(chain, request.token, key)
        assert answer.status == 200 or not promised, "an honest retry was refused"
        self._keep(chain, owner, answer)

    @rule(at=which, keys=st.tuples(st.booleans(), st.booleans()), late=st.sampled_from([0, 0, 5]))
    def race(self, at: int, keys: tuple[bool, bool], late: int) -> None:
        """Two tabs present the same token, each with a request of its own."""
        self._note("race")
        chain, owner = self._at(at)
        token = owner.credential
        first = self._present(chain, token, self._key() if keys[0] else None)
        self.service.now += late
        second = self._present(chain, token, self._key() if keys[1] else None)
        if first.status == second.status == 200:
            assert first["refresh_token"] == second["refresh_token"]
        elif (
            first.body.get("sid")
            and first.log["outcome"] == "rotated"
            and self.policy.leeway_seconds
        ):
            # only a deadline in between excuses it
            assert self._dead(chain) or self.service.now >= token.last_at, second
        self._keep(chain, owner, first)

    @rule(at=which, back=st.sampled_from([1, 2, 2, 3]))
    def tab_wakes_up(self, at: int, back: int) -> None:
        """With the token it fell asleep with, whatever happened since."""
        self._note("tab_wakes_up")
        chain, owner = self._at(at)
        token = chain.tokens[max(0, len(chain.tokens) - 1 - back)]
        self._keep(chain, owner, self._present(chain, token, None))

    # --- the thief ---

    @rule(at=which, back=age)
    def steal(self, at: int, back: int) -> None:
        """Copies any token there ever was, the newest one more often."""
        self._note("steal")
        chain, victim = self._at(at)
        victim.loot.append(chain.tokens[-1 - back % len(chain.tokens)])

    @rule(at=which, with_key=st.booleans())
    @precondition(lambda self: any(victim.loot for victim in self.actors))
    def thief_refreshes(self, at: int, with_key: bool) -> None:
        """With the right client_id, and no key or a wrong one."""
        self._note("thief_refreshes")
        chain, victim = self._those(lambda actors: actors.loot, at)
        answer = self._present(chain, victim.loot[-1], THIEFS_KEY if with_key else None)
        if answer.status == 200:
            victim.loot.append(self._token(chain, answer["refresh_token"]))

    @rule(at=which)
    @precondition(lambda self: any(victim.loot for victim in self.actors))
    def show_down(self, at: int) -> None:
        """The owner refreshes. After the leeway nothing the thief has works, and trying ends it."""
        self._note("show_down")
        chain, victim = self._those(lambda actors: actors.loot, at)
        before = victim.credential
        answer = self._present(chain, before, None)
        self._keep(chain, victim, answer)
        self.service.now += LEEWAY + 1
        loot = [token for token in victim.loot if token != victim.credential]
        for token in loot:
            assert self._present(chain, token, None).status == 400, "the thief is still in"
        if any(self.service.now < token.last_at for token in loot):
            assert self._dead(chain), "thief and owner have both acted and the session lives"
            assert self._present(chain, victim.credential, None).status == 400
        victim.loot = victim.loot[-1:]

    # --- an API that tells, and one that asks ---

    @rule(at=which)
    def use(self, at: int) -> None:
        self._note("use")
        chain, _ = self._at(at)
        expected = chain.used(self.policy, self.valid_after, self.service.now)
        body, bearer = {"sids": [chain.sid]}, self.service.operator()
        answer = self.service.call("POST", "/sessions/touch", body=body, bearer=bearer)
        (found,) = answer["sessions"]
        self.played.answers[found["outcome"]] += 1
        assert found["outcome"] == expected, f"{found}, not {expected}"
        if expected != "ended":
            seen = self.witnesses[self.chains.index(chain)]
            seen.saw_use(found["idle_deadline_at"], self.service.now)

    @rule(at=which, back=age, access=st.booleans())
    def introspect(self, at: int, back: int, access: bool) -> None:
        self._note("introspect")
        chain, owner = self._at(at)
        token = chain.tokens[-1 - back % len(chain.tokens)]
        now = self.service.now
        text = owner.access_token if access else token.text
        answer = self.service.call("POST", "/oauth/introspect", form={"token": text}, auth=BACKEND)
        assert answer.status == 200
        replayed = token == chain.parent and now <= chain.leeway_until
        usable = now < token.last_at and (token == chain.current or replayed)
        if self._dead(chain):
            assert answer.body == {"active": False}
        elif not access:
            assert answer["active"] == usable
