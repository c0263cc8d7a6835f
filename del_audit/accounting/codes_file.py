"""What `del-audit account --codes` reads and prints: a vocabulary and how much less than the cube it allows."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting.accountant import Unit
from del_audit.accounting.guarantee_text import rounded_up, unit_line
from del_audit.accounting.vocabulary import Profile, Vocabulary, VocabularyGuarantee
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


def account_codes(
    path: Path, spec: QuantizerSpec, unit: Unit, tokens: int | None, sends: int, delta: float, as_json: bool
) -> int:
    """Prints cube, box and pairs for the codes in a file, and the profile of pairs; returns exit code 0."""
    vocabulary = Vocabulary.of(load_codes(path, spec), spec)
    found, profile = vocabulary.guarantee(unit, tokens, delta, sends), vocabulary.profile(delta)
    if as_json:
        print(json.dumps({**found.to_dict(), "profile": profile.to_dict()}, indent=2, allow_nan=False))
    else:
        print(render(found, profile))
    return 0


def load_codes(path: Path, spec: QuantizerSpec) -> NDArray[np.generic]:
    """Returns the array of a .npy file, or of a .safetensors file: an encoder's, one tensor, or one named codes.

    Raises UserError for any other file, for what cannot be read, and for an encoder of another dim or clip than the
    spec's. Never unpickles.
    """
    if path.suffix not in (".npy", ".safetensors"):
        raise UserError(f"Expected --codes to end in .npy or .safetensors, got {str(path)!r}.")
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        from safetensors.numpy import load

        data = path.read_bytes()  # once: what is checked below is what was looked at here
        tensors = load(data)
    except MemoryError:
        raise
    except Exception as error:  # numpy and safetensors raise what they like for a broken file
        raise UserError(f"Expected --codes to be a readable {path.suffix} file, got {str(path)!r}: {error}.") from None
    if "levels" in tensors:
        from mechanisms.encoder_file import read_encoder

        return read_encoder(data, str(path), spec)[0].codes
    if len(tensors) != 1 and "codes" not in tensors:
        names = ", ".join(sorted(tensors)) or "none"
        raise UserError(f"Expected one tensor in {str(path)!r}, or one named codes, got {names}.")
    return np.asarray(tensors["codes"] if "codes" in tensors else next(iter(tensors.values())))


def render(found: VocabularyGuarantee, profile: Profile) -> str:
    """Returns lines of text for a terminal."""
    cube, delta = found.cube, found.cube.delta
    lines = [
        f"Vocabulary {found.words:,} words, thresholds sha256 {found.sha256}",
        f"Unit       {unit_line(cube)}",
        f"Between    {cube.adjacency}",
        "",
        f"epsilon (nats) at delta={delta!r}, upper ends, {found.pairs.kind}",
        f"  any codes (cube)         {rounded_up(cube.epsilon.upper)}",
        f"  this vocabulary (box)    {rounded_up(found.box.upper)}",
        f"  its worst pair of words  {rounded_up(found.pairs.upper)}, at least {found.pairs.lower:.6g}: "
        f"words {found.worst[0]} and {found.worst[1]}",
        f"                           {found.evaluated} curves computed, a bound covers all other pairs",
        "",
        f"Random pairs of words, one token ({profile.samples:,} pairs, seed {profile.seed}): estimated, no guarantee",
    ]
    for level, bound in profile.quantiles.items():
        lines.append(f"  {level:4.0%} are at most        {bound.estimate:.6g} [{bound.lower:.6g}, {bound.upper:.6g}]")
    lines.append("Box and pairs hold only while every code that is sent is one of this vocabulary.")
    return "\n".join(lines)
