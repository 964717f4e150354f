"""`ratchet apps`: registers applications and changes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ratchet_cli import apps_text
from ratchet_cli.duration import Duration
from ratchet_cli.target import Target, target_options, working

if TYPE_CHECKING:
    from ratchet.parts import Parts
    from ratchet.registration import Change

DURATIONS = (
    *("access_ttl", "idle_ttl", "absolute_ttl", "leeway"),
    *("retry_window", "idle_warning", "absolute_warning", "touch_interval", "retention"),
)
LISTS = ("grant_types", "scopes", "audience", "starts_sessions_for")
MODES = ("next-refresh", "new-sessions", "now")
# Mirrors ratchet.policy.PRESETS, which a help text does not need to import; a test compares them.
PRESETS = ("browser", "native", "sensitive", "kiosk", "cli", "machine")
FUNCTIONS_LEARN_SECONDS = 60


@click.group("apps")
def apps_group() -> None:
    """Register applications and change their policies."""


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _dry_run_option(command: Callable[..., Any]) -> Callable[..., Any]:
    text = "Change nothing; tell what would become of it."
    return click.option("--dry-run", is_flag=True, help=text)(command)


def _description_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is written of an application: docs/applications.md has every attribute."""
    options = [
        click.option("--name", help="For people."),
        click.option("--preset", type=click.Choice(PRESETS), help="What the policy starts from."),
        *(
            click.option(
                f"--{name.replace('_', '-')}", name, type=Duration(), help="Such as 5m, 12h, 14d."
            )
            for name in DURATIONS
        ),
        click.option(
            "--rotation-off",
            metavar="REASON",
            help="Switch rotation off, and say why. An empty text switches it on.",
        ),
        click.option("--grant", "grant_types", multiple=True, help="A grant type it may use."),
        click.option("--scope", "scopes", multiple=True, help="Scopes it may have."),
        click.option("--audience", multiple=True, help="`aud` of its access tokens."),
        click.option(
            "--starts-sessions-for",
            multiple=True,
            help="Client ids it may start sessions for, or *.",
        ),
        click.option(
            "--introspects-any/--introspects-own",
            default=None,
            help="Whether it may introspect the tokens of others.",
        ),
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any other attribute; the value is JSON, or a text.",
        ),
        click.option("--unset", multiple=True, metavar="NAME", help="Take an attribute away."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@apps_group.command("create")
@click.argument("client_id")
@click.option(
    "--confidential/--public", default=None, help="It can keep a secret. machine: confidential."
)
@_description_options
@_dry_run_option
@_json_option
@target_options
def create_command(
    target: Target,
    client_id: str,
    confidential: bool | None,
    dry_run: bool,
    as_json: bool,
    **described: Any,
) -> None:
    """Register an application.

    A confidential one gets a secret, which is printed this once. Without --grant it gets
    refresh_token, with the preset machine client_credentials.
    """
    description = {"policy": {}, **_patch(described)}
    machine = described["preset"] == "machine"
    description.setdefault("grant_types", ["client_credentials" if machine else "refresh_token"])
    confidential = machine if confidential is None else confidential
    description |= {"client_id": client_id, "confidential": confidential}
    with working(target) as parts:
        from ratchet import registration

        now = _now()
        change = registration.create(
            description, applications=parts.applications, now=now, dry_run=dry_run
        )
    _tell(change, now, as_json=as_json, dry_run=dry_run, verb="registered")


@apps_group.command("list")
@_json_option
@target_options
def list_command(target: Target, as_json: bool) -> None:
    """List all applications."""
    with working(target) as parts:
        from ratchet import registration

        written = parts.applications.every_written()
        views = [registration.view(one, _now()) for one in written]
    views.sort(key=lambda view: str(view["client_id"]))
    _print({"applications": views} if as_json else apps_text.table(views), as_json)


@apps_group.command("show")
@click.argument("client_id")
@_json_option
@target_options
def show_command(target: Target, client_id: str, as_json: bool) -> None:
    """Show one application, with every number of its policy."""
    with working(target) as parts:
        from ratchet import registration

        written = registration.show(client_id, applications=parts.applications)
        view = registration.view(written, _now())
    _print(view if as_json else apps_text.details(view), as_json)


@apps_group.command("update")
@click.argument("client_id", required=False)
@click.option("--all", "everyone", is_flag=True, help="All applications.")
@_description_options
@click.option("--disable", is_flag=True, help="Switch it off: its clients are refused.")
@click.option("--enable", is_flag=True, help="Switch it on again.")
@click.option(
    "--end-sessions-before",
    metavar="WHEN",
    help="End all sessions that started before: now, 2026-11-21T15:00Z, or epoch seconds.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    default=MODES[0],
    show_default=True,
    help="When a new policy holds for the sessions that live already.",
)
@click.option("--version", type=click.IntRange(0), help="Only if it is at this version.")
@_dry_run_option
@_json_option
@target_options
def update_command(
    target: Target,
    client_id: str | None,
    everyone: bool,
    disable: bool,
    enable: bool,
    end_sessions_before: str | None,
    mode: str,
    version: int | None,
    dry_run: bool,
    as_json: bool,
    **described: Any,
) -> None:
    """Change one application, or all of them.

    Options that take a list replace it. With --mode now, sessions that the policy would have ended
    by now are ended; that starts after 60 seconds, when every function knows the policy.
    """
    if (client_id is None) is not everyone:
        raise click.UsageError("name an application, or --all")
    if disable and enable:
        raise click.UsageError("--disable and --enable exclude each other")
    patch, now = _patch(described), _now()
    if disable or enable:
        patch["disabled_at"] = now if disable else None
    if end_sessions_before is not None:
        patch["sessions_valid_after"] = _instant(end_sessions_before, now)
    if not patch and mode != "now":
        raise click.UsageError("nothing to change; see --help")
    with working(target) as parts:
        changes = _update(parts, client_id, patch, mode, version, now, dry_run)
        sessions = _sessions(parts, changes, mode, now, dry_run)
    _tell_all(changes, sessions, now, single=client_id, as_json=as_json, dry_run=dry_run)


@apps_group.command("delete")
@click.argument("client_id")
@click.option("--force", is_flag=True, help="End its live sessions first.")
@_json_option
@target_options
def delete_command(target: Target, client_id: str, force: bool, as_json: bool) -> None:
    """Delete an application that has no live sessions.

    With --force it is disabled, and its sessions are ended with the reason application_disabled.
    """
    with working(target) as parts:
        from ratchet import live_sessions, registration

        now, applications = _now(), parts.applications
        disabled: Mapping[str, Any] = {"disabled_at": now}
        off = registration.update(
            client_id, disabled, applications=applications, now=now, dry_run=not force
        )
        ended = 0
        if force:
            ended = live_sessions.end_all(
                client_id, by="ratchet apps delete", store=parts.store, bus=parts.bus, now=now
            )
        elif off.before is not None:
            # Those of one that is disabled already count too: enabled again, they would live.
            enabled = replace(off.before, disabled_at=None)
            seen = live_sessions.preview(
                {client_id: (enabled, off.after)}, at_once=False, store=parts.store, now=now
            )
            if seen.live:
                raise click.ClickException(
                    f"{client_id} has {seen.live} live sessions; --force ends them"
                )
            registration.update(client_id, disabled, applications=applications, now=now)
        registration.delete(client_id, applications=applications)
    told = f"{client_id} is deleted; {ended} sessions were ended."
    _print({"client_id": client_id, "deleted": True, "ended": ended} if as_json else told, as_json)


@apps_group.command("rotate-secret")
@click.argument("client_id")
@click.option(
    "--keep-former",
    type=Duration(),
    default="7d",
    show_default=True,
    help="How long the former secret stays good; 0: all others end at once.",
)
@click.option("--drop-old", is_flag=True, help="Make no new secret; end the former one now.")
@_json_option
@target_options
def rotate_secret_command(
    target: Target, client_id: str, keep_former: int, drop_old: bool, as_json: bool
) -> None:
    """Make a new secret, or drop the former one.

    The new secret is printed this once. Until the former one ends both are good, so nobody is shut
    out while you roll the new one out.
    """
    now = _now()
    with working(target) as parts:
        from ratchet import registration

        applications = parts.applications
        if drop_old:
            change = registration.drop_former_secret(client_id, applications=applications, now=now)
        else:
            change = registration.rotate_secret(
                client_id, keep_former_seconds=keep_former, applications=applications, now=now
            )
    _tell(change, now, as_json=as_json, dry_run=False, verb="changed")


def _update(
    parts: Parts,
    client_id: str | None,
    patch: Mapping[str, Any],
    mode: str,
    version: int | None,
    now: int,
    dry_run: bool,
) -> list[Change]:
    from ratchet import registration

    everyone = () if client_id else parts.applications.every_written()
    client_ids = [client_id] if client_id else [str(one["client_id"]) for one in everyone]
    changes = []
    for dry in (True,) if dry_run else (True, False):
        # All of them are looked at before the first one is written.
        changes = [
            registration.update(
                one,
                patch,
                mode=registration.Mode(mode),
                version=version,
                applications=parts.applications,
                now=now,
                dry_run=dry,
            )
            for one in client_ids
        ]
    return changes


def _sessions(
    parts: Parts, changes: list[Change], mode: str, now: int, dry_run: bool
) -> dict[str, Any] | None:
    from ratchet import live_sessions

    if dry_run:
        pairs = {change.after.client_id: (change.before, change.after) for change in changes}
        known = {name: (old, new) for name, (old, new) in pairs.items() if old is not None}
        at_once = mode == "now"
        return live_sessions.preview(known, at_once=at_once, store=parts.store, now=now).to_dict()
    if mode != "now":
        return None
    click.echo(f"Waiting {FUNCTIONS_LEARN_SECONDS} s, until every function knows it ...", err=True)
    time.sleep(FUNCTIONS_LEARN_SECONDS)
    total = live_sessions.Applied()
    for change in changes:
        done = live_sessions.apply_now(change.after, store=parts.store, bus=parts.bus, now=_now())
        total.ended += done.ended
        total.shortened += done.shortened
    return total.to_dict()


def _patch(described: dict[str, Any]) -> dict[str, Any]:
    """The attributes that the options name."""
    policy: dict[str, Any] = {
        f"{name}_seconds": described[name] for name in DURATIONS if described[name] is not None
    }
    if described["preset"] is not None:
        policy["preset"] = described["preset"]
    if described["rotation_off"] is not None:
        off = bool(described["rotation_off"])
        policy["rotation"] = False if off else None
        policy["rotation_off_reason"] = described["rotation_off"] if off else None
    patch: dict[str, Any] = {"policy": policy} if policy else {}
    for name in LISTS:
        if described[name]:
            patch[name] = sorted({word for text in described[name] for word in text.split()})
    for name in ("name", "introspects_any"):
        if described[name] is not None:
            patch[name] = described[name]
    for assignment in described["assignments"]:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise click.UsageError(f"--set {assignment}: write NAME=VALUE")
        _put(patch, name, _value(text))
    for name in described["unset"]:
        _put(patch, name, None)
    return patch


def _put(patch: dict[str, Any], name: str, value: Any) -> None:
    outer, _, inner = name.partition(".")
    if inner:
        patch.setdefault(outer, {})[inner] = value
    else:
        patch[outer] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _instant(text: str, now: int) -> int:
    if text == "now":
        return now
    if text.isascii() and text.isdecimal():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no instant", param_hint="WHEN") from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _now() -> int:
    return int(time.time())


def _tell(change: Change, now: int, *, as_json: bool, dry_run: bool, verb: str) -> None:
    from ratchet import registration

    view = registration.view(change.written, now)
    secret = None if dry_run else change.client_secret
    if as_json:
        _print(
            {
                **view,
                **({"dry_run": True} if dry_run else {}),
                **({"client_secret": secret} if secret else {}),
            },
            as_json,
        )
        return
    click.echo(apps_text.details(view))
    click.echo()
    if dry_run:
        click.echo("Nothing was changed: this was a dry run.")
        return
    if secret:
        click.echo(f"client_secret: {secret}")
        click.echo("It is shown this once; only its hash is stored.")
    if view.get("former_secret_until_at"):
        until = apps_text.instant(view["former_secret_until_at"])
        click.echo(f"The former secret is good until {until}, or until --drop-old.")
    click.echo(f"{view['client_id']} is {verb}. Every function knows it within 60 seconds.")


def _tell_all(
    changes: list[Change],
    sessions: Mapping[str, Any] | None,
    now: int,
    *,
    single: str | None,
    as_json: bool,
    dry_run: bool,
) -> None:
    from ratchet import registration

    views = [registration.view(change.written, now) for change in changes]
    if as_json:
        extra: dict[str, Any] = {"dry_run": True} if dry_run else {}
        extra |= {"sessions": sessions} if sessions is not None else {}
        _print({**views[0], **extra} if single else {"applications": views, **extra}, as_json)
        return
    click.echo(apps_text.details(views[0]) if single else apps_text.table(views))
    click.echo()
    if dry_run and sessions is not None:
        click.echo(apps_text.preview(sessions))
        click.echo("Nothing was changed: this was a dry run.")
        return
    if sessions is not None:
        told = f"{sessions['ended']} sessions were ended, {sessions['shortened']} shortened."
        click.echo(told)
    click.echo(
        f"{len(views)} changed. Every function knows it within {FUNCTIONS_LEARN_SECONDS} seconds."
    )


def _print(result: Any, as_json: bool) -> None:
    click.echo(json.dumps(result, indent=2) if as_json else result)
