"""What both peers on Django have in common: SQLite, Django's default, as its pages tune it."""

import os
from collections import Counter
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

# "Database is locked" errors: https://docs.djangoproject.com/en/5.2/ref/databases/#sqlite-notes
SETTINGS: dict[str, Any] = {
    "DATABASES": {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "timeout": 20,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
            },
        }
    },
    "ALLOWED_HOSTS": ["127.0.0.1"],
    "SECRET_KEY": "a-secret-of-a-bench-and-of-nothing-else-in-the-world",
    "USE_TZ": True,
    "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
    "MIDDLEWARE": ["django_database.counting"] if os.environ.get("COUNTED") else [],
}
counted: Counter[str] = Counter()


def counting(get_response: Any) -> Any:
    """Middleware that counts the statements of each request."""

    def note(execute: Any, sql: str, *arguments: Any) -> Any:
        word = sql.split(maxsplit=1)[0]
        if word in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            counted[word] += 1
        return execute(sql, *arguments)

    def respond(request: HttpRequest) -> HttpResponse:
        with connection.execute_wrapper(note):
            response: HttpResponse = get_response(request)
            return response

    return respond


def count(_: HttpRequest) -> JsonResponse:
    return JsonResponse(counted)
