"""Rotating the two secrets in Secrets Manager's four steps. Each step may be repeated.

    step          signing keys and peppers alike
    ----          ------------------------------
    createSecret  makes the next text and puts it as the version AWSPENDING
    setSecret     nothing: nobody else has to be told
    testSecret    reads it as the functions will, and signs and verifies with its keys
    finishSecret  moves AWSCURRENT to it; KMS keys that are in no slot any more are given up

Killed between any two steps: the next try of the same step goes on from what is stored. Nothing is
lost but a KMS key that no version names; `KmsKeys.give_up` finds it by its tag.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import jwt

from ratchet import events, key_rotation
from ratchet.errors import Fault
from ratchet.key_rotation import NotSettled
from ratchet.keys import SigningKey, generate_jwk, peppers, signing_keys
from ratchet.kms_keys import KmsKeys
from ratchet.secret_cache import FRESH_SECONDS
from ratchet.secret_versions import CURRENT, PENDING, Described, SecretVersions
from ratchet.signing import signs_with

DROPPING = "ratchet-dropping"
"""The label of a version on its way to AWSCURRENT past a rotation."""
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


class NotRotating(Fault):
    """Secrets Manager's state and this call do not go together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How one of the two secrets is rotated.

    promotes: whether a rotation of this text would put something to use that was only published.
    make: from the current text and its version, at `now`, the next text. test: raises Fault when a
    text is not fit for use. finish: what is left to do at `now`, once a text is current.
    """

    versions: SecretVersions
    promotes: Callable[[str], bool]
    make: Callable[[str, str, int], str]
    test: Callable[[str], None]
    finish: Callable[[int], None]


def signing_key_rotation(
    versions: SecretVersions, kms: KmsKeys, *, backend: str, algorithm: str, rsa_bits: int
) -> Rotation:
    """backend: where the private half of a new key is, `secretsmanager` or `kms`."""
    new_jwk = new_jwk_of(kms, backend=backend, algorithm=algorithm, rsa_bits=rsa_bits)

    def make(secret: str, version: str, _now: int) -> str:
        return key_rotation.rotated_signing_keys(secret, new_jwk, made_from=version)

    def test(secret: str) -> None:
        keys = signing_keys(secret)
        # The previous one never signs again; it must not be in the way of the others.
        for key in (keys.next, keys.current):
            if key is not None:
                test_key(key, kms)

    def finish(now: int) -> None:
        # What is current now: somebody may have dropped a key since.
        published = signing_keys(versions.value()).published()
        # Also when the backend has been changed back: the last KMS keys still leave the slots.
        kms.give_up(kept={key.kms_key for key in published if key.kms_key}, now=now)

    return Rotation(
        versions=versions,
        promotes=key_rotation.promotes_signing_key,
        make=make,
        test=test,
        finish=finish,
    )


def pepper_rotation(versions: SecretVersions) -> Rotation:
    def make(secret: str, version: str, now: int) -> str:
        return key_rotation.rotated_peppers(secret, made_from=version, now=now)

    def test(secret: str) -> None:
        peppers(secret)

    return Rotation(
        versions=versions,
        promotes=key_rotation.promotes_pepper,
        make=make,
        test=test,
        finish=lambda _now: None,
    )


def new_jwk_of(
    kms: KmsKeys, *, backend: str, algorithm: str, rsa_bits: int
) -> Callable[[], dict[str, str]]:
    """How a new signing key is made. Raises botocore's errors when called, for KMS."""
    if backend == "kms":
        return lambda: kms.create(algorithm, rsa_bits=rsa_bits)
    return lambda: generate_jwk(algorithm, rsa_bits=rsa_bits)


