"""A whole certificate by hand: the figures are of a real run's size, the curve is a Gaussian's."""

import copy
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm


def figure(
    value: float, low: float, high: float, unit: str, sample: int = 300, of: str = "documents"
) -> dict[str, Any]:
    return {
        "value": value,
        "lower": low,
        "upper": high,
        "unit": unit,
        "sample": sample,
        "sample_unit": of,
        "method": "Clopper-Pearson",
        "confidence": 0.95,
        "kind": "estimated, with interval",
        "documents": None,
        "seed": None,
    }


def read(value: float, sample: int = 20_000) -> dict[str, Any]:
    half = 1.96 * (value * (1 - value) / sample) ** 0.5
    return figure(value, max(0.0, value - half), min(1.0, value + half), "share of tokens recovered", sample, "tokens")


NAMES_RULE = "tokens of a word with a capital first and a small letter later, not at the start of a prompt"


def sliced(name: str, rule: str, tokens: int, value: float, guess: float) -> dict[str, Any]:
    """A slice's figure, or none with the reason where it has too few tokens."""
    few = tokens < 30
    figures = [{**read(v, max(tokens, 1)), "unit": f"share of {name} recovered"} for v in (value, guess)]
    why = f"too few tokens: {tokens} of 3 documents, where 30 of two documents are needed" if few else ""
    success, baseline = (None, None) if few else figures
    about = {"name": name, "rule": rule, "tokens": tokens, "documents": 3 if few else 250}
    return {**about, "success": success, "baseline": baseline, "why": why, "above": None if few else success["lower"]}


