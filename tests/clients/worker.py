"""One of many processes that share a session: calls an API again and again, and says how it went.

    python -m tests.clients.worker URL STORE CLIENT_ID CALLS PAUSE_SECONDS FRONT

Prints how often it got what: {"200": 20}. FRONT is httpx, requests or plain.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ratchet_client import FileStore, RatchetClientError, RefreshUnavailable, Session

LOST = "no answer"


class Noted(FileStore):
    """Writes down what is saved, and when, beside the file: a line each."""

    def save(self, text: str) -> None:
        line = json.dumps({**json.loads(text), "saved_at": time.time()})
        # Only whoever has the lock writes.
        with notes(self.path).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        super().save(text)


def notes(path: Path) -> Path:
    return path.with_suffix(".notes")


def caller(front: str, session: Session) -> Callable[[str], int | str]:
    """A GET, as a program would write it; LOST if the API did not answer."""
    if front == "requests":
        import requests

        from ratchet_client.requests_auth import SessionAuth as RequestsAuth

        http = requests.Session()
        http.auth = RequestsAuth(session)

        def with_requests(url: str) -> int | str:
            try:
                return http.get(url, timeout=60).status_code
            except requests.ConnectionError:
                return LOST

        return with_requests
    import httpx

    from ratchet_client.httpx_auth import SessionAuth

    auth = SessionAuth(session) if front == "httpx" else None
    client = httpx.Client(auth=auth, timeout=60)

    def with_httpx(url: str) -> int | str:
        try:
            if auth:
                return client.get(url).status_code
            # what a program without an auth object does itself
            token = session.access_token()
            status = get(url, token)
            return get(url, session.access_token(refused=token)) if status == 401 else status
        except httpx.RequestError:
            return LOST

    def get(url: str, token: str) -> int:
        return client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code

    return with_httpx


def main(url: str, store: str, client_id: str, calls: str, pause: str, front: str) -> None:
    session = Session(Noted(store), client_id=client_id, token_endpoint=f"{url}/oauth/token")
    call = caller(front, session)
    seen: Counter[Any] = Counter()
    done = 0
    while done < int(calls):
        try:
            outcome = call(f"{url}/orders")
        except RefreshUnavailable:
            outcome = "unavailable"
        except RatchetClientError as failure:
            outcome = repr(failure)
        seen[outcome] += 1
        # what was lost is called again
        done += outcome not in (LOST, "unavailable")
        time.sleep(float(pause))
    print(json.dumps(seen))  # noqa: T201 - its result


if __name__ == "__main__":
    main(*sys.argv[1:])
