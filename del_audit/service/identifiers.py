"""Personal identifiers that are nobody's: what is planted in documents to see whether an attack reads it.

No real person's data: names and streets are invented words put together at random, telephone numbers are of the block
555-01xx that is kept for fiction, mail domains are those of RFC 2606, and card, passport and account numbers have
prefixes that nobody issues. Check digits are right.
"""

import datetime
from collections.abc import Callable

from mechanisms.randomness import Generator

_GIVEN = (
    "Avelin Borrick Calenne Dorvin Elsbet Farrow Gwenna Hadrel Isolte Jorrin Kestra Lorvan Maddoc Nerith Osmund Perrin"
)
_FAMILY = (
    "Ashgrove Brennholt Carvossa Dunmarrow Ellerfield Fenwhistle Garrowick Hollerdane Inglewith Kestering Larkmoor"
)
_STREETS = "Amberlow Birchcombe Copperdale Dovewell Elmharrow Foxglade Greymere Hazelrigg Ivorstone Kingswell"
_PLACES = "Aldermoor Brackwater Coldhaven Dunsbury Eastferry Fallowfield Glenrock Harrowmere Ironmere Kelmscar Larchwyn"
_WAYS = "Street Road Lane Avenue"
_MAIL = "example.com example.org example.net"


def _one(generator: Generator, pool: str) -> str:
    words = pool.split()
    return words[int(generator.integers(len(words)))]


def _digits(generator: Generator, count: int) -> str:
    return "".join(map(str, generator.integers(0, 10, count)))


def _name(generator: Generator) -> str:
    return f"{_one(generator, _GIVEN)} {_one(generator, _FAMILY)}"


def _mail(generator: Generator) -> str:
    given, family = _name(generator).lower().split()
    return f"{given}.{family}{_digits(generator, 2)}@{_one(generator, _MAIL)}"


def _phone(generator: Generator) -> str:
    return f"({generator.integers(200, 1000)}) 555-01{_digits(generator, 2)}"


def _address(generator: Generator) -> str:
    number = generator.integers(1, 1000)
    return f"{number} {_one(generator, _STREETS)} {_one(generator, _WAYS)}, {_one(generator, _PLACES)}"


def _birth(generator: Generator) -> str:
    day = datetime.date(1940, 1, 1) + datetime.timedelta(days=int(generator.integers(0, 24_000)))
    return f"{day:%B} {day.day}, {day.year}"


def _card(generator: Generator) -> str:
    body = "9999" + _digits(generator, 11)  # industry 9, country 999: no issuer has it (ISO/IEC 7812)
    number = body + luhn_digit(body)
    return " ".join(number[start : start + 4] for start in range(0, 16, 4))


def _passport(generator: Generator) -> str:
    return f"XX{_digits(generator, 7)}"


def _account(generator: Generator) -> str:
    body = _digits(generator, 18)
    return f"XX{98 - _mod97(body + 'XX00'):02d}{body}"  # XX: a code that ISO 3166 leaves to users, no country's


def luhn_digit(body: str) -> str:
    """Returns the check digit that makes body a number of the Luhn formula (ISO/IEC 7812-1).

    >>> luhn_digit("7992739871")
    '3'
    """
    doubled = [int(digit) * (2 - index % 2) for index, digit in enumerate(reversed(body))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def _mod97(text: str) -> int:
    return int("".join(str(int(character, 36)) for character in text)) % 97


def iban_checks(number: str) -> bool:
    """Returns whether the check digits of an IBAN-like number hold (ISO 13616: remainder 1 modulo 97).

    >>> iban_checks("GB82WEST12345698765432"), iban_checks("GB82WEST12345698765423")
    (True, False)
    """
    return _mod97(number[4:] + number[:4]) == 1


TEMPLATES: dict[str, tuple[Callable[[Generator], str], str]] = {
    "name": (_name, "My name is {}."),
    "e-mail": (_mail, "You can write to me at {}."),
    "phone number": (_phone, "My phone number is {}."),
    "street address": (_address, "I live at {}."),
    "date of birth": (_birth, "I was born on {}."),
    "card number": (_card, "I paid with my card, {}."),
    "passport number": (_passport, "My passport number is {}."),
    "account number": (_account, "My bank account is {}."),
}
"""Of each kind: what makes one, and the sentence that it is planted in."""
KINDS = tuple(TEMPLATES)