def slices(value: float, rare: float, tokens: int) -> list[dict[str, Any]]:
    return [
        sliced("words 1 to 100", "by rank in the public prior", tokens // 2, min(1.0, 2 * value), 0.08),
        sliced("rare words", "of public prior below 1e-05", tokens // 20, rare / 2, 0.0),
        sliced("names", NAMES_RULE, tokens // 50, rare, 0.0),
        sliced("numbers", "tokens with a digit", tokens // 200, rare / 3, 0.0),
    ]


def attack(key: str, name: str, value: float, rare: float, tokens: int = 20_000) -> dict[str, Any]:
    return {
        "key": key,
        "name": name,
        "version": 1,
        "slices": slices(value, rare, tokens),
        "context_free": tokens == 20_000,
        "broken_below": read(value, tokens)["lower"] if tokens == 20_000 else None,
        "success": read(value, tokens),
        "above": read(value, tokens)["lower"],
        "meaning": {**read(min(1.0, 1.4 * value), tokens), "unit": "share of tokens recovered up to meaning"},
        "meaning_above": read(min(1.0, 1.4 * value), tokens)["lower"],
        "worst_of_releases": None,
        "rare": read(rare, tokens // 2),
        "worst_prompt": read(min(1.0, 3 * value), 64),
    }


def picked(tokens: int, candidates: int, decoys: str, lengths: str, value: float) -> dict[str, Any]:
    success = figure(value, max(0.0, value - 0.05), min(1.0, value + 0.04), "share of texts picked out", 100, "texts")
    about = {"version": 1, "tokens": tokens, "candidates": candidates, "decoys": decoys, "lengths": lengths}
    return {**about, "success": success, "chance": 1 / candidates}


def nats(value: float, half: float = 0.03, sample: int = 96) -> dict[str, Any]:
    return figure(value, value - half, value + half, "nats per token", sample, "prompts")


def bound(value: float) -> dict[str, Any]:
    return {"lower": value, "estimate": value, "upper": value, "kind": "proved"}


def guarantee(
    unit: str, tokens: int, epsilon: float, pure: float, mu: float, gamma: float, limit: float
) -> dict[str, Any]:
    return {
        "spec": SPEC,
        "unit": unit,
        "tokens": tokens,
        "sends": 1,
        "trials": 270 * tokens,
        "delta": 1e-5,
        "epsilon": {key: bound(epsilon)[key] for key in ("lower", "estimate", "upper")},
        "pure_epsilon": dict.fromkeys(("lower", "estimate", "upper"), pure),
        "total_variation": dict.fromkeys(("lower", "estimate", "upper"), 0.9994559121817811),
        "gaussian_limit": {"mu": mu, "gamma": gamma, "epsilon_certified": None, "epsilon_ignoring_gamma": limit},
        "adjacency": f"two prompts of equal length that differ in at most {tokens} tokens, each token sent once",
        "kind": "proved",
    }


def probe(column: str, classes: list[str], values: tuple[float, float, float]) -> dict[str, Any]:
    other, released, clean = values

    def balanced(value: float) -> dict[str, Any]:
        return figure(value, value - 0.05, value + 0.05, "mean recall over classes")

    def share(value: float) -> dict[str, Any]:
        return figure(value, value - 0.04, value + 0.04, "share of documents")

    chance = 1 / len(classes)
    advantage = (released - chance) / (1 - chance)
    return {
        "column": column,
        "features": "MAP-decoded words",
        "validation_balanced_accuracy": released + 0.01,
        "chance": chance,
        "balanced_accuracy": balanced(released),
        "advantage": figure(
            advantage, max(0, advantage - 0.06), advantage + 0.06, "share of the way from chance to certainty"
        ),
        "accuracy": share(released + 0.2),
        "clean_balanced_accuracy": balanced(clean),
        "clean_accuracy": share(clean + 0.12),
        "other_users_release_balanced_accuracy": balanced(other),
        "majority_accuracy": share(0.51),
        "over_majority": figure(released - 0.2, released - 0.26, released - 0.14, "share of documents"),
        "recalls": {
            name: figure(released, released - 0.1, released + 0.1, "share of the class told") for name in classes
        },
    }


SPEC = {"bits": 4, "dim": 18, "clip": 0.05, "scale": 0.24000425166302058}
CONDITIONS = {
    "released prompt": 3.93,
    "another user's released prompt": 4.11,
    "soft prompt alone": 4.09,
    "no prompt": 4.42,
    "clean prompt": 3.48,
    "another user's clean prompt": 4.21,
}
COHERENCE = {
    "released prompt": 0.19,
    "another user's released prompt": 0.12,
    "soft prompt alone": 0.11,
    "no prompt": 0.06,
    "clean prompt": 0.37,
    "the prompt itself as answer": 0.53,
    "an unrelated response": 0.17,
}


def _perplexity(loss: dict[str, Any]) -> dict[str, Any]:
    ends = {key: float(np.exp(loss[key])) for key in ("value", "lower", "upper")}
    return {**loss, **ends, "unit": "perplexity per token"}


def _utility() -> dict[str, Any]:
    losses = {name: nats(value, 0.12) for name, value in CONDITIONS.items()}
    return {
        "paired_gain": nats(0.1817),
        "gains_over": {"no prompt": nats(0.49), "soft prompt alone": nats(0.16)},
        "clean_paired_gain": nats(0.7291),
        "share_of_clean_gain": figure(0.2492, 0.2103, 0.2911, "share of the clean gain", 96, "prompts"),
        "losses": losses,
        "perplexity": {name: _perplexity(loss) for name, loss in losses.items()},
        "coherence": {name: figure(v, v - 0.04, v + 0.04, "cosine", 32, "prompts") for name, v in COHERENCE.items()},
        "task": probe("rating", ["1", "2", "3"], (0.334, 0.391, 0.553)),
        "other_bits": [
            {
                "spec": {**SPEC, "bits": bits, "scale": scale},
                "delta": 1e-5,
                "epsilon": bound(epsilon),
                "paired_gain": nats(gain, 0.05, 48),
                "strongest_attack": read(success, 4_000),
            }
            for bits, scale, epsilon, gain, success in (
                (1, 0.0786, 27.073022638213, 0.1213, 0.0871),
                (2, 0.1163, 43.7567121084752, 0.1534, 0.1011),
                (8, 0.9691, 53.4418649826756, 0.1893, 0.1202),
            )
        ],
    }


def _curve(mu: float) -> dict[str, Any]:
    alpha = np.concatenate([[0.0], np.logspace(-4, 0, 200)])
    limit = norm.cdf(norm.isf(alpha) - mu)
    return {
        "unit": "token",
        "alpha": alpha.tolist(),
        "exact": np.minimum(1.0, 1.3 * limit * (1 - alpha)).tolist(),
        "gaussian_limit": limit.tolist(),
    }


HASHED = (
    *("configuration", "spec", "encoder", "decoder", "prior", "model", "tokenizer", "soft_prompt", "corpus", "source"),
    *("public_texts", "private_texts"),
)
WRITTEN = ["I", " was", " on", " this", " for", " two", " weeks", " &", " the", " head", "aches", " got", " worse",
           ",", "\n", "so", " I", " stopped", " it", "."]  # fmt: skip
MAP_READS = [" the", " was", " a", " this", " to", " for", " the", " and", " the", " of", "s", " and", ".", ",", ",",
             " the", " I", " the", " it", "."]  # fmt: skip


def reading(key: str, name: str, read: list[str]) -> dict[str, Any]:
    hits = "".join(str(int(a == b)) for a, b in zip(read, WRITTEN, strict=True))
    return {"attack": name, "key": key, "read": read, "hits": hits}


REQUIRED = ["baseline", "cosine", "code", "likelihood", "map", "beam"]
CERTIFICATE: dict[str, Any] = {
    "format": "del-audit certificate 6",
    "name": "smollm2-reviews",
    "assurance": "full",
    "requires": REQUIRED,
    "attempts": {"private_texts": "c" * 64, "count": 2, "previous": "d" * 64},
    "error_rate": {"false_certified_at_most": 0.025, "over_all_attempts_at_most": 0.05, "kind": "estimated"},
    "sections": {},
    "claim": {
        "kind": "blind",
        "says": "Blind: the limits hold against attackers who know how common words are and a language model, and "
        "nothing else of the text (estimate).",
    },
    "verdict": "certified",
    "reasons": [],
    "checks": [
        {
            "limit": "attacks within the guarantee",
            "asked": "at most 0.9577 (theorem 6, kappa 0.0423)",
            "found": "every attack's rate is at least 0.1072 or less",
            "status": "passed",
            "reason": "No attack reads more than the guarantee allows: the implementation is not contradicted.",
        },
        {
            "limit": "attacks of full assurance",
            "asked": ", ".join(REQUIRED),
            "found": "all of them",
            "status": "passed",
            "reason": "Every attack that the level requires was run and works.",
        },
        {
            "limit": "epsilon of a token (1 token) at delta 1e-05",
            "asked": "at most 60 nats",
            "found": "at most 51.3797 nats",
            "status": "passed",
            "reason": "The exact guarantee is within the limit.",
        },
        {
            "limit": "strongest attack",
            "asked": "at most 0.15 (share of tokens recovered)",
            "found": "MAP, unigram prior: 0.1153 [0.1109, 0.1198], 20,000 tokens",
            "status": "passed",
            "reason": "The whole 95% interval is within the limit.",
        },
        {
            "limit": "bytes per token",
            "asked": "at most 9",
            "found": "9",
            "status": "passed",
            "reason": "Counted on the wire; the header comes once per message.",
        },
    ],
    "not_protected": [
        "The number of tokens of a prompt, its time and its sender: the message shows them.",
        "A prompt sent again: each sending is a fresh release, and their guarantees add up (unit: session).",
        "A whole prompt: its epsilon is that of as many trials as its tokens have together (unit: prompt).",
        "What many tokens tell together, such as the topic or an attribute of the author, although no single one does.",
        "The answer, which the server writes and sees.",
        "An attacker who knows more of a token than its frequency (a language model over its neighbours, for one).",
    ],
    "guarantees": [
        guarantee("token", 1, 51.37970026615638, 114.16926633305197, 7.0, 0.03635738061081357, 53.57516676915689),
        guarantee(
            "phrase", 5, 182.32191483776123, 570.8463316652599, 15.652475842498, 0.016259514905922, 188.372458457411
        ),
        guarantee(
            "prompt", 48, 1341.0126273385663, 5480.124783986495, 48.497422611928, 0.00524773587067, 1381.8778758879
        ),
    ],
    "curve": _curve(7.0),
    "inversion": {
        "unit": "token",
        "sends": 1,
        "kappa": 0.0423,
        "allowed": {**bound(0.9577078906801515), "source": "theorem 6, any attacker who knows the token's frequency"},
        "strongest": "MAP, unigram prior",
        "attacks": [
            attack("baseline", "commonest word (baseline)", 0.0397, 0.0),
            attack("cosine", "cosine nearest neighbour (the paper's)", 0.0132, 0.0061),
            attack("code", "Euclidean nearest code", 0.0281, 0.0209),
            attack("likelihood", "maximum likelihood", 0.0287, 0.0214),
            attack("map", "MAP, unigram prior", 0.1153, 0.0167),
            attack("beam", "beam search, language model", 0.1021, 0.0182, tokens=2_048),
        ],
        "unusable": [],
        "not_run": ["two-sided", "contextual-beam"],
    },
    "knowing": {
        "context": {
            "version": 2,
            "context": "left",
            "success": read(0.3612, 3_072),
            "without": read(0.2653, 3_072),
            "lift": figure(0.0959, 0.0812, 0.1107, "share of tokens recovered", 64),
            "centre": read(0.2641, 3_072),
            "allowed": 0.9981,
            "broken_below": 0.33,
            "broken_above": 0.9985,
        },
        "lists": [
            picked(8, 100, "the other private texts", "equal", 0.987),
            picked(32, 100, "the other private texts", "equal", 1.0),
            picked(32, 10_000, "windows of public text", "equal", 0.99),
            picked(32, 100, "the other private texts", "true", 1.0),
        ],
        "lists_why": "",
        "context_both": {
            "version": 2,
            "context": "both sides",
            "success": read(0.4213, 512),
            "without": read(0.3302, 512),
            "lift": figure(0.0911, 0.0511, 0.1311, "share of tokens recovered", 64),
            "centre": read(0.3221, 512),
            "allowed": 0.9991,
            "broken_below": 0.35,
            "broken_above": 0.9993,
        },
    },
    "attribute": probe("condition", ["Birth Control", "Depression", "Pain", "Anxiety", "Acne"], (0.203, 0.287, 0.661)),
    "utility": _utility(),
    "bytes": {"a_token": 9.0, "header": 16, "a_prompt": 448, "a_prompt_of_clean_float32": 110_592},
    "examples": {
        "source": "public split, released here for show",
        "written": WRITTEN,
        "sent": "44454c31" + "5f0c9a1b7e2d4c88" + "28000000" + "7a86b9757c68a97b" * 4,
        "tokens": len(WRITTEN),
        "readings": [
            reading("baseline", "commonest word (baseline)", ["."] * len(WRITTEN)),
            reading("cosine", "cosine nearest neighbour (the paper's)", [" mig", *[" tes"] * 16, " took", " it", "."]),
            reading("map", "MAP, unigram prior", MAP_READS),
            reading("beam", "beam search, language model", [*MAP_READS[:8], " daily", *MAP_READS[9:]]),
        ],
    },
    "configuration": {
        "name": "smollm2-reviews",
        "model": "package:smollm2-135m-instruct",
        "mechanism": {"kind": "del", "bits": 4, "dim": 18, "clip": 0.05, "scale": None, "mu": 7.0},
        "data": {"corpus": "package:drug-reviews", "public_split": "train", "private_split": "test"},
        "soft_prompt": "shipped:smollm2-reviews",
        "evaluation": {"prompts": 96, "prompt_tokens": 48},
        "valid_days": 365,
        "policy": {
            "assurance": "full",
            "sends": 1,
            "prompt_tokens": 48,
            "session_days": 30,
            "epsilon": [{"unit": "token", "tokens": 1, "delta": 1e-5, "at_most": 60.0}],
            "attack_success_at_most": 0.15,
            "meaning_success_at_most": None,
            "slice_success_at_most": {"rare words": 0.03, "names": 0.05},
            "worst_prompt_success_at_most": None,
            "context_success_at_most": None,
            "list_success_at_most": None,
            "attribute_advantage_at_most": None,
            "paired_gain_at_least": 0.0,
            "share_of_clean_gain_at_least": None,
            "task_accuracy_at_least": None,
            "bytes_per_token_at_most": 9.0,
        },
    },
    "spec": SPEC,
    "hashes": {name: f"{i:x}" * 64 for i, name in enumerate(HASHED, 1)},
    "assets": [
        {
            "name": "package:smollm2-135m-instruct",
            "kind": "package",
            "version": "0.0.0",
            "sha256": "a" * 64,
            "licence": "Apache-2.0",
            "terms": "",
            "origin": "smollm2-package==0.0.0",
        },
        {
            "name": "package:drug-reviews",
            "kind": "package",
            "version": "0.0.1",
            "sha256": "b" * 64,
            "licence": "",
            "terms": "Research use only: see https://example.org/terms.",
            "origin": "reviews-package==0.0.1",
        },
    ],
    "soft_prompt": {
        "data": "package:drug-reviews",
        "virtual_tokens": 20,
        "loss_last_10": [3.9, 3.8],
        "training": {"steps": 75},
    },
    "versions": {"python": "3.11.2", "del-audit": "0.1.0", "torch": "2.13.0"},
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "seed": 0,
    "made": "2026-11-23T20:30:00+00:00",
    "expires": "2027-11-23T20:30:00+00:00",
    "reproduce": {
        "command": "del-audit certify smollm2-reviews.yaml",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "seed": 0,
    },
    "seconds": 214.3,
    "signature": {"algorithm": "Ed25519", "key": "A" * 43 + "=", "value": "B" * 86 + "=="},
}


@pytest.fixture
def certificate() -> dict[str, Any]:
    """Returns a certified certificate, fresh for each test."""
    return copy.deepcopy(CERTIFICATE)


@pytest.fixture
def bare_certificate(certificate: dict[str, Any]) -> dict[str, Any]:
    """Returns one without any part that a configuration may leave out."""
    certificate.update(attribute=None, soft_prompt=None, assets=[])
    del certificate["signature"]
    certificate["utility"].update(task=None, other_bits=[])
    certificate["configuration"]["policy"] = {
        **{name: certificate["configuration"]["policy"][name] for name in ("assurance", "sends", "prompt_tokens")},
        "epsilon": [],
        "bytes_per_token_at_most": 9.0,
    }
    for attack in certificate["inversion"]["attacks"]:
        attack.update(rare=None, slices=[])
    return certificate


@pytest.fixture
def refused_certificate(certificate: dict[str, Any]) -> dict[str, Any]:
    """Returns one that reads nearly all: the curve lies on the axes."""
    certificate["verdict"] = "refused"
    certificate["checks"][3].update(status="failed", reason="The whole 95% interval is beyond the limit.")
    certificate["reasons"] = ["strongest attack: The whole 95% interval is beyond the limit."]
    certificate["inversion"]["attacks"][4].update(success=read(0.973), rare=read(0.951, 9_312))
    certificate["inversion"]["allowed"].update(lower=1.0, estimate=1.0, upper=1.0)
    certificate["curve"] = _curve(40.0)
    return certificate
