"""E-mail addresses as names of accounts: every way to write one becomes the same text.

Nothing is ever sent to what comes out of here; it is only compared. So the local part is folded
further than a mail server must, and two addresses that look alike to a person's keyboard (case,
width, composed or not, punycode or not) are one account.

What is *not* folded: look-alikes of another script. A Cyrillic a is another letter than a Latin
one, and the dotless i of Turkish another than i; upper-casing first would make those two one.
"""

import re
import unicodedata

import idna

MAX_LENGTH = 254
"""Of a path in RFC 5321 section 4.5.3.1.3, without its angle brackets."""
MAX_LOCAL_BYTES = 64

# RFC 5322 section 3.2.3 atext, and RFC 6532 section 3.2 for all that is not ASCII.
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010FFFF-]+")
# Shown as nothing, though Unicode does not call them format characters.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Control, format (zero width, direction), surrogate, private, unassigned; every kind of space.
_FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}


class InvalidEmail(ValueError):
    """The message is for a developer and quotes nothing of the address."""


def normalise(text: str) -> str:
    """The one spelling of an address: `Ada@EXAMPLE.com` is `ada@example.com`.

    Local part: NFKC and full case folding. Domain: A-labels of IDNA 2008 (UTS 46, non-transitional,
    so that ß is not ss). Raises InvalidEmail for what cannot be an address.
    """
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise InvalidEmail("too long")
    text = unicodedata.normalize("NFKC", text)
    if any(unicodedata.category(character) in _FORBIDDEN for character in text):
        raise InvalidEmail("a space or an invisible character")
    if _INVISIBLE.search(text):
        raise InvalidEmail("a space or an invisible character")
    local, at, domain = text.partition("@")
    if not at or "@" in domain:
        raise InvalidEmail("not one @")
    address = f"{_local(local)}@{_domain(domain)}"
    if len(address.encode()) > MAX_LENGTH:
        raise InvalidEmail("too long")
    return address


def _local(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text.casefold())
    # A second time, because composing can bring back what folds (Unicode section 3.13, D146).
    folded = unicodedata.normalize("NFKC", folded.casefold())
    if not all(_ATOM.fullmatch(atom) for atom in folded.split(".")):
        raise InvalidEmail("a character that may not stand before the @")
    if unicodedata.category(folded[0]).startswith("M"):
        raise InvalidEmail("it starts with a combining mark")
    if len(folded.encode()) > MAX_LOCAL_BYTES:
        raise InvalidEmail("too long before the @")
    return folded


def _domain(text: str) -> str:
    try:
        domain = idna.encode(text, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise InvalidEmail("not a domain name") from None
    if domain.endswith("."):
        raise InvalidEmail("not a domain name")
    return domain
