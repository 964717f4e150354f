"""djangorestframework-simplejwt: its own refresh view, with rotation and the blacklist.

DATABASE (a file). POST /start begins a session; GET /count tells what was asked of the database.
As a program: `fill LIVE DUE` puts tokens into the database, `clear` clears it up.
"""

import json
import sys
import time
import uuid
from datetime import timedelta

import django
from django.conf import settings
from django_database import SETTINGS, count

if not settings.configured:
    settings.configure(
        **SETTINGS,
        ROOT_URLCONF="simplejwt_server",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "rest_framework",
            "rest_framework_simplejwt",
            "rest_framework_simplejwt.token_blacklist",
        ],
        SIMPLE_JWT={
            "ACCESS_TOKEN_LIFETIME": timedelta(hours=1),
            "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
            "ROTATE_REFRESH_TOKENS": True,
            "BLACKLIST_AFTER_ROTATION": True,
        },
    )
    django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken
from rest_framework_simplejwt.views import TokenRefreshView


def start(_):
    user = User.objects.create(username=uuid.uuid4().hex)
    return JsonResponse({"refresh": str(RefreshToken.for_user(user))})


def fill(live, due):
    """Tokens that live, and others that have expired."""
    user, now = User.objects.create(username=uuid.uuid4().hex), timezone.now()
    text = str(RefreshToken.for_user(user))
    for count_, expires_at in ((live, now + timedelta(days=14)), (due, now - timedelta(days=1))):
        OutstandingToken.objects.bulk_create(
            (
                OutstandingToken(
                    user=user,
                    jti=uuid.uuid4().hex,
                    token=text,
                    created_at=now,
                    expires_at=expires_at,
                )
                for _ in range(count_)
            ),
            batch_size=5000,
        )


urlpatterns = [
    path("token", TokenRefreshView.as_view()),
    path("start", start),
    path("count", count),
]
call_command("migrate", verbosity=0)
if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]))
    before, began = OutstandingToken.objects.count(), time.perf_counter()
    if sys.argv[1] == "clear":
        call_command("flushexpiredtokens")
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cleared": before - OutstandingToken.objects.count()}))
else:
    app = get_wsgi_application()
