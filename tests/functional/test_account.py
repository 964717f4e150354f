"""GET /account/{page} and the files of the pages."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ratchet import account
from ratchet.errors import Fault
from ratchet.reasons import Reason
from ratchet.timeline import What
from tests.functional.conftest import Answer, Service

FOLDER = Path(account.__file__).with_name("pages")
PAGES = sorted(account.PAGES)
FILES = sorted(account.FILES)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def get(service: Service, url: str) -> Answer:
    return service.call("GET", f"/account/{url}")


def links(page: str) -> set[str]:
    """What an HTML text loads."""
    return set(re.findall(r'(?:href|src)="([^"]+)"', page))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_html_with_strict_headers_and_is_not_stored(service: Service, name: str) -> None:
    answer = get(service, name)
    assert answer.status == 200
    assert answer.headers == {
        "strict-transport-security": "max-age=63072000; includeSubDomains",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "pragma": "no-cache",
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "content-type": "text/html; charset=utf-8",
        "vary": "Origin",
    }
    assert answer.body.startswith('<!doctype html>\n<html lang="en">')
    assert (answer.log["route"], answer.log["status"]) == ("GET /account/{page}", 200)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_only_files_that_are_there_and_are_remembered_for_ever(
    service: Service, name: str
) -> None:
    loaded = links(get(service, name).body)
    assert {"account.css", "icon.svg", f"{name}.js"} == {link.rpartition("/")[2] for link in loaded}
    for link in loaded:
        answer = get(service, link)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "pragma" not in answer.headers
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_as_what_it_is(service: Service, name: str) -> None:
    types = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    answer = get(service, f"{account.version()}/{name}")
    assert answer.headers["content-type"].partition(";")[0] == types[name.rpartition(".")[2]]
    assert answer.body == (FOLDER / name).read_text("utf-8")


def test_every_file_of_the_folder_is_served_and_no_other() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*account.FILES, *account.PAGES.values()}


def test_what_a_script_imports_is_beside_it() -> None:
    for name in FILES:
        imported = re.findall(r'from "(.*)"', (FOLDER / name).read_text("utf-8"))
        assert {path.removeprefix("./") for path in imported} <= set(FILES)


def test_a_page_asks_for_a_password_only_if_its_application_takes_them(service: Service) -> None:
    def sign_in(query: str) -> str:
        (said,) = re.findall('data-sign-in="(.*)"', get(service, f"sessions{query}").body)
        return str(said)

    assert sign_in("?client_id=demo-browser") == "password"
    for query in ("?client_id=demo-sensitive", "?client_id=nobody", "?client_id=", ""):
        assert sign_in(query) == "elsewhere"


def test_the_html_is_the_same_for_everybody_and_shows_nothing_it_was_sent(service: Service) -> None:
    page = "sessions?client_id=demo-browser"
    session = service.start("demo-browser", device="Ada's phone")
    cookie = f"__Host-Http-ratchet-demo-browser={session['refresh_token']}"
    headers = {"Cookie": cookie, "User-Agent": "<b>"}
    signed_in = service.call("GET", f"/account/{page}", headers=headers)
    assert signed_in.body == get(service, page).body
    assert signed_in.cookies == []
    odd = get(service, "sessions?client_id=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert odd.body == get(service, "sessions").body


@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_script_style_or_handler_in_its_html(name: str) -> None:
    """The policy would stop them; and JSON, too, comes by request."""
    found: list[str] = []

    class Inline(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            found.extend(key for key in given if key == "style" or key.startswith("on"))
            if tag == "style" or (tag == "script" and "src" not in given):
                found.append(tag)

    Inline().feed((FOLDER / account.PAGES[name]).read_text("utf-8"))
    assert found == []


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_no_script_makes_markup_of_a_text(name: str) -> None:
    script = (FOLDER / name).read_text("utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "sessions.html",
        "pages",
        "..",
        "%2e%2e%2faccount.py",
        "{version}/nothing",
        "{version}/sessions.html",
        "{version}/%2e%2e",
        "{version}/..%5caccount.py",
        "{version}/%00",
        "0123456789abcdef/account.css",
        "0123456789abcdef/sessions.html",
    ],
)
def test_what_is_not_there_is_404(service: Service, path: str) -> None:
    answer = get(service, path.replace("{version}", account.version()))
    assert (answer.status, answer["error"]) == (404, "not_found")
    assert answer["error_description"] == "There is no such page."
    assert answer.headers["cache-control"] == "no-store"
    assert answer.log["error"] == "not_found"


@pytest.mark.parametrize("url", ["sessions", "x/account.css"])
def test_the_pages_take_get_only(service: Service, url: str) -> None:
    for method in ("POST", "HEAD", "DELETE"):
        answer = service.call(method, f"/account/{url}")
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


def test_a_page_without_the_applications_table_is_503_and_its_files_are_there(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise Fault("DynamoDB: ThrottlingException")

    monkeypatch.setattr(service.parts.applications, "get", broken)
    answer = get(service, "sessions?client_id=demo-browser")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert get(service, f"{account.version()}/sessions.js").status == 200


def test_the_version_changes_with_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {account.version()}
    for changed in FILES:
        text = account._text
        monkeypatch.setattr(
            account,
            "_text",
            lambda name, text=text, changed=changed: text(name) + (" " if name == changed else ""),
        )
        versions.add(account.version.__wrapped__())
        monkeypatch.undo()
    assert len(versions) == 1 + len(FILES)


def test_the_words_of_the_page_are_for_reasons_that_there_are() -> None:
    script = (FOLDER / "sessions.js").read_text("utf-8")
    words = re.findall(r"^  (\w+): \"", script.partition("const WHY")[2].partition("}")[0], re.M)
    assert len(words) == 8
    assert set(words) <= {reason.value for reason in Reason}


def test_every_kind_of_entry_of_a_time_line_has_a_name_on_the_operators_page() -> None:
    script = (FOLDER / "operator.js").read_text("utf-8")
    names = re.findall(r"^  (\w+): \"", script.partition("const WHAT")[2].partition("}")[0], re.M)
    assert set(names) == {what.value for what in What} | {"deadline"}