def rotate(
    step: str, token: str, rotation: Rotation, *, longest_access_ttl_seconds: int, now: int
) -> None:
    """One step for the version `token`.

    Raises NotRotating, NotSettled (with the time left), InvalidSecret and botocore's errors.
    """
    versions = rotation.versions
    described = versions.describe()
    labels = described.labels.get(token)
    # The checks that AWS's own rotation template makes.
    if not described.rotation_enabled:
        raise NotRotating("the secret is not set up for rotation")
    if labels is None:
        raise NotRotating("the secret has no such version")
    if CURRENT in labels:
        if step == "finishSecret":
            versions.drop_pending(token)
            rotation.finish(now)
        return
    if PENDING not in labels:
        raise NotRotating("the version is not pending")
    if step not in STEPS:
        raise NotRotating("no such step")
    pending = versions.value(token)
    if step == "createSecret" and not pending:
        current = versions.value()
        settles_at = key_rotation.settles_at(
            described.published_at, longest_access_ttl_seconds=longest_access_ttl_seconds
        )
        if now < settles_at and rotation.promotes(current):
            # A rotation that is left pending would be in the way of the next one.
            versions.drop_pending(token)
            raise NotSettled(settles_at, now)
        versions.put(rotation.make(current, described.current or "", now), token)
        return
    if step in ("testSecret", "finishSecret") and not pending:
        raise NotRotating("the pending version has no value yet")
    if pending and key_rotation.made_from(pending) != (described.current or ""):
        # Somebody has changed the secret since, perhaps to drop a key that has leaked: what was
        # made from the former version must not bring it back.
        versions.drop_pending(token)
        raise NotRotating("the secret has changed since this rotation began; begin a new one")
    if step == "testSecret":
        rotation.test(pending)
    elif step == "finishSecret":
        versions.promote(token, described, now)
        events.log("rotated", outcome="rotated")
        rotation.finish(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """The secret's text before and after. unknown_until: until when a verifier may have a JWK set
    without the key that signs now; past, where it has been published for long enough."""

    before: str
    after: str
    unknown_until: int


def drop(
    kid: str,
    versions: SecretVersions,
    kms: KmsKeys,
    new_jwk: Callable[[], dict[str, str]],
    *,
    now: int,
) -> Dropped:
    """The emergency: takes a signing key out of its slot at once, and ends a rotation on its way.

    Raises UnknownKey, InvalidSecret, Fault and botocore's errors.
    """
    described = versions.describe()
    before = versions.value(described.current)
    after = key_rotation.without_signing_key(before, kid, new_jwk)
    known = {key.kid for key in signing_keys(before).published()}
    for key in signing_keys(after).published():
        # Not the others: two that KMS refuses must not keep each other in their slots.
        if key.kid not in known:
            test_key(key, kms)
    _put_at_once(after, versions, described, now)
    was_current = signing_keys(before).current.kid == kid
    seen_by_all = described.published_at + key_rotation.VERIFIER_CACHE_SECONDS + FRESH_SECONDS
    return Dropped(before=before, after=after, unknown_until=seen_by_all if was_current else 0)


def drop_pepper(pepper_id: int, versions: SecretVersions, *, now: int) -> Dropped:
    """The emergency: takes a pepper away at once, and with it every refresh token that carries it.

    unknown_until: until when an instance may refuse tokens of the pepper that is current now; past,
    where it has been published for long enough. Raises UnknownKey, InvalidSecret, Fault and
    botocore's errors.
    """
    described = versions.describe()
    before = versions.value(described.current)
    after = key_rotation.without_pepper(before, pepper_id)
    _put_at_once(after, versions, described, now)
    was_current = peppers(before).current == pepper_id
    return Dropped(
        before=before,
        after=after,
        unknown_until=described.published_at + FRESH_SECONDS if was_current else 0,
    )


def _put_at_once(text: str, versions: SecretVersions, described: Described, now: int) -> None:
    version = str(uuid.uuid4())
    versions.put(text, version, label=DROPPING)
    # Refused when somebody else was faster: their change must not be undone by ours.
    versions.promote(version, described, now)
    for other, labels in versions.describe().labels.items():
        if PENDING in labels and CURRENT not in labels:
            # Made from what was current before, it would bring back what was dropped.
            versions.drop_pending(other)


def test_key(key: SigningKey, kms: KmsKeys) -> None:
    """Signs with it as `signing` does, verifies with what verifiers will see. Raises Fault."""
    token = signs_with(key, kms)({"test": key.kid})
    try:
        published = jwt.PyJWK(key.public_jwk)
        jwt.decode(token, published.key, algorithms=[key.public_jwk["alg"]])
    except jwt.PyJWTError as error:
        raise Fault(f"the key {key.kid} cannot be used: {type(error).__name__}") from None
