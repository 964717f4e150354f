"""For FastAPI and Starlette. Needs one of them.

app.add_exception_handler(Refusal, refused)

@app.get("/orders")
def orders(claims: Annotated[Claims, Depends(requires(verifier, "orders:read"))]) -> ...
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ratchet_verify.claims import Claims
from ratchet_verify.refusals import Refusal, Unavailable
from ratchet_verify.verifier import Verifier


def requires(
    verifier: Verifier, *scopes: str, session: bool = False
) -> Callable[[Request], Claims]:
    """A dependency that returns the claims of the request's token, or raises a Refusal.

    It may fetch keys, so it is no coroutine: FastAPI runs it in a thread. In Starlette, await
    `run_in_threadpool(requires(...), request)`. scopes, session: as in `Verifier.authenticate`.
    """

    def dependency(request: Request) -> Claims:
        return verifier.authenticate(
            request.headers.items(),
            method=request.method,
            url=str(request.url.replace(query="", fragment="")),
            scopes=scopes,
            session=session,
        )

    return dependency


def refused(_request: Request, refusal: Exception) -> Response:
    """The exception handler for `Refusal`."""
    if not isinstance(refusal, Refusal):
        refusal = Unavailable(type(refusal).__name__)
    return JSONResponse(
        dict(refusal.body), status_code=refusal.status, headers=dict(refusal.headers)
    )
