"""What a causal language model can do exactly, found by trying it on a few tokens; what it cannot do is refused.

The server feeds a model embeddings that belong to no word. That is right only where the model computes the same from
the embeddings of words as from the words themselves, and goes on smoothly between them. Whether padding, the cache and
hidden places change anything is tried too: where they do, `logits_within` and `Reading` take a slower, exact route.
"""

import bisect
import functools
import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from mechanisms.cached_sequences import CachedSequences, accepted
from mechanisms.errors import UserError, first_line
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import context_of, input_weight, text_config, turns_of, width_of, windows_of, words_of

Result = TypeVar("Result")
TRIED = 12
"""Tokens of the sequence that a model is tried on, at least; LONGEST_TRIED where that reaches beyond a window."""
LONGEST_TRIED = 72
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""How far logits may differ, as a share of their largest distance from the mean logit."""
SMOOTH = 0.05
"""The same for embeddings that differ by 16 roundings."""
MASKABLE = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer"})
"""Kinds of cache layers in which a place that is masked leaves no trace, as long as no window is passed."""
STATEFUL = frozenset(
    {
        "LinearAttentionLayer",
        "LinearAttentionAndFullAttentionLayer",
        "LinearAttentionAndSlidingWindowAttentionLayer",
        "DummyLayer",
    }
)
"""Kinds that a short trial tells the truth about. Others choose among places, and differ at some lengths only."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """factor: what the model multiplies a stored row by. words: logits.

    chooses: makes the logits of chosen places alone. pads: padding behind a sequence changes nothing. cache: reading on
    from the cache is exact; at_once: with several inputs together; pads_front: with padding in front. branches: places
    of the cache can be hidden, in sequences of up to branch_limit places, None for any length. turns: lengths that a
    batch, and what is in the cache, must not pass (see `turns_of`).
    """

    factor: float
    words: int
    chooses: bool = False
    pads: bool = False
    cache: bool = False
    at_once: bool = False
    pads_front: bool = False
    branches: bool = False
    branch_limit: int | None = None
    turns: tuple[int, ...] = ()

    def turned(self, length: int) -> int:
        """Returns how many turns a sequence of this length has passed."""
        return bisect.bisect_left(self.turns, length)


_known: "weakref.WeakKeyDictionary[PreTrainedModel, Abilities]" = weakref.WeakKeyDictionary()


def abilities(model: PreTrainedModel) -> Abilities:
    """Returns what the model can do; it is tried once.

    Raises UserError for a model that cannot be run on embeddings: an encoder-decoder, one that looks inputs up by word
    in more places than one, and one whose tokens see what follows them.
    """
    if model not in _known:
        training = model.training
        try:
            with torch.no_grad():
                _known[model] = _Trial(model.eval()).run()
        finally:
            model.train(training)
    return _known[model]


class _Trial:
    """The sequences that a model is tried on, and what it says after them when it is given words."""

    def __init__(self, model: PreTrainedModel) -> None:
        if getattr(model.config, "is_encoder_decoder", False):
            raise UserError(f"Expected a causal language model, got the encoder-decoder {type(model).__name__}.")
        self.model, self.name = model, type(model).__name__
        windows = [*windows_of(model), *_cache_windows(model)]
        count = max([TRIED, *(window + 6 for window in windows if window + 6 <= LONGEST_TRIED)])
        self.ids = _ordinary(model, min(count, context_of(model)))
        self.kinds: frozenset[str] = frozenset()
        self.close = CLOSE.get(input_weight(model).dtype, CLOSE[torch.float32])

    def run(self) -> Abilities:
        """Returns the abilities; raises UserError as `abilities` does.

        All sequences tried are beginnings of one, so that its logits, said once, are what every trial is held against.
        """
        self._refuse_per_layer_inputs()
        self.said = self._said()
        factor = self._factor()
        self._refuse_lookups_and_sight()
        words, count, turns = self.said.shape[1], len(self.ids), turns_of(self.model)
        chooses = pads = bool(_tried(functools.partial(self._pads, True, count // 3)))
        if not chooses:
            chooses = bool(_tried(functools.partial(self._pads, True, 0)))
            pads = bool(_tried(functools.partial(self._pads, chooses, count // 3)))
        for at_once in (True, False):
            if count >= 10 and _tried(functools.partial(self._cached, chooses, at_once)):
                break
        else:
            self.kinds = _tried(functools.partial(self._layers, chooses)) or self.kinds
            return Abilities(factor, words, chooses, pads and self.kinds <= MASKABLE | STATEFUL, turns=turns)
        if not self.kinds <= MASKABLE | STATEFUL:
            return Abilities(factor, words, chooses, turns=turns)
        front = bool(_tried(functools.partial(self._pads_front, chooses, at_once)))
        limit = min([*windows_of(self.model), *_cache_windows(self.model), *turns], default=None)
        branches = self.kinds <= MASKABLE and bool(_tried(functools.partial(self._branches, chooses, at_once, limit)))
        return Abilities(factor, words, chooses, pads, True, at_once, front, branches, limit, turns)

    def _refuse_per_layer_inputs(self) -> None:
        size = getattr(text_config(self.model), "hidden_size_per_layer_input", None)
        if size:
            raise self._refusal(f"every layer looks tokens up again (hidden_size_per_layer_input={size})")

    def _refusal(self, reason: str) -> UserError:
        return UserError(
            f"Expected a model that computes the same from embeddings (inputs_embeds) as from tokens, got {self.name}: "
            f"{reason}. A server is sent embeddings, never tokens. Choose a model of another family."
        )

    def _said(self) -> Tensor:
        """Returns the model's own logits for the tokens, shape (tokens, words); raises UserError where it has none."""
        try:
            output = self.model(input_ids=self.ids[None], **accepted(self.model, use_cache=False, return_dict=True))
            logits: Tensor = output.logits[0].float()
        except Exception as error:
            raise UserError(
                f"Expected a causal language model, got {self.name}, which fails: {first_line(error)}"
            ) from error
        if not bool(torch.isfinite(logits).all()):
            raise UserError(f"Expected finite logits, got NaN or infinite ones from {self.name}: check its weights.")
        return logits

    def _after(self, rows: Tensor, **more: Tensor) -> Tensor:
        """Returns the logits for a batch of embeddings, shape (rows, tokens, words)."""
        arguments = accepted(self.model, use_cache=False, return_dict=True, **more)
        logits: Tensor = self.model(inputs_embeds=rows.clone(), **arguments).logits.float()
        return logits

    def _factor(self) -> float:
        """Returns what rows of the table are multiplied by on the way in; raises UserError where nothing fits."""
        failed, stored = "", self.model.get_input_embeddings()(self.ids)
        for factor in possible_factors(self.model):
            self.rows = stored if factor == 1 else stored * factor
            try:
                found = self._after(self.rows[None])[0]
            except Exception as error:
                failed = f"inputs_embeds fails ({first_line(error)})"
                break
            if _near(found, self.said, self.close):
                return factor
            failed = failed or f"logits differ by {float((found - self.said).abs().max()):.2g}"
        raise self._refusal(failed)

    def _refuse_lookups_and_sight(self) -> None:
        """Refuses a model that finds the words back from their embeddings: it fails, or jumps, beside them.

        Refuses as well one whose logits depend on what comes after, however little: their gradient is not zero.
        """
        shift = 16 * torch.finfo(self.rows.dtype).eps
        signs = torch.ones_like(self.rows)
        signs[:, ::2] = -1
        half = len(self.rows) // 2
        with torch.enable_grad():
            beside = (self.rows * (1 + shift * signs)).detach().requires_grad_()
            between = (self.rows + self.rows.flip(0)) / 2
            try:
                found = self._after(torch.stack([beside, between]))
                weights = torch.linspace(-1, 1, found.shape[2], device=found.device).sin()
                (slope,) = torch.autograd.grad((found[0, :half] * weights).sum(), beside)
            except Exception as error:
                raise self._refusal(f"embeddings that belong to no word fail ({first_line(error)})") from error
        exact = self.rows.dtype == torch.float32
        if not bool(torch.isfinite(found).all()) or (exact and not _near(found[0], self.said, SMOOTH)):
            raise self._refusal("it looks the words up that the embeddings belong to")
        if bool(slope[half:].abs().max() > 1e-6 * slope[:half].abs().max()):
            raise UserError(
                f"Expected a causal language model, got {self.name}, whose tokens see those that follow: it fills gaps "
                "and cannot continue a text. Choose a causal model."
            )

    def _pads(self, chooses: bool, padding: int) -> bool:
        """Returns whether the logits, of chosen places where asked, are right in a batch with padding behind."""
        kept = len(self.said) - padding
        padded = torch.stack([self.rows, torch.cat([self.rows[:kept], torch.zeros_like(self.rows[kept:])])])
        more: dict[str, Tensor] = {"attention_mask": _mask(padded, behind=padding)} if padding else {}
        if chooses:
            more["logits_to_keep"] = torch.arange(1, len(self.said), device=self.said.device)
            if "logits_to_keep" not in accepted(self.model, **more):
                return False
        found = self._after(padded, **more)
        wanted = self.said[1:] if chooses else self.said
        short = len(wanted) - padding
        return _near(found[0], wanted, self.close) and _near(found[1, :short], wanted[:short], self.close)

    def _layers(self, chooses: bool) -> frozenset[str]:
        """Returns the kinds of the layers of the model's cache; none where it keeps none."""
        reading = CachedSequences(self.model, chooses=chooses)
        reading.read(self.rows[:2][None], None, 1)
        return frozenset(reading.layers)

    def _cached(self, chooses: bool, at_once: bool) -> bool:
        """Returns whether reading on from the cache is exact, one input and several at a time."""
        reading = CachedSequences(self.model, chooses=chooses, at_once=at_once)
        parts = [reading.read(torch.stack([self.rows[:-3], self.rows[1:-2]]), None, 1)[:1]]
        reading.keep([1, 0, 0])
        reading = reading.copied([2])
        self.kinds = frozenset(reading.layers)
        parts += [reading.read(self.rows[-3:-2][None], None, 0), reading.read(self.rows[-2:][None], None, 0)]
        return _near(torch.cat(parts, 1)[0], self.said[-4:], self.close)

    def _pads_front(self, chooses: bool, at_once: bool) -> bool:
        """Returns the same with padding in front of one of two rows: it is that much behind in the sequence."""
        padding, begun = len(self.rows) // 3, len(self.rows) - 3
        late = torch.cat([torch.zeros_like(self.rows[:padding]), self.rows])[: len(self.rows)]
        both = torch.stack([late, self.rows])
        reading = CachedSequences(self.model, chooses=chooses, at_once=at_once)
        mask = _mask(both[:, :begun].flip(0), front=padding).flip(0)
        parts = [reading.read(both[:, :begun], mask, 1).flip(0)]
        reading.keep([1, 0])
        for start, stop in ((begun, begun + 1), (begun + 1, begun + 3)):
            parts.append(reading.read(both.flip(0)[:, start:stop], None, 0))
        found = torch.cat(parts, 1)
        behind = self.said[len(self.said) - padding - 4 : len(self.said) - padding]
        return _near(found[0], self.said[-4:], self.close) and _near(found[1], behind, self.close)

    def _branches(self, chooses: bool, at_once: bool, limit: int | None) -> bool:
        """Returns whether places of the cache can be hidden, in a sequence that is within all windows."""
        count = len(self.ids) if limit is None else min(len(self.ids), limit)
        if count < 5:
            return False
        reading = CachedSequences(self.model, chooses=chooses, at_once=at_once)
        reading.read(self.rows[: count - 2][None], None, 1)
        inputs = torch.stack([self.rows[count - 2 : count], self.rows[2:4]])
        found = reading.branch([count - 2, 2]).read(inputs, None, 0)
        return _near(found[0], self.said[count - 2 : count], self.close) and _near(found[1], self.said[2:4], self.close)


