"""`ratchet keys`: shows, rotates and drops what signs access tokens and marks refresh tokens."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import click

from ratchet_cli.target import Target, target_options, working

if TYPE_CHECKING:
    from ratchet.parts import Parts
    from ratchet.rotate_keys import Rotation


@click.group("keys")
def keys_group() -> None:
    """Look after the keys that sign access tokens, and the pepper of the refresh tokens."""


@keys_group.command("list")
@target_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(target: Target, as_json: bool) -> None:
    """Show which keys there are, and from when on they can be rotated. Nothing secret is shown."""
    with working(target) as parts:
        settings = target.settings()
        signing = _rotation(target, settings.signing_keys_secret)
        pepper = _rotation(target, settings.pepper_secret)
        found: dict[str, Any] = {
            "signing_keys": _signing_keys(signing.versions.value()),
            "signing_keys_rotatable_at": _rotatable_at(signing, parts),
            "peppers": _peppers(pepper.versions.value()),
            "peppers_rotatable_at": _rotatable_at(pepper, parts),
        }
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for key in found["signing_keys"]:
        click.echo(f"{key['slot']:<9} {key['kid']}  {key['alg']}  {key['home']}")
    click.echo(f"{'':<9} Can be rotated {_when(found['signing_keys_rotatable_at'])}.")
    for one in found["peppers"]:
        click.echo(f"{'pepper':<9} {one['id']:<5} {one['state']}")
    click.echo(f"{'':<9} Can be rotated {_when(found['peppers_rotatable_at'])}.")


@keys_group.command("rotate")
@target_options
@click.option("--pepper", is_flag=True, help="Rotate the pepper instead of the signing keys.")
def rotate_command(target: Target, pepper: bool) -> None:
    """Promote the next key, and publish a new one to follow it.

    Nobody notices: the promoted key has been in the JWK set for longer than anyone caches it. Where
    that is not so yet, this says how long to wait. A key that has leaked: `ratchet keys revoke`.
    """
    what = "pepper" if pepper else "signing keys"
    with working(target) as parts:
        # Here, and not before: what the core logs goes beside the result.
        from ratchet_cli.rotation import rotate_here

        settings, client = target.settings(), boto3.client("secretsmanager")
        secret_id = settings.pepper_secret if pepper else settings.signing_keys_secret
        rotation, now = _rotation(target, secret_id), int(time.time())
        if now < (rotatable_at := _rotatable_at(rotation, parts)):
            raise click.ClickException(f"the {what} can be rotated {_when(rotatable_at)}")
        if target.name is not None:
            client.rotate_secret(SecretId=secret_id)
            done = f"Secrets Manager is rotating the {what}. `ratchet keys list` shows when it is."
        else:
            longest = parts.applications.longest_access_ttl_seconds()
            rotate_here(rotation, client, longest_access_ttl_seconds=longest, now=now)
            done = f"Rotated: the {what}."
    click.echo(done)


# One thumbprint in 64 begins with "-".
@keys_group.command("revoke", context_settings={"ignore_unknown_options": True})
@click.argument("kid")
@target_options
@click.confirmation_option(
    "--yes", prompt="Every access token that it has signed becomes invalid. Go on?"
)
def revoke_command(kid: str, target: Target) -> None:
    """Drop a signing key at once, because it has leaked.

    If it is the current one, the next one signs from now on.
    """
    with working(target):
        from ratchet import wiring
        from ratchet.rotate_keys import drop, new_jwk_of

        settings = target.settings()
        kms = wiring.kms_keys(settings, "ROTATION_CONFIG")
        new_jwk = new_jwk_of(
            kms,
            backend=settings.signing_backend,
            algorithm=settings.signing_algorithm,
            rsa_bits=settings.signing_rsa_bits,
        )
        versions = _rotation(target, settings.signing_keys_secret).versions
        dropped = drop(kid, versions, kms, new_jwk, now=int(time.time()))
        slots = {key["kid"]: key for key in _signing_keys(dropped.before)}
        current = next(key for key in _signing_keys(dropped.after) if key["slot"] == "current")
    click.echo(f"{kid} was {slots[kid]['slot']} and is dropped; {current['kid']} signs.")
    click.echo(_consequences(dropped.unknown_until, int(time.time())))
    if slots[kid]["home"] != "secretsmanager":
        click.echo(
            "It is still enabled in KMS, because our functions may use it for 5 more minutes; the"
            f" next rotation deletes it. To disable it: aws kms disable-key --key-id"
            f" {slots[kid]['home']}"
        )


@keys_group.command("revoke-pepper")
@click.argument("pepper_id", type=click.IntRange(1, 65535), metavar="ID")
@target_options
@click.confirmation_option(
    "--yes", prompt="Everyone whose refresh token carries this pepper has to sign in again. Go on?"
)
def revoke_pepper_command(pepper_id: int, target: Target) -> None:
    """Drop a pepper at once, because it has leaked.

    The next one: no token carries it yet, so nobody notices. A retired one: who has not refreshed
    since it was retired signs in again. The current one: everyone does.
    """
    with working(target):
        from ratchet.rotate_keys import drop_pepper

        versions = _rotation(target, target.settings().pepper_secret).versions
        dropped = drop_pepper(pepper_id, versions, now=int(time.time()))
        states = {one["id"]: one["state"] for one in _peppers(dropped.before)}
        current = next(one for one in _peppers(dropped.after) if one["state"] == "current")
    click.echo(
        f"{pepper_id} was {states[pepper_id]} and is dropped; {current['id']} makes new tokens."
    )
    if states[pepper_id] == "next":
        click.echo("Nobody has to sign in again: no token carries it yet.")
    else:
        click.echo("Within 5 minutes refresh tokens that carry it are refused as unknown_pepper.")
    if dropped.unknown_until > int(time.time()):
        at = datetime.fromtimestamp(dropped.unknown_until, UTC).isoformat(timespec="minutes")
        click.echo(
            "The current pepper was published only a short while ago: until"
            f" {at} some functions refuse even new refresh tokens."
        )


def _consequences(unknown_until: int, now: int) -> str:
    from ratchet.discovery import MAX_AGE_SECONDS
    from ratchet.secret_cache import FRESH_SECONDS

    text = (
        f"Within {FRESH_SECONDS // 60} minutes none of our functions signs with it or accepts it;"
        " within 24 hours one that cannot reach Secrets Manager.\n"
        "A verifier that follows our JWK set refuses it when its cache ends:"
        f" {MAX_AGE_SECONDS // 60} minutes later if it keeps to the header, up to 2 hours later in"
        " API Gateway's JWT authorizer.\n"
        "What stops working: access tokens that it has signed. Sessions go on: a client that gets"
        " 401 refreshes and has a token of the current key."
    )
    if unknown_until > now:
        at = datetime.fromtimestamp(unknown_until, UTC).isoformat(timespec="minutes")
        text += (
            "\nThe current key was published only a short while ago: a verifier whose JWK set is"
            f" older refuses every new token until its cache ends, at the latest at {at}."
        )
    return text


def _rotation(target: Target, secret_id: str) -> Rotation:
    from ratchet import wiring

    return wiring.rotation(target.settings(), secret_id)


def _rotatable_at(rotation: Rotation, parts: Parts) -> int:
    """Epoch seconds; 0 where there is nothing to wait for."""
    from ratchet.key_rotation import settles_at

    if not rotation.promotes(rotation.versions.value()):
        return 0
    return settles_at(
        rotation.versions.describe().published_at,
        longest_access_ttl_seconds=parts.applications.longest_access_ttl_seconds(),
    )


def _signing_keys(secret: str) -> list[dict[str, Any]]:
    from ratchet.keys import SLOTS, signing_keys

    keys = signing_keys(secret)
    return [
        {
            "slot": slot,
            "kid": key.kid,
            "alg": key.algorithm,
            "home": key.kms_key or "secretsmanager",
        }
        for slot in SLOTS
        if (key := getattr(keys, slot)) is not None
    ]


def _peppers(secret: str) -> list[dict[str, Any]]:
    from ratchet.keys import peppers

    known = peppers(secret)

    def state(number: int) -> str:
        if number == known.current:
            return "current"
        return "next" if number > known.current else "retired"

    return [{"id": number, "state": state(number)} for number in sorted(known.by_id, reverse=True)]


def _when(at: int) -> str:
    left = at - int(time.time())
    if left <= 0:
        return "now"
    day = datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")
    return f"in {left // 3600} h {left % 3600 // 60} min, at {day}"
