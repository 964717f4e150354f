"""Why a request is refused, and the answer that says so (RFC 6750 section 3, RFC 9449 section 7.1).

Descriptions are fixed public texts; `detail` is for the API's own log and never quotes a token.
"""

from collections.abc import Mapping, Sequence

DPOP_ALGORITHMS = ("ES256", "EdDSA", "PS256", "RS256")
RETRY_AFTER_SECONDS = 2


class Refusal(Exception):
    """status, headers and body are a whole HTTP answer. Header names are in lower case."""

    status = 401
    error = ""
    description = ""
    scheme = "Bearer"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.description)
        self.detail = detail

    @property
    def parameters(self) -> Mapping[str, str]:
        """Of the challenge."""
        named = {"error": self.error, "error_description": self.description}
        return named if self.error else {}

    @property
    def headers(self) -> Mapping[str, str]:
        parameters = dict(self.parameters)
        if self.scheme == "DPoP":
            parameters["algs"] = " ".join(DPOP_ALGORITHMS)
        listed = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
        return {
            "content-type": "application/json",
            "cache-control": "no-store",
            "www-authenticate": f"{self.scheme} {listed}".strip(),
        }

    @property
    def body(self) -> Mapping[str, str]:
        described = {"error_description": self.description}
        return {"error": self.error, **described} if self.error else described


class MissingToken(Refusal):
    """RFC 6750 section 3.1: a request without credentials gets a challenge without an error."""

    description = "Send an access token in the Authorization header."


class InvalidRequest(Refusal):
    """RFC 6750 section 3.1: more than one Authorization, or one that is no token at all."""

    status = 400
    error = "invalid_request"
    description = "The Authorization header must be a scheme and one access token."


class InvalidToken(Refusal):
    """RFC 6750 section 3.1: not issued for this API by its issuer, or not intact."""

    error = "invalid_token"
    description = "The access token is not valid"


class ExpiredToken(InvalidToken):
    """The one case that a client mends by refreshing."""

    description = "The access token expired"


class EndedSession(InvalidToken):
    """The token would still be good, but its session is over: refreshing will not help."""

    description = "The session of the access token has ended"


class InvalidProof(Refusal):
    """RFC 9449 section 7.1: the DPoP proof is missing, wrong, or was used before."""

    error = "invalid_dpop_proof"
    description = "The DPoP proof is missing or not valid"
    scheme = "DPoP"


class InsufficientScope(Refusal):
    """RFC 6750 section 3.1: the token is good, and not for this."""

    status = 403
    error = "insufficient_scope"
    description = "The access token lacks a scope that this needs"

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(f"needs {' '.join(scopes)}")
        self.scopes = tuple(scopes)

    @property
    def parameters(self) -> Mapping[str, str]:
        return {**super().parameters, "scope": " ".join(self.scopes)}


class Unavailable(Refusal):
    """The keys or the session cannot be looked up right now. Says nothing about the token."""

    status = 503
    error = "temporarily_unavailable"
    description = "The access token cannot be checked right now; try again"

    @property
    def headers(self) -> Mapping[str, str]:
        return {
            "content-type": "application/json",
            "cache-control": "no-store",
            "retry-after": str(RETRY_AFTER_SECONDS),
        }
