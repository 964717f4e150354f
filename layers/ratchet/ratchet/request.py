"""One HTTP request as the flows see it, read from API Gateway's payload format 2.0."""

import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from ratchet.errors import InvalidRequest, InvalidTarget, MissingToken
from ratchet.sender import UNKNOWN, Sender

MAX_BODY_BYTES = 16 * 1024
MAX_PARAMETERS = 64
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
MAX_RESOURCES = 8
"""Each is a term of a refresh's condition, and takes its bytes in the session's item."""
# RFC 3986 section 4.3, as far as it goes without knowing the scheme: an absolute URI, no fragment.
ABSOLUTE_URI = re.compile("[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?@!$&'()*+,;=%\\[\\]-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Header names are lower case, and Cookie is not among them. cookies: each as name=value.

    issuer: the identifier that answers to this request carry.
    source_ip: of whoever opened the connection to API Gateway; no header has a say in it.
    sender: what may be logged and stored of it and of the program.
    """

    method: str
    resource: str
    headers: Mapping[str, str] = field(repr=False)
    path_parameters: Mapping[str, str]
    query: str = field(repr=False)
    body: bytes = field(repr=False)
    request_id: str
    issuer: str
    source_ip: str = ""
    sender: Sender = UNKNOWN
    cookies: Sequence[str] = field(default=(), repr=False)

    @classmethod
    def from_event(
        cls, event: Mapping[str, Any], issuer: str, sender: Sender = UNKNOWN
    ) -> "Request":
        """Raises InvalidRequest for a body that is too large. No issuer: the API's own address."""
        context = event["requestContext"]
        body = event.get("body") or ""
        if len(body) > 2 * MAX_BODY_BYTES:
            raise InvalidRequest(f"The body may have {MAX_BODY_BYTES} bytes.", status=413)
        try:
            raw = b64decode(body, validate=True) if event.get("isBase64Encoded") else body.encode()
        except ValueError:
            raise InvalidRequest("The body cannot be read.") from None
        if len(raw) > MAX_BODY_BYTES:
            raise InvalidRequest(f"The body may have {MAX_BODY_BYTES} bytes.", status=413)
        return cls(
            method=context["http"]["method"],
            resource=event["routeKey"].partition(" ")[2],
            headers=event.get("headers") or {},
            path_parameters=event.get("pathParameters") or {},
            query=event.get("rawQueryString") or "",
            body=raw,
            request_id=context.get("requestId", ""),
            # API Gateway only answers for domains that are mapped to this API, so this is not the
            # caller's to choose, unlike a Host header.
            issuer=issuer or f"https://{context['domainName']}",
            source_ip=context["http"].get("sourceIp", ""),
            sender=sender,
            cookies=event.get("cookies") or (),
        )

    def form(self) -> "Parameters":
        """The parameters of a form body (RFC 6749 appendix B)."""
        if self._content_type() != FORM:
            raise InvalidRequest(f"Send the parameters as {FORM}.")
        if self.body.startswith(b"{"):
            raise InvalidRequest(f"The body is JSON, but its content type is {FORM}.")
        try:
            return Parameters.from_encoded(self.body.decode())
        except UnicodeDecodeError:
            raise InvalidRequest("The body is not UTF-8.") from None

    def form_or_json(self) -> "Parameters":
        """The parameters of a form body or of a JSON object."""
        return self.json() if self._content_type() == JSON else self.form()

    def json(self) -> "Parameters":
        """The members of a JSON object."""
        if self._content_type() not in (JSON, MERGE_PATCH):
            raise InvalidRequest(f"Send a JSON object as {JSON}.")
        try:
            value = json.loads(self.body.decode(), object_pairs_hook=_members)
            # Half a surrogate pair, which "\\ud800" can spell, is no text (RFC 8259 section 8.2).
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InvalidRequest("The body is not a JSON object in UTF-8.")
        return Parameters(value)

    def query_parameters(self) -> "Parameters":
        return Parameters.from_encoded(self.query)

    @property
    def url(self) -> str:
        """The address that was asked for, without query: what a DPoP proof names as htu.

        The issuer is what clients know of this service; API Gateway's own path may have a stage or
        a mapping in it.
        """
        values = {name: quote(value, safe="") for name, value in self.path_parameters.items()}
        return self.issuer + self.resource.format_map(values)

    def access_token(self) -> tuple[str, str]:
        """Scheme, "Bearer" or "DPoP", and token of the Authorization header.

        Nowhere else is looked for one: "Clients MUST NOT" use the query (RFC 9700 section 4.3.2).
        Raises MissingToken.
        """
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        # RFC 9110 section 11.1: the scheme is case-insensitive.
        known = {"bearer": "Bearer", "dpop": "DPoP"}.get(scheme.lower())
        if known is None or not token.strip():
            raise MissingToken("no access token")
        return known, token.strip()

    def cookie(self, name: str) -> str | None:
        """The value of a cookie (RFC 6265 section 4.2), None for none or an empty one."""
        values = [
            value
            for known, _, value in (pair.partition("=") for pair in self.cookies)
            if known.strip() == name
        ]
        if len(values) > 1:
            raise InvalidRequest("The cookie is there more than once.")
        return values[0].strip() or None if values else None

    def idempotency_key(self) -> str | None:
        """The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header), or None."""
        key = self.headers.get("idempotency-key")
        if key is None:
            return None
        if not 16 <= len(key) <= 255:
            raise InvalidRequest("The Idempotency-Key needs 16 to 255 random characters.")
        return key

    def _content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Parameters:
    """Request parameters; empty ones count as omitted (RFC 6749 section 3.2)."""

    values: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_encoded(cls, text: str) -> "Parameters":
        """Of a form or a query. "parameters MUST NOT be included more than once" (section 3.2)."""
        try:
            pairs = parse_qsl(
                text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
            )
        except UnicodeDecodeError:
            raise InvalidRequest("A parameter is not UTF-8.") from None
        except ValueError:
            raise InvalidRequest(f"There may be {MAX_PARAMETERS} parameters.") from None
        # The one parameter that may be there more than once (RFC 8707 section 2).
        resources = [value for name, value in pairs if name == "resource"]
        members = _members([pair for pair in pairs if pair[0] != "resource"])
        return cls({**members, "resource": resources} if resources else members)

    def text(self, name: str) -> str | None:
        """A parameter that is a text, or None. Raises InvalidRequest when JSON says otherwise."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise InvalidRequest(f"The parameter {name} is not a text.")
        return value

    def only(self, *names: str) -> "Parameters":
        """For addresses of our own: a misspelt parameter must not count as an omitted one."""
        if self.values.keys() - set(names):
            raise InvalidRequest(f"This address takes only {', '.join(names)}.")
        return self

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise InvalidRequest(f"The parameter {name} is missing.")
        return value

    def scopes(self) -> frozenset[str]:
        """The set of `scope` (RFC 6749 section 3.3), empty when it was omitted."""
        return frozenset((self.text("scope") or "").split(" ")) - {""}

    def resources(self) -> frozenset[str]:
        """The set of `resource` (RFC 8707 section 2), empty when it was omitted.

        In JSON it is a text or a list of texts. Raises InvalidTarget.
        """
        value = self.values.get("resource")
        found = value if isinstance(value, list) else [] if value is None else [value]
        for resource in found:
            if not isinstance(resource, str) or (resource and not ABSOLUTE_URI.fullmatch(resource)):
                raise InvalidTarget("not an absolute URI without fragment")
        if len(set(found)) > MAX_RESOURCES:
            raise InvalidTarget("too many")
        return frozenset(found) - {""}


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in members if names.count(name) > 1)
        shown = repeated if repeated.isidentifier() and repeated.isascii() else "of this name"
        raise InvalidRequest(f"The parameter {shown[:64]} is there more than once.")
    return members
