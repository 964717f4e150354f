"""Who sent a request, as far as it shows: its network and the family of its program.

Coarse on purpose. It is enough to tell a person's devices apart and to say whether a copied token
came from somewhere else; it follows nobody around, and an update of a browser or a new address in
the same network looks like the same sender. What a client wrote gets through only as one of our own
words, or as a short plain word.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from ratchet.session import MAX_AGENT

OTHER = "other"
_MAX_READ = 512
# The first that is there counts: all of them pass for some of those below them.
_SYSTEMS = (
    *(("iPhone", "iOS"), ("iPad", "iOS"), ("Android", "Android"), ("Windows", "Windows")),
    *(("Macintosh", "macOS"), ("Linux", "Linux"), ("X11", "Linux")),
)
_BROWSERS = (
    *((" Edg", "Edge"), (" OPR/", "Opera"), (" SamsungBrowser/", "Samsung")),
    *((" Firefox/", "Firefox"), (" FxiOS/", "Firefox")),
    *((" Chrome/", "Chrome"), (" CriOS/", "Chrome"), (" Safari/", "Safari")),
)
# Parts that are letters and then at most three digits, as in python-urllib3: no version that
# somebody wrote into the name, and nothing random.
_PART = "[A-Za-z]+[0-9]{0,3}"
_PRODUCT = re.compile(f"({_PART}(?:[._-]{_PART})*)(?:[/ ]|$)")


@dataclass(frozen=True, slots=True)
class Sender:
    """network: "203.0.113.0/24", "2001:db8:1::/48". agent: "Chrome on Windows", "python-httpx".

    Each "" if nothing is known.
    """

    network: str = ""
    agent: str = ""

    @classmethod
    def of(cls, source_ip: str, user_agent: str) -> "Sender":
        return cls(network_of(source_ip), agent_of(user_agent))


UNKNOWN = Sender()


def network_of(source_ip: str) -> str:
    """The network of an address: of IPv4 the first 24 bits, of IPv6 the first 48."""
    try:
        address = ip_address(source_ip)
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return f"{IPv6Address(int(address) >> 80 << 80)}/48"
        address = address.ipv4_mapped
    return f"{str(address).rpartition('.')[0]}.0/24"


def agent_of(user_agent: str) -> str:
    """The family of a User-Agent header, without any version.

    RFC 9110 section 10.1.5: product = token ["/" product-version], the most significant one first.
    """
    text = user_agent[:_MAX_READ]
    if text.startswith("Mozilla/"):
        browser = next((name for mark, name in _BROWSERS if mark in text), None)
        system = next((name for mark, name in _SYSTEMS if mark in text), None)
        return f"{browser} on {system}" if browser and system else OTHER
    product = _PRODUCT.match(text[: MAX_AGENT + 1])
    if product is None or len(product[1]) > MAX_AGENT:
        return OTHER if text else ""
    return product[1]
