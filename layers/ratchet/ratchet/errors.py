"""OAuth's errors: one class per code, a public text, and a private detail for the log.

Nothing here knows HTTP events; `endpoint` is the one place that turns an error into a response.
Texts stay within RFC 6749 section 5.2's characters (%x20-21 / %x23-5B / %x5D-7E).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.reasons import Reason

RETRY_AFTER_SECONDS = 2

DPOP_ALGORITHMS = ("ES256", "EdDSA", "PS256", "RS256")
"""Of DPoP proofs; here because challenges name them (RFC 9449 section 7.1)."""
DPOP_NONCE = "DPoP-Nonce"
"""The header with the next nonce (RFC 9449 section 8). CORS has to expose it."""


class Fault(Exception):
    """Something we depend on failed; whatever the caller wanted may be tried again unchanged.

    Raised by adapters (store, keys), which know no OAuth; answered as `TemporarilyUnavailable`.
    The message is for the log: the service and its error code, never a value. log: more fields of
    the log line, for flows that know whose request it was.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.log: dict[str, Any] = {}


class OAuthError(Exception):
    """A refusal.

    detail: private, for the log line. log: fields of the log line (`events.FIELDS`).
    cookies: the text of each Set-Cookie that the answer has.
    """

    status = 400
    code = "invalid_request"
    description = "The request is invalid."
    reason: Reason | None = None

    def __init__(self, detail: str = "", **log: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.log = log
        self.cookies: Sequence[str] = ()

    @property
    def headers(self) -> Mapping[str, str]:
        return {}

    @property
    def members(self) -> Mapping[str, Any]:
        """What the body has besides OAuth's own fields."""
        return {}


class InvalidRequest(OAuthError):
    """RFC 6749 section 5.2. The description is public and says what to change."""

    def __init__(self, description: str, *, status: int = 400, **log: Any) -> None:
        super().__init__(description, **log)
        self.description = description
        self.status = status


class InvalidSubjectToken(OAuthError):
    """RFC 8693 section 2.2.2: "the value of the error parameter MUST be the invalid_request"."""

    def __init__(self, reason: Reason, detail: str = "", **log: Any) -> None:
        super().__init__(detail, **log)
        self.reason: Reason = reason
        self.description = reason.description


class InvalidDescription(InvalidRequest):
    """What was written of an application breaks rules; `problems` has a text for each of them."""

    def __init__(self, problems: Sequence[str], **log: Any) -> None:
        super().__init__("The application is not valid; problems has every reason.", **log)
        self.problems = list(problems)

    @property
    def members(self) -> Mapping[str, Any]:
        return {"problems": self.problems}


class OriginNotAllowed(OAuthError):
    """A page asks for what only pages of the application's `allowed_origins` may have."""

    status = 403
    description = "The Origin of this request is not one of the application's allowed_origins."

    def __init__(self, origin: str | None, **log: Any) -> None:
        # The log shows only what is an origin, not whatever stands in the header.
        is_one = origin is not None and re.fullmatch(r"[a-z+.-]{1,20}://[a-z0-9.:-]{1,100}", origin)
        super().__init__("no Origin" if origin is None else origin if is_one else "odd", **log)


class MethodNotAllowed(InvalidRequest):
    """RFC 9110 section 15.5.6: the answer MUST name the methods that are allowed."""

    def __init__(self, allowed: str) -> None:
        super().__init__(f"This address takes {allowed} only.", status=405)
        self.allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Allow": self.allowed}


class InvalidClient(OAuthError):
    """RFC 6749 section 5.2. One text for every cause, so that client ids cannot be probed."""

    status = 401
    code = "invalid_client"
    description = "Client authentication failed."

    def __init__(self, detail: str, *, basic: bool = False, **log: Any) -> None:
        super().__init__(detail, **log)
        self.basic = basic

    @property
    def headers(self) -> Mapping[str, str]:
        # "If the client attempted to authenticate via the Authorization request header field, the
        # authorization server MUST ... include the WWW-Authenticate response header field"
        return {"WWW-Authenticate": 'Basic realm="ratchet", charset="UTF-8"'} if self.basic else {}


class ApplicationDisabled(InvalidClient):
    """The application is known and authenticated, but switched off."""

    description = Reason.APPLICATION_DISABLED.description
    reason = Reason.APPLICATION_DISABLED


class InvalidGrant(OAuthError):
    """RFC 6749 section 5.2: every refusal of a refresh token or an assertion, with its reason.

    final: it will be refused for ever. The end of the session is stored, so no other instance and
    no clock can see it alive.
    """

    code = "invalid_grant"

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        final: bool = False,
        retry_after_seconds: int | None = None,
        **log: Any,
    ) -> None:
        super().__init__(detail, **log)
        self.final = final
        self.reason: Reason = reason
        self.description = reason.description
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> Mapping[str, str]:
        if self.retry_after_seconds is None:
            return {}
        return {"Retry-After": str(self.retry_after_seconds)}


class Throttled(OAuthError):
    """Too many attempts. `slow_down` is RFC 8628 section 3.5's, 429 is RFC 6585's."""

    status = 429
    code = "slow_down"
    description = Reason.THROTTLED.description
    reason = Reason.THROTTLED

    def __init__(self, detail: str = "", *, retry_after_seconds: int, **log: Any) -> None:
        super().__init__(detail, **log)
        self.retry_after_seconds = retry_after_seconds

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after_seconds)}


