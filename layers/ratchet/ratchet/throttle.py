"""How often a sign-in may be tried: a bucket that every attempt fills and time drains.

One number holds it, `empty_at`: the instant at which the bucket will be empty again. An attempt
moves it on by `seconds`; it is admitted while the bucket has room for one more.

    seconds = 300, attempts = 3
    now   0   bucket empty                    admitted, empty_at  300
          1                                   admitted, empty_at  600
          2                                   admitted, empty_at  900
          3   full                            refused, wait 297: until 900 - 2 * 300 = 300
        300                                   admitted, empty_at 1200

The longest anyone waits for the next attempt is `seconds`, however many came before: a refused
attempt does not count. (Generic cell rate algorithm, ITU-T I.371.)
"""

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address, ip_network

DAY = 24 * 60 * 60
KNOWN_SECONDS = 90 * DAY
"""How long an address counts as one that an account signs in from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """attempts: how many may come at once. seconds: how long each takes to drain."""

    attempts: int
    seconds: int

    def latest(self, now: int) -> int:
        """The largest empty_at that leaves room for one more attempt."""
        return now + (self.attempts - 1) * self.seconds

    def wait(self, empty_at: int, now: int) -> int:
        """Seconds until there is room for one more, 0 for now."""
        return max(0, empty_at - self.latest(now))


ACCOUNT = Limit(attempts=10, seconds=300)
"""For one account from all addresses together that it has not signed in from; and for each one
that it has. 288 guesses a day."""

ADDRESS = Limit(attempts=100, seconds=10)
"""For one source address over all accounts: an office behind one address shares it, and what
succeeds is given back."""


def account_key(email: str) -> str:
    """Hashed: what people type there by mistake is at times their password."""
    return f"account:{_digest(email)}"


def pair_key(email: str, source: str) -> str:
    """An account together with an address that it has signed in from."""
    return f"pair:{_digest(email)}:{source}"


def address_key(source: str) -> str:
    return f"address:{source}"


def source_of(ip: str) -> str:
    """The source address as it is counted: of IPv6 the network of 64 bits that one line gets."""
    try:
        address = ip_address(ip)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((int(address), 64), strict=False).network_address)
    return str(address)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
