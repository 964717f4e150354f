"""Who says whether an e-mail address and a password belong together: our table, or a deployment's
own Lambda (template parameter VerifierFunction)."""

from dataclasses import dataclass, field
from typing import Protocol

from ratchet import events, password
from ratchet.errors import Fault, InvalidGrant, InvalidRequest
from ratchet.hook import Hook
from ratchet.issue import SignIn
from ratchet.reasons import Reason
from ratchet.request import Parameters
from ratchet.users import User, Users


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a person typed. email: normalised. password: as it was sent."""

    email: str
    password: str = field(repr=False)
    client_id: str
    source_ip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """sign_in: whose credentials they are, and how that was found out. user: as it was read, if it
    is one of ours."""

    sign_in: SignIn
    user: User | None = None


class Verifier(Protocol):
    """Checks credentials. Throttling, the session and its tokens are not its business."""

    def verify(self, login: Login) -> Verified:
        """Raises InvalidGrant (reason wrong_credentials: whatever is wrong with them), Fault."""

    def overtaken(self, _verified: Verified, /) -> Reason | None:
        """Why the sessions of this subject are being ended since `verify`, or None."""


class UsersVerifier:
    """Against the users table, with the same work for every outcome."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def verify(self, login: Login) -> Verified:
        user = self._users.get(login.email)
        # Without this an unknown address would be answered a hash earlier than a wrong password.
        known = user.password_hash if user else password.DUMMY_HASH
        right = password.matches(login.password, known)
        if user is None:
            raise InvalidGrant(Reason.WRONG_CREDENTIALS, "unknown user")
        if not right:
            raise InvalidGrant(Reason.WRONG_CREDENTIALS, "wrong password", sub=user.sub)
        # The same answer again: it would tell that the password is right, which may hold elsewhere
        # (OWASP Authentication Cheat Sheet, "Authentication Responses").
        if user.disabled_at is not None:
            raise InvalidGrant(Reason.WRONG_CREDENTIALS, "user disabled", sub=user.sub)
        if password.needs_rehash(user.password_hash):
            self._rehash(user, login.password)
        return Verified(sign_in=SignIn(sub=user.sub, amr=("pwd",)), user=user)

    def overtaken(self, verified: Verified) -> Reason | None:
        now = self._users.get(verified.user.email) if verified.user else None
        if now is None or now.disabled_at is not None:
            return Reason.USER_DISABLED
        changed = verified.user is None or now.revision != verified.user.revision
        return Reason.PASSWORD_CHANGED if changed else None

    def _rehash(self, user: User, plain: str) -> None:
        try:
            self._users.rehash(user, password.rehash(plain))
        except Fault as fault:
            # The old hash still does; the next sign-in comes here again.
            events.log("not rehashed", level="WARNING", sub=user.sub, fault=str(fault))


class HookVerifier:
    """Asks a Lambda; docs/login.md has its request and its response."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    def verify(self, login: Login) -> Verified:
        answer = self._hook.call(
            {
                "type": "verify_credentials",
                "email": login.email,
                "password": login.password,
                "client_id": login.client_id,
                "source_ip": login.source_ip,
            }
        )
        verified = answer.pop("verified", None)
        if verified is False:
            raise InvalidGrant(Reason.WRONG_CREDENTIALS, "refused by the verifier")
        if verified is not True or not answer.keys() <= {"sub", "amr", "acr", "claims"}:
            raise Fault("verifier: the answer is not one of a verifier")
        try:
            sign_in = SignIn.from_parameters(Parameters({"amr": ["pwd"], **answer}))
        except InvalidRequest as invalid:
            raise Fault(f"verifier: {invalid.description}") from None
        return Verified(sign_in=sign_in)

    def overtaken(self, _verified: Verified) -> Reason | None:
        return None
