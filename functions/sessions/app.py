"""/sessions: a subject's own, or any for an application; API use; and the pages that show them."""

from ratchet import account, endpoint, sessions, wiring
from ratchet.parts import Parts
from ratchet.protected_resource import authorize
from ratchet.request import Request
from ratchet.response import Response
from ratchet.touch import touch_sessions


def list_sessions(request: Request, parts: Parts, now: int) -> Response:
    query, caller = request.query_parameters(), authorize(request, parts, now)
    sub, cursor = query.text("sub"), query.text("cursor")
    return sessions.list_sessions(
        caller, sub=sub, cursor=cursor, applications=parts.applications, store=parts.store, now=now
    )


def show(request: Request, parts: Parts, now: int) -> Response:
    query, caller = request.query_parameters(), authorize(request, parts, now)
    return sessions.show(
        request.path_parameters["sid"],
        caller,
        timeline=query.text("timeline"),
        applications=parts.applications,
        store=parts.store,
        session_log=parts.session_log,
        now=now,
    )


def end_one(request: Request, parts: Parts, now: int) -> Response:
    return sessions.end_one(
        request.path_parameters["sid"],
        authorize(request, parts, now),
        applications=parts.applications,
        store=parts.store,
        bus=parts.bus,
        now=now,
    )


def end_all(request: Request, parts: Parts, now: int) -> Response:
    sub = request.query_parameters().text("sub")
    return sessions.end_all(
        authorize(request, parts, now),
        sub=sub,
        sender=request.sender,
        request_id=request.request_id,
        applications=parts.applications,
        store=parts.store,
        bus=parts.bus,
        now=now,
    )


def touch(request: Request, parts: Parts, now: int) -> Response:
    caller, body = authorize(request, parts, now), request.json()
    return touch_sessions(caller, body, applications=parts.applications, store=parts.store, now=now)


def page(request: Request, parts: Parts, now: int) -> Response:
    name, client_id = request.path_parameters["page"], request.query_parameters().text("client_id")
    return account.page(name, client_id, applications=parts.applications, now=now)


def file(request: Request, _parts: Parts, _now: int) -> Response:
    return account.file(request.path_parameters["version"], request.path_parameters["file"])


handler = endpoint.handler(
    "sessions",
    {
        "GET /sessions": list_sessions,
        "DELETE /sessions": end_all,
        "GET /sessions/{sid}": show,
        "DELETE /sessions/{sid}": end_one,
        "POST /sessions/touch": touch,
        "GET /account/{page}": page,
        "GET /account/{version}/{file}": file,
    },
    wiring.parts,
    elsewhere=["POST /sessions"],
    nonces=True,
    pages=True,
)
