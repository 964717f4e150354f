"""The stable codes that say why a request was refused or a session ended (docs/reasons.md)."""

from enum import StrEnum


class Retry(StrEnum):
    """What a client should do next; on the wire as `retry`."""

    NEVER = "never"
    NOW = "now"
    AFTER = "after"


class Reason(StrEnum):
    """On the wire as `error_reason`, in the log, in events and in the session's item."""

    MALFORMED = "malformed"
    UNKNOWN_PEPPER = "unknown_pepper"
    IDLE_EXPIRED = "idle_expired"
    ABSOLUTE_EXPIRED = "absolute_expired"
    REUSED = "reused"
    REVOKED_BY_USER = "revoked_by_user"
    REVOKED_BY_OPERATOR = "revoked_by_operator"
    REVOKED_EVERYWHERE = "revoked_everywhere"
    APPLICATION_DISABLED = "application_disabled"
    POLICY_CUTOFF = "policy_cutoff"
    SESSION_UNKNOWN = "session_unknown"
    NO_COOKIE = "no_cookie"
    WRONG_CLIENT = "wrong_client"
    ASSERTION_INVALID = "assertion_invalid"
    ASSERTION_EXPIRED = "assertion_expired"
    ASSERTION_USED = "assertion_used"
    WRONG_CREDENTIALS = "wrong_credentials"
    USER_DISABLED = "user_disabled"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - it is a reason
    WRONG_KEY = "wrong_key"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"

    @property
    def retry(self) -> Retry:
        return Retry.AFTER if self in (Reason.THROTTLED, Reason.UNAVAILABLE) else Retry.NEVER

    @property
    def description(self) -> str:
        """Public text, fixed (RFC 6749 section 5.2: %x20-21 / %x23-5B / %x5D-7E only)."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    Reason.MALFORMED: "The refresh token is not one that this service has issued.",
    Reason.UNKNOWN_PEPPER: "The refresh token was made with a key this service no longer has.",
    Reason.IDLE_EXPIRED: "The session ended because it was not refreshed in time.",
    Reason.ABSOLUTE_EXPIRED: "The session reached its maximum lifetime.",
    Reason.REUSED: "A refresh token was used again after it had been replaced; the session ended.",
    Reason.REVOKED_BY_USER: "The user signed out.",
    Reason.REVOKED_BY_OPERATOR: "An operator ended the session.",
    Reason.REVOKED_EVERYWHERE: "All sessions of the user were ended.",
    Reason.APPLICATION_DISABLED: "The application is disabled.",
    Reason.POLICY_CUTOFF: "The application ended all sessions that started earlier.",
    Reason.SESSION_UNKNOWN: "There is no such session.",
    Reason.NO_COOKIE: "The browser sent no cookie with a refresh token for this application.",
    Reason.WRONG_CLIENT: "The refresh token belongs to another application.",
    Reason.ASSERTION_INVALID: "The assertion is not one that this application takes.",
    Reason.ASSERTION_EXPIRED: "The assertion has expired or is too old.",
    Reason.ASSERTION_USED: "The assertion has been used before.",
    Reason.WRONG_CREDENTIALS: "The e-mail address or the password is wrong.",
    Reason.USER_DISABLED: "The user was disabled.",
    Reason.PASSWORD_CHANGED: "The password of the user was changed.",
    Reason.WRONG_KEY: "The token is bound to a key that the request does not prove to have.",
    Reason.THROTTLED: "Too many requests; try again later.",
    Reason.UNAVAILABLE: "The service cannot answer right now; nothing is lost, try again.",
}
