"""The HTTP edge: an event becomes a request, an error a response, and one line is written."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ratchet import cors, dpop, events
from ratchet.errors import (
    DPOP_NONCE,
    Fault,
    MethodNotAllowed,
    OAuthError,
    ResourceError,
    TemporarilyUnavailable,
)
from ratchet.parts import Parts, Respond
from ratchet.request import Request
from ratchet.response import NO_STORE, Response
from ratchet.sender import Sender

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def clock() -> int:
    """Now in epoch seconds: read once a request, an argument everywhere else."""
    return int(time.time())


def handler(
    function: str,
    routes: Mapping[str, Respond],
    parts: Callable[[], Parts],
    *,
    elsewhere: Sequence[str] = (),
    nonces: bool = False,
    pages: bool = False,
) -> Handler:
    """A Lambda handler for payload format 2.0.

    routes: by method and path as template.yaml writes it, `"GET /sessions/{sid}"`.
    elsewhere: routes on the same paths that another function answers, for the header Allow.
    nonces: the answer to a request with a DPoP proof has the nonce for the next (RFC 9449 8.2).
    pages: pages of other origins may call it, those that an application allows (CORS).
    """
    if nonces:
        routes = {route: _renewing_nonce(respond) for route, respond in routes.items()}
    allowed: dict[str, list[str]] = {}
    for route in (*elsewhere, *routes):
        method, path = route.split(" ")
        allowed.setdefault(path, []).append(method)

    def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        http, path = event["requestContext"]["http"], event["routeKey"].split(" ")[-1]
        method, user_agent = http["method"], (event.get("headers") or {}).get("user-agent", "")
        sender = Sender.of(http.get("sourceIp", ""), user_agent)
        allow = ", ".join(allowed.get(path, ()))
        response, shared = _answer(event, sender, routes, allow, parts, pages=pages)
        events.request_finished(
            function,
            route=f"{method if method.isalpha() else '?'} {path}",
            request_id=event["requestContext"].get("requestId"),
            status=response.status,
            duration_ms=(time.perf_counter() - started) * 1000,
            network=sender.network or None,
            agent=sender.agent or None,
            **response.log,
        )
        return response.to_payload(shared)

    return handle


class Unauthorized(Exception):
    """What API Gateway answers with 401 when an authorizer raises it: it goes by the message."""


class NoAnswer(Exception):
    """What API Gateway answers with 500: that nobody knows is no refusal."""


def authorizer(respond: Callable[[dict[str, Any], int], Response]) -> Handler:
    """A handler for API Gateway's Lambda authorizers: payload format 2.0, simple responses.

    respond: gets the event and now; the body of its response is the context that the API is given.
    """

    def handle(event: dict[str, Any], _context: Any) -> dict[str, Any]:
        started = time.perf_counter()
        http = event["requestContext"]["http"]
        user_agent = (event.get("headers") or {}).get("user-agent", "")
        sender = Sender.of(http.get("sourceIp", ""), user_agent)
        response = _answered(lambda: respond(event, clock()))
        events.request_finished(
            "authorizer",
            # Its clients are those of other APIs, where expired tokens are all in a day's work.
            counted_together=response.status >= 500,
            route=event["routeKey"],
            request_id=event["requestContext"].get("requestId"),
            status=response.status,
            duration_ms=(time.perf_counter() - started) * 1000,
            network=sender.network or None,
            agent=sender.agent or None,
            **response.log,
        )
        if response.status >= 500:
            raise NoAnswer("Unavailable")
        if response.status >= 400:
            raise Unauthorized("Unauthorized")
        return {"isAuthorized": True, "context": dict(response.body or {})}

    return handle


def _renewing_nonce(respond: Respond) -> Respond:
    def renewed(request: Request, parts: Parts, now: int) -> Response:
        response = respond(request, parts, now)
        if "dpop" not in request.headers:
            return response
        headers = {**response.headers, DPOP_NONCE: dpop.nonce(parts.peppers, now)}
        return replace(response, headers=headers)

    return renewed


def _answer(
    event: Mapping[str, Any],
    sender: Sender,
    routes: Mapping[str, Respond],
    allowed: str,
    parts: Callable[[], Parts],
    *,
    pages: bool,
) -> tuple[Response, Mapping[str, str]]:
    """The response, and the headers that it has whatever it says."""
    shared: Mapping[str, str] = cors.VARY if pages else {}

    def answer() -> Response:
        nonlocal shared
        ready, now = parts(), clock()
        request = Request.from_event(event, ready.issuer, sender)
        if pages:
            client_id = cors.named_client_id(request)
            if client_id:
                # If the look-up fails, the page may still read that: a 503 takes nothing away.
                shared = cors.headers(request, ready.applications.remembered(client_id))
            application = ready.applications.get(client_id, now) if client_id else None
            shared = cors.headers(request, application)
        if pages and cors.is_preflight(request):
            return cors.preflight(request, application, allowed)
        if respond := routes.get(f"{request.method} {request.resource}"):
            return respond(request, ready, now)
        raise MethodNotAllowed(allowed)

    # RFC 9449 section 7.1: who came with DPoP is challenged with DPoP.
    bound = (event.get("headers") or {}).get("authorization", "").lower().startswith("dpop ")
    return _answered(answer, scheme="DPoP" if bound else "Bearer"), shared


def _answered(answer: Callable[[], Response], *, scheme: str = "Bearer") -> Response:
    """The answer, whatever happens. scheme: of the challenges."""
    try:
        return answer()
    except ResourceError as error:
        error.scheme = scheme
        return _refusal(error)
    except OAuthError as error:
        return _refusal(error)
    except Fault as fault:
        return _refusal(TemporarilyUnavailable(fault=str(fault), **fault.log))
    except Exception as error:  # noqa: BLE001 - the edge: a defect, too, must not sign anyone out
        # Its message could quote a token, so only its type and place are kept.
        return _refusal(TemporarilyUnavailable(fault=type(error).__name__, at=_place(error)))


def _refusal(error: OAuthError) -> Response:
    """The one translation from an error to what the client sees and what the log keeps."""
    body: dict[str, Any] = {"error": error.code, "error_description": error.description}
    if not error.code:
        del body["error"]
    log = {"error": error.code or None, "detail": error.detail or None, **error.log}
    if error.reason is not None:
        body |= {"error_reason": error.reason.value, "retry": error.reason.retry.value}
        log["error_reason"] = error.reason.value
    body |= error.members
    headers = {**NO_STORE, **error.headers}
    return Response(status=error.status, body=body, headers=headers, cookies=error.cookies, log=log)


def _place(error: Exception) -> str:
    """file:line of the frames that led to the error, innermost last."""
    frames, frame = [], error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename.rpartition("/")[2]
        frames.append(f"{name}:{frame.tb_lineno}")
        frame = frame.tb_next
    return " ".join(frames[-8:])
