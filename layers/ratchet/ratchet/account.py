"""The pages under /account: a person's sessions, an operator's look at one (docs/sessions-page.md).

Files, the same for everybody: what a page shows of anybody it asks the API for, with a token.
"""

from functools import cache
from hashlib import sha256
from pathlib import Path
from string import Template

from ratchet.applications import Applications
from ratchet.errors import PageNotFound
from ratchet.response import NO_STORE, Response

# Only what is named here is served, whatever an address says.
PAGES = {"sessions": "sessions.html", "operator": "operator.html"}
FILES = {
    "account.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "operator.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "sessions.js": "text/javascript; charset=utf-8",
}
# No script but ours, no text that becomes markup, no other site around it or opened by it.
GUARDED = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
# Its address has the version, so what is at it never changes.
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}


def page(name: str, client_id: str | None, *, applications: Applications, now: int) -> Response:
    """The HTML of a page. Raises PageNotFound, Fault.

    client_id: the application the page is for. All that the HTML tells of it is whether the page
    may ask for a password.
    """
    if name not in PAGES:
        raise PageNotFound("no such page")
    application = applications.get(client_id, now) if client_id else None
    password = application is not None and application.password_login
    text = Template(_text(PAGES[name])).substitute(
        version=version(), sign_in="password" if password else "elsewhere"
    )
    # Not stored: with somebody's sessions in it the page must not come back by the Back button.
    headers = {**NO_STORE, **GUARDED, "Content-Type": "text/html; charset=utf-8"}
    return Response(text=text, headers=headers)


def file(of_version: str, name: str) -> Response:
    """What a page consists of besides its HTML.

    Raises PageNotFound, also for another version: while a deployment replaces one instance after
    the other, a file must not be remembered under the address of its successor.
    """
    if of_version != version() or name not in FILES:
        raise PageNotFound("no such file")
    return Response(text=_text(name), headers={**FOREVER, **GUARDED, "Content-Type": FILES[name]})


@cache
def version() -> str:
    """Of all files together: 16 hex digits."""
    return sha256("\0".join(map(_text, sorted(FILES))).encode()).hexdigest()[:16]


@cache
def _text(name: str) -> str:
    return Path(__file__).with_name("pages").joinpath(name).read_text(encoding="utf-8")
