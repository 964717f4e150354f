"""`ratchet keys`: shows, rotates and drops what signs access tokens and marks refresh tokens."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

from ratchet_cli.target import Target, target_options

if TYPE_CHECKING:
    from ratchet.rotate_keys import Rotation


@click.group("keys")
def keys_group() -> None:
    """Look after the keys that sign access tokens, and the pepper of the refresh tokens."""


@keys_group.command("list")
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def list_command(target: Target, as_json: bool) -> None:
    """Show which keys there are and when they can be rotated next. No private part is shown."""
    with _explained():
        found = {"signing_keys": _signing_keys(target), "peppers": _peppers(target)}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for key in found["signing_keys"]["keys"]:
        click.echo(f"{key['slot']:<9} {key['kid']}  {key['alg']}  {key['home']}")
    click.echo(f"{'':<9} {_when(found['signing_keys']['settles_at'])}")
    for pepper in found["peppers"]["peppers"]:
        click.echo(f"{'pepper':<9} {pepper['id']:<5} {pepper['state']}")
    click.echo(f"{'':<9} {_when(found['peppers']['settles_at'])}")


@keys_group.command("rotate")
@target_options
@click.option("--pepper", is_flag=True, help="Rotate the pepper instead of the signing keys.")
def rotate_command(target: Target, pepper: bool) -> None:
    """Promote the next key, and publish a new one to follow it.

    Nobody notices: the promoted key has been in the JWK set for longer than anyone caches it. Where
    that is not so yet, this says how long to wait. A key that has leaked: `ratchet keys revoke`.
    """
    settings = target.settings()
    secret_id = settings.pepper_secret if pepper else settings.signing_keys_secret
    what = "pepper" if pepper else "signing keys"
    with _explained():
        rotation, now = _rotation(target, secret_id), int(time.time())
        settles_at = _settles_at(rotation)
        if now < settles_at and rotation.promotes(rotation.versions.value()):
            raise click.ClickException(f"The {what} cannot be rotated yet: {_when(settles_at)}.")
        client = boto3.client("secretsmanager")
        if target.name is None:
            from ratchet_cli.rotation import rotate_here

            rotate_here(rotation, client, longest_access_ttl_seconds=_longest_access_ttl(), now=now)
            click.echo(f"The {what} have been rotated.")
        else:
            client.rotate_secret(SecretId=secret_id)
            click.echo(f"Secrets Manager is rotating the {what}. Look: ratchet keys list --stack")


@keys_group.command("revoke")
@click.argument("kid")
@target_options
@click.confirmation_option(
    "--yes", prompt="Every access token signed with it becomes invalid. Go on?"
)
def revoke_command(kid: str, target: Target) -> None:
    """Drop a signing key at once, because it has leaked.

    If it is the current one, the next one signs from now on.
    """
    from ratchet import key_rotation
    from ratchet.discovery import MAX_AGE_SECONDS
    from ratchet.keys import signing_keys
    from ratchet.rotate_keys import new_jwk_of
    from ratchet.secret_cache import FRESH_SECONDS
    from ratchet.wiring import kms_keys

    settings = target.settings()
    with _explained():
        rotation = _rotation(target, settings.signing_keys_secret)
        versions = rotation.versions
        before = versions.value()
        slot = next(
            (key["slot"] for key in _signing_keys(target)["keys"] if key["kid"] == kid), "none"
        )
        after = key_rotation.without_signing_key(
            before,
            kid,
            new_jwk_of(
                kms_keys(settings),
                backend=settings.signing_backend,
                algorithm=settings.signing_algorithm,
                rsa_bits=settings.signing_rsa_bits,
            ),
        )
        rotation.test(after)
        versions.put(after)
        for version, labels in versions.describe().labels.items():
            if "AWSPENDING" in labels and "AWSCURRENT" not in labels:
                # A rotation that was on its way would bring the key back.
                versions.drop_pending(version)
    click.echo(f"{kid} was {slot} and is dropped. {signing_keys(after).current.kid} signs.")
    click.echo(
        f"Within {FRESH_SECONDS // 60} minutes none of our functions signs with it or accepts it.\n"
        "A verifier that follows our JWK set refuses it when its cache ends:"
        f" {MAX_AGE_SECONDS // 60} minutes later if it keeps to the header, up to 2 hours later in"
        " API Gateway's JWT authorizer.\n"
        "What stops working: access tokens signed with it. Sessions go on: a client that gets 401"
        " refreshes and has a token of the new key."
    )


def _rotation(target: Target, secret_id: str) -> Rotation:
    from ratchet import wiring

    return wiring.rotation(target.settings(), secret_id)


def _longest_access_ttl() -> int:
    from ratchet import wiring

    return wiring.parts().applications.longest_access_ttl_seconds()


def _settles_at(rotation: Rotation) -> int:
    from ratchet.key_rotation import settles_at

    return settles_at(
        rotation.versions.describe().published_at,
        longest_access_ttl_seconds=_longest_access_ttl(),
    )


def _signing_keys(target: Target) -> dict[str, Any]:
    from ratchet.keys import SLOTS, signing_keys

    rotation = _rotation(target, target.settings().signing_keys_secret)
    keys = signing_keys(rotation.versions.value())
    slots = {slot: getattr(keys, slot) for slot in SLOTS}
    return {
        "keys": [
            {
                "slot": slot,
                "kid": key.kid,
                "alg": key.algorithm,
                "home": key.kms_key or "secretsmanager",
            }
            for slot, key in slots.items()
            if key is not None
        ],
        "settles_at": _settles_at(rotation),
    }


def _peppers(target: Target) -> dict[str, Any]:
    from ratchet.keys import peppers

    rotation = _rotation(target, target.settings().pepper_secret)
    known = peppers(rotation.versions.value())
    states = {True: "next", False: "retired"}
    return {
        "peppers": [
            {"id": number, "state": "current" if number == known.current else states[later]}
            for number in sorted(known.by_id, reverse=True)
            for later in (number > known.current,)
        ],
        "settles_at": _settles_at(rotation),
    }


def _when(settles_at: int) -> str:
    left = settles_at - int(time.time())
    if left <= 0:
        return "can be rotated now"
    at = datetime.fromtimestamp(settles_at, UTC).isoformat(timespec="minutes")
    return f"can be rotated in {left // 3600} h {left % 3600 // 60} min, at {at}"


class _explained:  # noqa: N801 - used as a statement
    """Turns what AWS and the core raise into the command's own error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from ratchet.errors import Fault

        if isinstance(error, BotoCoreError):
            raise click.ClickException(f"Is AWS_REGION or AWS_PROFILE set? {error}") from error
        if isinstance(error, ClientError | Fault):
            raise click.ClickException(str(error)) from error
