"""Registering applications, and changing what is registered: for operators, never on a hot path.

A change is made of what is written now and goes through only if nobody else wrote in between: an
application has a version, and every write is on the condition of the one it was made of.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ratchet import trusted_issuer
from ratchet.application import Application, InvalidApplication, from_mapping, hash_secret
from ratchet.applications import Applications
from ratchet.attributes import Attributes
from ratchet.errors import ApplicationNotFound, Conflict, InvalidDescription
from ratchet.policy import DAY, MAX_SECONDS, PRESETS, InvalidPolicy, Policy

KEEP_FORMER_SECRET_SECONDS = 7 * DAY
_TRIES = 5
MAX_CLASHES = 10
"""That are told: more of them say nothing new."""
# Only what has rules of its own writes these.
NOT_WRITABLE = frozenset(
    {
        *("version", "secret_hashes", "former_secret_until_at"),
        *("former_policies", "longest_absolute_ttl_seconds", "longest_access_ttl_seconds"),
    }
)


class Mode(StrEnum):
    """When a new policy holds for the sessions that live already."""

    NEW_SESSIONS = "new-sessions"
    NEXT_REFRESH = "next-refresh"
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """before, after: None where there is no application. client_secret: new, shown this once."""

    before: Application | None
    after: Application
    written: Mapping[str, Any]
    client_secret: str | None = None


def create(
    description: Mapping[str, Any],
    *,
    applications: Applications,
    now: int,
    with_secret: bool | None = None,
    dry_run: bool = False,
) -> Change:
    """Registers an application; a confidential one without keys of its own gets a secret.

    Sessions of a deleted application with this client id stay over: `sessions_valid_after` is now,
    unless the description says otherwise.

    description: attributes as `from_mapping` reads them. with_secret: whether it gets one in any
    case. Raises InvalidDescription, Conflict when the client id is taken, Fault.
    """
    if with_secret is None:
        keys = description.get("jwks") or description.get("jwks_uri")
        with_secret = description.get("confidential") is True and not keys
    secret = new_secret() if with_secret else None
    mapping = _merged({}, description)
    hashes = [hash_secret(secret).hex()] if secret else []
    problems = _not_writable(mapping)
    mapping = {
        "sessions_valid_after": now,
        **mapping,
        "secret_hashes": hashes,
        "version": 1,
    }
    after = _checked(mapping, problems, now)
    _check_subjects(after, {}, applications)
    if dry_run:
        taken = applications.written(after.client_id) is not None
    else:
        taken = not applications.create(mapping) and not _ours(mapping, applications)
    if taken:
        raise Conflict("An application with this client_id exists.", application=after.client_id)
    return Change(before=None, after=after, written=mapping, client_secret=secret)


def show(client_id: str, *, applications: Applications) -> Mapping[str, Any]:
    """What is written of an application. Raises ApplicationNotFound, Fault."""
    written = applications.written(client_id) if 0 < len(client_id) <= 64 else None
    if written is None:
        raise ApplicationNotFound("no such application")
    return written


def update(
    client_id: str,
    patch: Mapping[str, Any],
    *,
    mode: Mode = Mode.NEXT_REFRESH,
    version: int | None = None,
    applications: Applications,
    now: int,
    dry_run: bool = False,
) -> Change:
    """Changes the attributes of a JSON merge patch (RFC 7396): null takes one away.

    version: only if it is at this version. Raises InvalidDescription, ApplicationNotFound,
    Conflict, Fault.
    """

    def make(mapping: Mapping[str, Any], _: Application) -> Mapping[str, Any]:
        return changed(mapping, patch, mode=mode, now=now)

    problems = _not_writable(patch)
    if patch.get("client_id", client_id) != client_id:
        problems.append("client_id cannot be changed")
    return _write(client_id, make, problems, version, applications, now, dry_run)


def changed(
    mapping: Mapping[str, Any],
    patch: Mapping[str, Any],
    *,
    mode: Mode,
    now: int,
) -> dict[str, Any]:
    """What is to be written after this change; not checked yet.

    A policy that is replaced for new sessions only is kept for the older ones, until the last of
    them must be over. In the other modes one policy is everybody's, except where one that breaks
    rules is mended: nobody meant to take the former policies away. Raises InvalidDescription.
    """
    merged = _merged(mapping, patch)
    try:
        after = from_mapping(merged)
    except InvalidApplication:
        return merged
    before, sound = _policy(mapping)
    if mode is Mode.NEW_SESSIONS and not sound:
        raise InvalidDescription(
            ["the policy that older sessions would keep breaks a rule; mend it first"]
        )
    if after.policy == before and (mode is Mode.NEW_SESSIONS or "policy" not in patch):
        return merged
    # A patch that writes any of these is refused: in `after` they are as they were.
    longest = max(after.longest_absolute_ttl_seconds, before.absolute_ttl_seconds)
    longest_access = max(after.longest_access_ttl_seconds, before.access_ttl_seconds)
    kept: list[dict[str, Any]] = []
    if mode is Mode.NEW_SESSIONS or not sound:
        kept = [asdict(former) for former in after.former_policies if former.over_at > now]
    if mode is Mode.NEW_SESSIONS:
        kept.append({"until_at": now, "over_at": now + longest, "policy": asdict(before)})
    return {
        **merged,
        "former_policies": kept,
        "longest_absolute_ttl_seconds": longest,
        "longest_access_ttl_seconds": longest_access,
    }


def rotate_secret(
    client_id: str,
    *,
    keep_former_seconds: int = KEEP_FORMER_SECRET_SECONDS,
    applications: Applications,
    now: int,
) -> Change:
    """A new secret; the one it replaces is good for a while longer, so that no client is shut out.

    keep_former_seconds 0: no other secret is good any more. Raises ApplicationNotFound,
    InvalidDescription, Conflict while there are two already, Fault.
    """
    secret = new_secret()

    def make(mapping: Mapping[str, Any], before: Application) -> Mapping[str, Any]:
        # Of one that breaks a rule `before` does not have these; what is made of it is checked.
        if mapping.get("confidential") is False:
            raise Conflict("A public application has no secret.", application=client_id)
        if keep_former_seconds and len(before.valid_secret_hashes(now)) > 1:
            raise Conflict(
                "Two secrets are valid already. Drop the former one first.", application=client_id
            )
        kept = _newest_hash(mapping) if keep_former_seconds else []
        return {
            **mapping,
            "secret_hashes": [hash_secret(secret).hex(), *kept],
            "former_secret_until_at": now + keep_former_seconds if kept else None,
        }

    problems = []
    if not 0 <= keep_former_seconds <= 365 * DAY:
        problems.append("the former secret may be kept for 0 seconds to 365 days")
    change = _write(client_id, make, problems, None, applications, now, dry_run=False)
    return Change(
        before=change.before, after=change.after, written=change.written, client_secret=secret
    )


def drop_former_secret(client_id: str, *, applications: Applications, now: int) -> Change:
    """Only the newest secret stays. Raises ApplicationNotFound, InvalidDescription, Fault."""

    def make(mapping: Mapping[str, Any], _: Application) -> Mapping[str, Any]:
        return {
            **mapping,
            "secret_hashes": _newest_hash(mapping),
            "former_secret_until_at": None,
        }

    return _write(client_id, make, [], None, applications, now, dry_run=False)


def delete(client_id: str, *, applications: Applications) -> None:
    """Deletes an application that is disabled: its clients have been told by then.

    What sessions it still has cannot be used any more and end at their deadlines. Raises Conflict,
    ApplicationNotFound, Fault.
    """
    written = show(client_id, applications=applications)
    if written.get("disabled_at") is None:
        raise Conflict("Disable the application first.", application=client_id)
    version = written.get("version", 0)
    if not applications.delete(client_id, version=version) and applications.written(client_id):
        raise Conflict("Others are changing this application; try again.", application=client_id)


def view(written: Mapping[str, Any], now: int) -> dict[str, Any]:
    """An application as its operator sees it: no hash of a secret, and all numbers of its policy.

    One that breaks a rule (it was written by hand) is shown as it is, with its problems.
    """
    shown = {name: value for name, value in written.items() if name not in NOT_WRITABLE}
    shown["version"] = written.get("version", 0)
    try:
        application = from_mapping(written)
    except InvalidApplication as invalid:
        return {**shown, "problems": list(invalid.problems)}
    secrets_valid = len(application.valid_secret_hashes(now))
    return {
        **shown,
        "effective_policy": asdict(application.policy),
        "former_policies": [asdict(former) for former in application.former_policies],
        "secrets": secrets_valid,
        "former_secret_until_at": (
            application.former_secret_until_at if secrets_valid > 1 else None
        ),
        "warnings": application.policy.warnings(),
    }


def new_secret() -> str:
    """256 random bits. Nothing in it has to be escaped, and no command takes it for an option."""
    return f"cs_{secrets.token_urlsafe(32)}"


def _write(
    client_id: str,
    make: Callable[[Mapping[str, Any], Application], Mapping[str, Any]],
    problems: list[str],
    version: int | None,
    applications: Applications,
    now: int,
    dry_run: bool,
) -> Change:
    for _ in range(_TRIES):
        mapping = show(client_id, applications=applications)
        seen = mapping.get("version", 0)
        if version is not None and seen != version:
            raise Conflict(
                f"The application is at version {seen}, not {version}.", application=client_id
            )
        before = _stand_in(mapping)
        made = make(mapping, before)
        if made == mapping:
            return Change(before=before, after=_checked(mapping, problems, now), written=mapping)
        written = {**made, "version": seen + 1}
        after = _checked(written, [*problems, *_fixed(mapping, made)], now)
        _check_subjects(after, mapping, applications)
        if dry_run or applications.replace(written, version=seen) or _ours(written, applications):
            return Change(before=before, after=after, written=written)
    raise Conflict("Others are changing this application; try again.", application=client_id)


def _ours(written: Mapping[str, Any], applications: Applications) -> bool:
    """The SDK repeated our write after its answer was lost: it had taken effect."""
    return applications.written(written["client_id"]) == written


def _checked(mapping: Mapping[str, Any], problems: list[str], now: int) -> Application:
    """All problems at once: those of the request, and those of what it would make."""
    try:
        application = from_mapping(mapping)
    except InvalidApplication as invalid:
        raise InvalidDescription([*problems, *invalid.problems]) from None
    # It would end sessions that have yet to start.
    if application.sessions_valid_after > now:
        problems = [*problems, "sessions_valid_after must not be in the future"]
    if problems:
        raise InvalidDescription(problems)
    return application


def _check_subjects(
    after: Application, before: Mapping[str, Any], applications: Applications
) -> None:
    """Where other issuers are trusted than before, none may make the subjects of another
    application's. Of two such changes at the same time neither sees the other.

    Raises InvalidDescription, Fault.
    """
    known = trusted_issuer.registered(before)
    if not [entry for entry in after.trusted_issuers if entry not in known]:
        return
    others = (
        written
        for written in applications.every_written()
        if written["client_id"] != after.client_id
    )
    if problems := list(trusted_issuer.clashes(after.trusted_issuers, others)):
        raise InvalidDescription(problems[:MAX_CLASHES])


def _stand_in(mapping: Mapping[str, Any]) -> Application:
    """The application as it is; one that breaks rules must be mendable, so then its policy."""
    try:
        return from_mapping(mapping)
    except InvalidApplication:
        policy, _ = _policy(mapping)
        return Application(client_id=mapping["client_id"], confidential=False, policy=policy)


def _policy(mapping: Mapping[str, Any]) -> tuple[Policy, bool]:
    """The policy, and whether it is sound: if not, one with lifetimes that are not shorter.

    That is what can be told of it: no preset has longer ones than `native`.
    """
    written = mapping.get("policy")
    written = written if isinstance(written, Mapping) else {}
    try:
        return Policy.from_mapping(written), True
    except InvalidPolicy:
        longest: dict[str, Any] = {"preset": "native"}
    for name in ("access_ttl_seconds", "absolute_ttl_seconds"):
        seconds = written.get(name)
        if type(seconds) is int and getattr(PRESETS["native"], name) < seconds <= MAX_SECONDS:
            longest[name] = seconds
    return Policy.from_mapping(longest), False


def _newest_hash(mapping: Mapping[str, Any]) -> list[str]:
    return [value.hex() for value in Attributes(mapping).hashes("secret_hashes")[:1]]


def _fixed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Clients are built for the one or the other: what has a secret cannot become public."""
    was = before.get("confidential")
    if isinstance(was, bool) and after.get("confidential") is not was:
        return ["confidential cannot be changed; register another application"]
    return []


def _not_writable(mapping: Mapping[str, Any]) -> list[str]:
    return [f"{name} cannot be written" for name in sorted(NOT_WRITABLE & mapping.keys())]


def _merged(mapping: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396, with attributes that are not there for null ones."""
    merged = dict(mapping)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping):
            there = merged.get(name)
            merged[name] = _merged(there if isinstance(there, Mapping) else {}, value)
        else:
            merged[name] = value
    return merged
