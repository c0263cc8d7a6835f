"""A guarantee as plain text for a terminal: exact figures beside the paper's theorem."""

from decimal import ROUND_CEILING, Context

from scipy.special import ndtr

from del_audit.accounting.accountant import Guarantee

_LARGE_EPSILON = 10.0
_EIGHT_DIGITS = Context(prec=8, rounding=ROUND_CEILING)


def render(guarantee: Guarantee) -> str:
    """Returns lines of at most 100 columns: the spec, each figure with its kind, and what they mean."""
    spec, limit = guarantee.spec, guarantee.gaussian_limit
    certified = limit.epsilon_certified(guarantee.delta)
    gaussian_variation = 2 * float(ndtr(limit.mu / 2)) - 1
    rows = [
        ("figure", "exact", "Theorem 4.2", "mu-GDP, gamma ignored"),
        (
            f"epsilon at delta={guarantee.delta:g} (nats)",
            rounded_up(guarantee.epsilon.upper),
            "certifies none" if certified is None else rounded_up(certified),
            rounded_up(limit.epsilon_ignoring_gamma(guarantee.delta)),
        ),
        (
            "total variation",
            rounded_up(guarantee.total_variation.upper),
            rounded_up(limit.delta_certified(0.0)),
            rounded_up(gaussian_variation),
        ),
        ("pure epsilon (nats)", rounded_up(guarantee.pure_epsilon.upper), "certifies none", "infinite"),
        ("kind", guarantee.epsilon.kind, "upper bound", "asymptotic, no bound"),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    table.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(
        [
            f"Quantizer  bits={spec.bits} dim={spec.dim} clip={spec.clip:g} scale={spec.scale:.10g}, "
            f"{spec.token_bits} bits a token",
            f"Unit       {unit_line(guarantee)}, {guarantee.trials:,} trials",
            f"Between    {guarantee.adjacency}",
            "",
            *table,
            "",
            f"Theorem 4.2: mu={limit.mu:.6g}, gamma={limit.gamma:.4g}; "
            + (
                "it certifies nothing here, whatever delta."
                if limit.smallest_certified_delta >= 1
                else f"it certifies an epsilon for delta >= {limit.smallest_certified_delta:.4g} only."
            ),
            *_meaning(guarantee),
        ]
    )


def _meaning(guarantee: Guarantee) -> list[str]:
    """Returns the guarantee in words, with a warning where it is weak or covers little."""
    lines = [
        f"Meaning: whoever reads the release tells the two apart with an advantage of at most "
        f"{rounded_up(guarantee.total_variation.upper)};",
        "what is concluded from one with probability q is concluded from the other with at most",
        f"e^{rounded_up(guarantee.epsilon.upper)} q + {guarantee.delta:g}.",
    ]
    if guarantee.epsilon.upper > _LARGE_EPSILON:
        lines.append(f"An epsilon above {_LARGE_EPSILON:g} rules little out by itself: read it with the attacks.")
    if guarantee.unit == "token":
        lines.append("One token only: a phrase, prompt or session is that many times more trials (--unit, --tokens).")
    return lines


def unit_line(guarantee: Guarantee) -> str:
    """Returns the unit with its number of tokens, and how often each is sent where that is more than once."""
    resent = f", each sent {guarantee.sends} times" if guarantee.sends > 1 else ""
    return f"{guarantee.unit}, tokens={guarantee.tokens}{resent}"


def rounded_up(value: float) -> str:
    """Returns eight digits, rounded up: a figure that is quoted must not fall short of the bound."""
    return f"{_EIGHT_DIGITS.create_decimal(value):g}"