def _mask(padded: Tensor, front: int = 0, behind: int = 0) -> Tensor:
    """Returns the mask of two rows of which the second is padded."""
    mask = torch.ones(padded.shape[:2], dtype=torch.long, device=padded.device)
    mask[1, :front] = 0
    mask[1, mask.shape[1] - behind :] = 0
    return mask


def _ordinary(model: PreTrainedModel, count: int) -> Tensor:
    """Returns tokens spread over the vocabulary, int64, shape (count,): none that a configuration gives a part."""
    named: set[int] = set()
    for config in (model.config, text_config(model)):
        for name, value in config.to_dict().items():
            if name.endswith(("token_id", "token_index", "token_ids")):
                named.update(value if isinstance(value, list) else [value])
    words = words_of(model)
    spread = [(7 + index * max(1, (words - 8) // count) * 5) % words for index in range(4 * count)]
    free = [token for token in dict.fromkeys([*spread, *range(words)]) if token not in named]
    return torch.tensor((free * count)[:count], device=input_weight(model).device)


def possible_factors(model: PreTrainedModel) -> Iterator[float]:
    """Yields what stored rows may be multiplied by: nothing, what the configuration names, the width's root."""
    yield 1.0
    for name, value in text_config(model).to_dict().items():
        if (
            "emb" in name
            and ("mult" in name or "scal" in name)
            and isinstance(value, int | float)
            and value not in (0, 1)
        ):
            yield float(value)
    yield math.sqrt(width_of(model))


def _cache_windows(model: PreTrainedModel) -> list[int]:
    """Returns the windows of the cache that the model would make, in tokens."""
    from transformers import DynamicCache

    layers = getattr(_tried(lambda: DynamicCache(config=model.config)), "layers", [])
    windows = [getattr(layer, "sliding_window", None) for layer in layers]
    return [window for window in windows if isinstance(window, int) and window > 0]


def _near(found: Tensor, wanted: Tensor, share: float) -> bool:
    if found.shape != wanted.shape:
        return False
    spread = (wanted - wanted.mean(-1, keepdim=True)).abs().max()
    return bool((found - wanted).abs().max() <= share * spread)


def _tried(trial: Callable[[], Result]) -> Result | None:
    """Returns what the trial returns, None where it raises: a model may fail in any way at what it does not support."""
    try:
        return trial()
    except Exception:
        return None
