"""/applications: an operator registers applications and changes them."""

from ratchet import endpoint, registry, wiring
from ratchet.parts import Parts
from ratchet.protected_resource import authorize
from ratchet.request import Request
from ratchet.response import Response


def list_applications(request: Request, parts: Parts, now: int) -> Response:
    caller, query = authorize(request, parts, now), request.query_parameters()
    return registry.list_applications(caller, query, applications=parts.applications, now=now)


def create(request: Request, parts: Parts, now: int) -> Response:
    caller, query = authorize(request, parts, now), request.query_parameters()
    return registry.create(
        caller, query, request.json().values, applications=parts.applications, now=now
    )


def show(request: Request, parts: Parts, now: int) -> Response:
    caller, client_id = authorize(request, parts, now), request.path_parameters["client_id"]
    return registry.show(client_id, caller, applications=parts.applications, now=now)


def update(request: Request, parts: Parts, now: int) -> Response:
    caller, client_id = authorize(request, parts, now), request.path_parameters["client_id"]
    return registry.update(
        client_id,
        caller,
        request.query_parameters(),
        request.json().values,
        applications=parts.applications,
        store=parts.store,
        bus=parts.bus,
        now=now,
    )


def delete(request: Request, parts: Parts, now: int) -> Response:
    caller, client_id = authorize(request, parts, now), request.path_parameters["client_id"]
    return registry.delete(client_id, caller, applications=parts.applications)


def rotate_secret(request: Request, parts: Parts, now: int) -> Response:
    caller, client_id = authorize(request, parts, now), request.path_parameters["client_id"]
    return registry.rotate_secret(
        client_id, caller, request.json(), applications=parts.applications, now=now
    )


def drop_former_secret(request: Request, parts: Parts, now: int) -> Response:
    caller, client_id = authorize(request, parts, now), request.path_parameters["client_id"]
    return registry.drop_former_secret(client_id, caller, applications=parts.applications, now=now)


handler = endpoint.handler(
    "applications",
    {
        "GET /applications": list_applications,
        "POST /applications": create,
        "GET /applications/{client_id}": show,
        "PATCH /applications/{client_id}": update,
        "DELETE /applications/{client_id}": delete,
        "POST /applications/{client_id}/secrets": rotate_secret,
        "DELETE /applications/{client_id}/secrets": drop_former_secret,
    },
    wiring.parts,
    nonces=True,
)
