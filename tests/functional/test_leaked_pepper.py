"""What a thief can do who has the pepper and a copy of the table, but no token (promise 5)."""

import secrets
from dataclasses import replace
from typing import Any

import pytest

from ratchet import refresh_token
from ratchet.errors import Fault
from ratchet.refresh_token import sid_of
from ratchet.session_item import from_item
from tests.functional.conftest import Service


@pytest.mark.parametrize("generations_back", [0, 1, 2])
def test_no_token_can_be_made_of_the_pepper_and_the_table(
    service: Service, generations_back: int
) -> None:
    """The table has hashes only, and the sealed token opens with its parent's secret alone. What a
    thief does get is a genuine MAC: presented as an old token, it ends the session."""
    first = service.start()
    second = service.refresh(first["refresh_token"])
    service.now += 1
    third = service.refresh(second["refresh_token"])
    stolen_table, peppers = service.item(first["sid"]), service.parts.peppers
    session = from_item(stolen_table)
    genuine = refresh_token.parse(third["refresh_token"], peppers=peppers, now=service.now)
    forged = refresh_token.mint(
        session_bytes=genuine.session_bytes,
        generation=session.generation - generations_back,
        idle_deadline_at=session.idle_deadline_at,
        absolute_deadline_at=session.absolute_deadline_at,
        peppers=peppers,
        now=service.now,
    )
    assert sid_of(forged.session_bytes) == session.sid
    assert session.sealed is not None
    with pytest.raises(Fault):
        refresh_token.unseal(session.sealed, parent=forged, peppers=peppers, now=service.now)
    answer = service.refresh(str(forged))
    assert answer.status == 400
    assert answer["error_reason"] == ("reused" if generations_back else "session_unknown")
    assert "access_token" not in answer.body


def test_the_seal_needs_the_secret_of_the_parent_and_not_its_hash(service: Service) -> None:
    first = service.start()
    service.refresh(first["refresh_token"])
    session = from_item(service.item(first["sid"]))
    peppers: Any = service.parts.peppers
    parent = refresh_token.parse(first["refresh_token"], peppers=peppers, now=service.now)
    assert session.sealed is not None
    assert session.parent_hash is not None
    for guess in (session.parent_hash, session.current_hash, secrets.token_bytes(32)):
        with pytest.raises(Fault):
            refresh_token.unseal(
                session.sealed,
                parent=replace(parent, secret=guess),
                peppers=peppers,
                now=service.now,
            )
