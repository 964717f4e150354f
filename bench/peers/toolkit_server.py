"""django-oauth-toolkit: its own token view, for a public client.

DATABASE (a file), GRACE_SECONDS. POST /start begins a session; GET /count tells what was asked of
the database. As a program: `fill LIVE DUE` puts tokens into the database, `clear` clears it up.
"""

import json
import os
import sys
import time
import uuid
from datetime import timedelta

import django
from django.conf import settings
from django_database import SETTINGS, count

EXPIRES = 14 * 86400
if not settings.configured:
    settings.configure(
        **SETTINGS,
        ROOT_URLCONF="toolkit_server",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "oauth2_provider",
        ],
        OAUTH2_PROVIDER={
            "SCOPES": {"read": "read"},
            "REFRESH_TOKEN_EXPIRE_SECONDS": EXPIRES,
            # Off by default, both; this is what makes it as tolerant and as watchful as it gets.
            "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": int(os.environ.get("GRACE_SECONDS", "0")),
            "REFRESH_TOKEN_REUSE_PROTECTION": True,
        },
    )
    django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after the settings
from django.core.management import call_command  # noqa: E402 - set up first
from django.core.wsgi import get_wsgi_application  # noqa: E402 - set up first
from django.http import JsonResponse  # noqa: E402 - set up first
from django.urls import path  # noqa: E402 - set up first
from django.utils import timezone  # noqa: E402 - set up first
from oauth2_provider.models import AccessToken, Application, RefreshToken  # noqa: E402 - set up first
from oauth2_provider.views import TokenView  # noqa: E402 - set up first


def start(_):
    user = User.objects.create(username=uuid.uuid4().hex)
    access, refresh = _tokens(user, timezone.now())
    access.save()
    refresh.save()
    return JsonResponse({"refresh_token": refresh.token})


def _tokens(user, now):
    access = AccessToken(
        user=user,
        application_id=1,
        token=uuid.uuid4().hex,
        expires=now + timedelta(seconds=3600),
        scope="read",
    )
    refresh = RefreshToken(
        user=user,
        application_id=1,
        token=uuid.uuid4().hex,
        access_token=access,
        token_family=uuid.uuid4(),
    )
    return access, refresh


def fill(live, due):
    """Live sessions of one token each; and tokens that were rotated away before their expiry."""
    user, now = User.objects.create(username=uuid.uuid4().hex), timezone.now()
    long_ago = now - timedelta(seconds=2 * EXPIRES)
    for begin in range(0, live, 5000):
        pairs = [_tokens(user, now) for _ in range(min(5000, live - begin))]
        AccessToken.objects.bulk_create([access for access, _ in pairs])
        RefreshToken.objects.bulk_create([refresh for _, refresh in pairs])
    rotated = [_tokens(user, long_ago)[1] for _ in range(due)]
    for token in rotated:
        token.access_token, token.revoked = None, long_ago
    RefreshToken.objects.bulk_create(rotated, batch_size=5000)


urlpatterns = [
    path("token", TokenView.as_view()),
    path("start", start),
    path("count", count),
]
call_command("migrate", verbosity=0)
Application.objects.get_or_create(
    id=1,
    defaults={
        "client_id": "app",
        "client_type": "public",
        "authorization_grant_type": "authorization-code",
        "redirect_uris": "https://app.test/",
    },
)
if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]))
    before, began = RefreshToken.objects.count(), time.perf_counter()
    if sys.argv[1] == "clear":
        call_command("cleartokens")
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cleared": before - RefreshToken.objects.count()}))
else:
    app = get_wsgi_application()
