"""The operator's HTTP API: /applications, for an application with the scopes of an operator.

What is allowed, and what becomes of it, is in `registration` and `live_sessions`; here are only
requests and answers. Whoever may write applications may give them any right, and so has them all.
"""

from collections.abc import Mapping
from typing import Any

from ratchet import live_sessions, registration
from ratchet.applications import Applications
from ratchet.errors import InsufficientScope, InvalidRequest
from ratchet.events import Bus
from ratchet.registration import Change, Mode
from ratchet.request import Parameters
from ratchet.response import Response
from ratchet.sessions import Caller
from ratchet.store import SessionStore

READ = "applications:read"
WRITE = "applications:write"
PAGE = 100
PAGES = 8
"""Megabytes of sessions that one request looks at: some seconds."""


def list_applications(
    caller: Caller, query: Parameters, *, applications: Applications, now: int
) -> Response:
    """`{"applications": […]}`, up to 100 in no order, and `next` if there are more."""
    _needs(caller, READ)
    cursor = query.only("cursor").text("cursor")
    if cursor is not None and len(cursor) > 64:
        raise InvalidRequest("cursor must be the value of next.")
    written, after = applications.all_written(limit=PAGE, after=cursor)
    body: dict[str, Any] = {"applications": [registration.view(one, now) for one in written]}
    if after is not None:
        body["next"] = after
    return Response(body=body, log=_log(caller))


def create(
    caller: Caller,
    query: Parameters,
    description: Mapping[str, Any],
    *,
    applications: Applications,
    now: int,
) -> Response:
    """201 with the application and, if it is confidential, its `client_secret`, this once."""
    _needs(caller, WRITE)
    dry_run = _flag(query.only("dry_run"), "dry_run")
    change = registration.create(description, applications=applications, now=now, dry_run=dry_run)
    body = _changed(change, now, dry_run=dry_run)
    return Response(status=200 if dry_run else 201, body=body, log=_log(caller, change))


def show(client_id: str, caller: Caller, *, applications: Applications, now: int) -> Response:
    """One application. Raises ApplicationNotFound."""
    _needs(caller, READ)
    written = registration.show(client_id, applications=applications)
    return Response(body=registration.view(written, now), log=_log(caller))


def update(
    client_id: str,
    caller: Caller,
    query: Parameters,
    patch: Mapping[str, Any],
    *,
    applications: Applications,
    store: SessionStore,
    bus: Bus,
    now: int,
) -> Response:
    """A JSON merge patch. `sessions` has what a dry run foresees, or what mode `now` has done.

    Either looks at some of the sessions; with `next` in it, the same request with that `cursor`
    looks at the next ones. In mode `now` it goes on with the application as it is by then, and
    writes nothing: the first request has.
    """
    _needs(caller, WRITE)
    query.only("mode", "version", "dry_run", "cursor")
    dry_run, mode, cursor = _flag(query, "dry_run"), _mode(query), _cursor(query)
    version = _version(query)
    if cursor is not None and not dry_run:
        if mode is not Mode.NOW:
            raise InvalidRequest("cursor is for dry_run=true and mode=now.")
        patch, version = {}, None
    change = registration.update(
        client_id,
        patch,
        mode=mode,
        version=version,
        applications=applications,
        now=now,
        dry_run=dry_run,
    )
    body = _changed(change, now, dry_run=dry_run)
    if dry_run and change.before is not None:
        body["sessions"] = live_sessions.preview(
            {client_id: (change.before, change.after)},
            at_once=mode is Mode.NOW,
            store=store,
            now=now,
            after=cursor,
            pages=PAGES,
        ).to_dict()
    elif mode is Mode.NOW:
        body["sessions"] = live_sessions.apply_now(
            change.after, store=store, bus=bus, now=now, after=cursor, pages=PAGES
        ).to_dict()
    return Response(body=body, log=_log(caller, change))


def delete(client_id: str, caller: Caller, *, applications: Applications) -> Response:
    """204. Raises Conflict unless the application is disabled."""
    _needs(caller, WRITE)
    registration.delete(client_id, applications=applications)
    return Response(status=204, log={**_log(caller), "application": client_id})


def rotate_secret(
    client_id: str, caller: Caller, parameters: Parameters, *, applications: Applications, now: int
) -> Response:
    """201 with a new `client_secret`; the former one is good for `keep_former_seconds` more."""
    _needs(caller, WRITE)
    parameters.only("keep_former_seconds")
    keep = parameters.values.get("keep_former_seconds", registration.KEEP_FORMER_SECRET_SECONDS)
    if type(keep) is not int:
        raise InvalidRequest("keep_former_seconds must be a whole number.")
    change = registration.rotate_secret(
        client_id, keep_former_seconds=keep, applications=applications, now=now
    )
    body = _changed(change, now, dry_run=False)
    return Response(status=201, body=body, log=_log(caller, change))


def drop_former_secret(
    client_id: str, caller: Caller, *, applications: Applications, now: int
) -> Response:
    """The application, with its newest secret only."""
    _needs(caller, WRITE)
    change = registration.drop_former_secret(client_id, applications=applications, now=now)
    return Response(body=_changed(change, now, dry_run=False), log=_log(caller, change))


def _changed(change: Change, now: int, *, dry_run: bool) -> dict[str, Any]:
    body = registration.view(change.written, now)
    if dry_run:
        return {**body, "dry_run": True}
    return body | ({"client_secret": change.client_secret} if change.client_secret else {})


def _needs(caller: Caller, scope: str) -> None:
    """An application's own token: no signed-in subject is an operator."""
    if caller.sub is not None or scope not in caller.scopes:
        raise InsufficientScope(scope, client_id=caller.client_id, sub=caller.sub)


def _flag(query: Parameters, name: str) -> bool:
    text = query.text(name)
    if text not in (None, "true", "false"):
        raise InvalidRequest(f"{name} must be true or false.")
    return text == "true"


def _mode(query: Parameters) -> Mode:
    try:
        return Mode(query.text("mode") or Mode.NEXT_REFRESH)
    except ValueError:
        raise InvalidRequest(f"mode must be one of {', '.join(Mode)}.") from None


def _version(query: Parameters) -> int | None:
    text = query.text("version")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise InvalidRequest("version must be a whole number.")
    return int(text)


def _cursor(query: Parameters) -> str | None:
    cursor = query.text("cursor")
    if cursor is not None and len(cursor) != 22:
        raise InvalidRequest("cursor must be the value of next.")
    return cursor


def _log(caller: Caller, change: Change | None = None) -> Mapping[str, Any]:
    log: dict[str, Any] = {"client_id": caller.client_id}
    if change is not None:
        log |= {"application": change.after.client_id, "version": change.after.version}
    return log