class UnauthorizedClient(OAuthError):
    """RFC 6749 section 5.2."""

    code = "unauthorized_client"
    description = "The application may not do this."

    def __init__(self, detail: str, *, reason: Reason | None = None, **log: Any) -> None:
        super().__init__(detail, **log)
        self.reason = reason


class UnsupportedGrantType(OAuthError):
    """RFC 6749 section 5.2."""

    code = "unsupported_grant_type"

    def __init__(self, supported: str) -> None:
        super().__init__(f"supported: {supported}")
        self.description = f"Supported grant types: {supported}."


class InvalidScope(OAuthError):
    """RFC 6749 section 5.2."""

    code = "invalid_scope"
    description = "A requested scope is unknown or exceeds what was granted."


class InvalidTarget(OAuthError):
    """RFC 8707 section 2."""

    code = "invalid_target"
    description = "A requested resource is no absolute URI, unknown, or exceeds what was granted."


class InvalidDPoPProof(OAuthError):
    """RFC 9449 section 5, and section 7.1 at a resource. The log's detail says what is wrong."""

    code = "invalid_dpop_proof"
    description = "The DPoP proof is missing or not valid."


class UseDPoPNonce(OAuthError):
    """RFC 9449 sections 8 and 9: the same request again, with a new proof that has this nonce."""

    code = "use_dpop_nonce"
    description = "Repeat the request with the nonce of this answer in the DPoP proof."

    def __init__(self, nonce: str, detail: str, **log: Any) -> None:
        super().__init__(detail, **log)
        self.nonce = nonce

    @property
    def headers(self) -> Mapping[str, str]:
        return {DPOP_NONCE: self.nonce}


class ResourceError(OAuthError):
    """A refusal at a protected resource, with its challenge (RFC 6750 section 3).

    scheme: the one that the access token came with, Bearer when there was none.
    """

    status = 401
    scheme = "Bearer"

    @property
    def parameters(self) -> Mapping[str, str]:
        """Of the challenge, besides realm."""
        return {"error": self.code}

    @property
    def headers(self) -> Mapping[str, str]:
        parameters = {"realm": "ratchet", **self.parameters}
        if self.scheme == "DPoP":
            parameters["algs"] = " ".join(DPOP_ALGORITHMS)
        listed = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
        return {"WWW-Authenticate": f"{self.scheme} {listed}"}


class InvalidToken(ResourceError):
    """RFC 6750 section 3.1: an access token that is expired, ended or not ours."""

    code = "invalid_token"
    description = "The access token is not valid."

    def __init__(self, detail: str, *, reason: Reason | None = None, **log: Any) -> None:
        super().__init__(detail, **log)
        if reason is not None:
            self.reason = reason
            self.description = reason.description

    @property
    def parameters(self) -> Mapping[str, str]:
        return {"error": self.code, "error_description": self.description}


class ExpiredToken(InvalidToken):
    """RFC 6750 section 3.1: the one case a client mends by refreshing."""

    description = "The access token expired"


class RefusedProof(ResourceError):
    """RFC 9449 section 7.1: a proof of `invalid_dpop_proof` or `use_dpop_nonce` at a resource."""

    def __init__(self, refusal: OAuthError) -> None:
        super().__init__(refusal.detail, **refusal.log)
        self.code = refusal.code
        self.description = refusal.description
        self.more = refusal.headers

    @property
    def headers(self) -> Mapping[str, str]:
        return {**super().headers, **self.more}


class MissingToken(ResourceError):
    """RFC 6750 section 3.1: without credentials the challenge carries no error code."""

    code = ""
    description = "Send an access token in the Authorization header (Bearer)."

    @property
    def parameters(self) -> Mapping[str, str]:
        return {}


class InsufficientScope(ResourceError):
    """RFC 6750 section 3.1."""

    status = 403
    code = "insufficient_scope"

    def __init__(self, scope: str, **log: Any) -> None:
        super().__init__(f"needs {scope}", **log)
        self.scope = scope
        self.description = f"This needs the scope {scope}."

    @property
    def parameters(self) -> Mapping[str, str]:
        return {"error": self.code, "scope": self.scope}


class SessionNotFound(OAuthError):
    """No such session, or not one that the caller may see: the same answer for both."""

    status = 404
    code = "not_found"
    description = Reason.SESSION_UNKNOWN.description
    reason = Reason.SESSION_UNKNOWN


class ApplicationNotFound(OAuthError):
    """RFC 9110 section 15.5.5, for an operator who names an application that is not there."""

    status = 404
    code = "not_found"
    description = "There is no such application."


class PageNotFound(OAuthError):
    """RFC 9110 section 15.5.5, for a file that the session page does not have."""

    status = 404
    code = "not_found"
    description = "There is no such page."


class Conflict(OAuthError):
    """RFC 9110 section 15.5.10: not in the state that an application is in now."""

    status = 409
    code = "conflict"

    def __init__(self, description: str, **log: Any) -> None:
        super().__init__(description, **log)
        self.description = description


class TemporarilyUnavailable(OAuthError):
    """A fault of ours. Nothing is lost: the same request succeeds once the fault is over."""

    status = 503
    code = "temporarily_unavailable"
    description = Reason.UNAVAILABLE.description
    reason = Reason.UNAVAILABLE

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
