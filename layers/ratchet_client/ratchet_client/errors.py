"""What can go wrong, and what to do about it. No message has a token, a secret or a key in it."""


class RatchetClientError(Exception):
    """The base of all of them."""


class NotSignedIn(RatchetClientError):
    """The store is empty: sign in and call `Session.start`."""


class SessionEnded(RatchetClientError):
    """The session is over: sign in again. The store remembers it, so nothing more is sent.

    reason: the server's `error_reason` (docs/reasons.md), else its `error`: `invalid_grant`.
    sid: the id of the session, to ask an operator about; "" if the server has told none.
    """

    def __init__(self, reason: str, description: str = "", *, sid: str = "") -> None:
        super().__init__(f"{reason}: {description}" if description else reason)
        self.reason = reason
        self.description = description
        self.sid = sid


class RefreshUnavailable(RatchetClientError):
    """No answer, 503 or 429 until the time limit. Nothing is lost: call again later.

    retry_after_seconds: how long the next attempt will wait from now on, at least.
    """

    def __init__(self, detail: str, *, retry_after_seconds: float = 0) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class RefreshRefused(RatchetClientError):
    """The server refuses the request and not the session: correct the configuration.

    error, reason, description: as the server said them, "" where it did not.
    """

    def __init__(self, status: int, error: str, reason: str = "", description: str = "") -> None:
        said = ": ".join(filter(None, [error, reason, description]))
        super().__init__(f"the server answered {status} {said}".rstrip())
        self.status = status
        self.error = error
        self.reason = reason
        self.description = description


class StoreFailed(RatchetClientError):
    """The store could not be read, written or trusted; the message says why."""


class LockLost(StoreFailed):
    """The lock ran out before the write, which therefore did not take place."""


class ConnectionFailed(RatchetClientError):
    """What a `send` raises if there is no answer, or only a part of one."""


class BodyNotReplayable(RatchetClientError):
    """An API refused the access token, and the body of the request was a stream that is used up.

    There is a new access token now: send the request again, with a new stream.
    """

    def __init__(self) -> None:
        super().__init__(
            "the API refused the access token, and the body is a stream that cannot be sent again;"
            " there is a new token now: repeat the request with a new stream"
        )
