"""Mechanisms by their names on the command line, for `frontier` and `tune`."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from del_audit.configuration.mechanisms import (
    KINDS,
    LARGEST_EPSILON,
    MOST_WORDS,
    CoarseWordsMechanism,
    DelMechanism,
    WordMechanism,
)
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.registry import MECHANISMS

DEL, COARSE = "del", "coarse-words"
OVER_WORDS = tuple(kind for kind in KINDS if kind not in (DEL, COARSE))
INNER = "randomized-response"
DEFAULTS = (
    "del",
    "randomized-response",
    "subset-selection",
    "projective-geometry",
    "coarse-words:64",
    "coarse-words:128",
    "coarse-words:256",
    "coarse-words:1024:subset-selection",
)
LEAST, LARGEST = 0.01, 1_000.0
"""Nats of one token. Below nothing is told, and beyond all is: there is nothing to compare."""
_LABELS = {
    "del": "DEL",
    "randomized-response": "response",
    "subset-selection": "subset",
    "projective-geometry": "geometry",
}
_TITLES = {kind: "DEL" if kind == DEL else MECHANISMS[kind.replace("-", " ")].name for kind in _LABELS}


@dataclass(frozen=True, slots=True)
class Named:
    """A mechanism that is asked for. symbols, inner: of coarse words, None and "" for the others."""

    kind: str
    symbols: int | None = None
    inner: str = ""

    @classmethod
    def parse(cls, text: str) -> "Named":
        """Returns the mechanism of a name: a kind, or coarse-words:SYMBOLS, or coarse-words:SYMBOLS:INNER.

        Raises UserError for any other text.

        >>> Named.parse("coarse-words:128").name, Named.parse("coarse-words:64:subset-selection").inner
        ('coarse-words:128', 'subset-selection')
        """
        kind, *more = text.split(":")
        if kind != COARSE and (kind not in KINDS or more):
            raise UserError(_unknown(text))
        if kind != COARSE:
            return cls(kind)
        if len(more) not in (1, 2) or not more[0].isascii() or not more[0].isdecimal():
            raise UserError(
                f"Expected {COARSE}:SYMBOLS or {COARSE}:SYMBOLS:INNER, such as coarse-words:128, got {text!r}."
            )
        symbols, inner = int(more[0]), more[1] if len(more) == 2 else INNER
        if not 2 <= symbols <= MOST_WORDS:
            raise UserError(f"Expected the symbols of {COARSE} in 2..{MOST_WORDS}, got {text!r}.")
        if inner not in OVER_WORDS:
            raise UserError(f"Expected the inner mechanism of {COARSE} among {', '.join(OVER_WORDS)}, got {text!r}.")
        return cls(kind, symbols, inner)

    @classmethod
    def of(cls, mechanism: DelMechanism | WordMechanism) -> "Named":
        """Returns the name of a configuration's mechanism, whatever its epsilon and its other options."""
        if isinstance(mechanism, CoarseWordsMechanism):
            return cls(mechanism.kind, mechanism.symbols, mechanism.inner.kind)
        return cls(mechanism.kind)

    @property
    def name(self) -> str:
        """Its name on the command line."""
        inner = "" if self.inner in ("", INNER) else f":{self.inner}"
        return self.kind if self.symbols is None else f"{self.kind}:{self.symbols}{inner}"

    @property
    def label(self) -> str:
        """Its name beside a mark of the picture: short."""
        if self.symbols is None:
            return _LABELS[self.kind]
        return f"{self.symbols} words" + ("" if self.inner == INNER else f", {_LABELS[self.inner]}")

    @property
    def title(self) -> str:
        """Its name in the picture's legend.

        >>> Named.parse("coarse-words:1024:subset-selection").title
        '1,024 coarse words, subset selection'
        """
        if self.symbols is None:
            return _TITLES[self.kind]
        return f"{self.symbols:,} coarse words" + ("" if self.inner == INNER else f", {_TITLES[self.inner]}")

    def fields(self, epsilon: float) -> dict[str, Json]:
        """Returns what a configuration says of it at a pure epsilon (nats); DEL is calibrated instead."""
        if self.symbols is None:
            return {"kind": self.kind, "epsilon": epsilon}
        return {"kind": self.kind, "symbols": self.symbols, "inner": {"kind": self.inner, "epsilon": epsilon}}


def parse_all(texts: Sequence[str]) -> tuple[Named, ...]:
    """Returns the mechanisms of the names, in their order; raises UserError for none, one twice, and as Named.parse."""
    found = tuple(Named.parse(text) for text in texts if text)
    if not found:
        raise UserError(
            f"Expected --mechanisms to name one mechanism or more, got none. For all: {','.join(DEFAULTS)}."
        )
    if len(set(found)) != len(found):
        twice = next(each.name for each in found if found.count(each) > 1)
        raise UserError(f"Expected each of --mechanisms once, got {twice!r} twice.")
    return found


def checked_epsilons(epsilons: Sequence[float], largest: float = LARGEST) -> tuple[float, ...]:
    """Returns the epsilons (nats of one token), rising; raises UserError for none, one twice and one out of range."""
    if not epsilons:
        raise UserError("Expected --epsilons to hold one number or more, got none.")
    for epsilon in epsilons:
        if not LEAST <= epsilon <= largest:
            raise UserError(f"Expected --epsilons in [{LEAST:g}, {largest:g}], nats of one token, got {epsilon:g}.")
    if len(set(epsilons)) != len(epsilons):
        raise UserError(f"Expected each of --epsilons once, got {', '.join(f'{each:g}' for each in epsilons)}.")
    return tuple(sorted(epsilons))


def too_large(named: Named, epsilon: float) -> str:
    """Returns why a mechanism is not measured at an epsilon that its configuration does not take; "" where it is."""
    if named.kind == DEL or epsilon <= LARGEST_EPSILON:
        return ""
    return f"left out: mechanisms of pure epsilon are taken at {LARGEST_EPSILON:g} nats at most"


def _unknown(text: str) -> str:
    known = [*KINDS, *DEFAULTS[-4:]]
    near = difflib.get_close_matches(text, known, 1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    kinds = [f"{kind}:SYMBOLS[:INNER]" if kind == COARSE else kind for kind in KINDS]
    return f"Expected --mechanisms among {', '.join(kinds)}, got {text[:100]!r}.{hint}"
