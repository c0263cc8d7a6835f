"""What a causal language model can do exactly, found by trying it on a few tokens; what it cannot do is refused.

The server feeds a model embeddings that belong to no word. That is right only where the model computes the same from
the embeddings of words as from the words themselves, and goes on smoothly between them. Whether padding, the cache and
hidden places change anything is tried too: where they do, `logits_within` and `Reading` take a slower, exact route.
"""

import functools
import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mechanisms.cached_sequences import CachedSequences, accepted
from mechanisms.errors import UserError
from mechanisms.model_facts import context_of, input_weight, text_config, width_of, windows_of, words_of

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
    of the cache can be hidden, in sequences of up to branch_limit places, None for any length.
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


_known: "weakref.WeakKeyDictionary[Any, Abilities]" = weakref.WeakKeyDictionary()


def abilities(model: Any) -> Abilities:
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

    def __init__(self, model: Any) -> None:
        if getattr(model.config, "is_encoder_decoder", False):
            raise UserError(f"Expected a causal language model, got the encoder-decoder {type(model).__name__}.")
        self.model, self.name = model, type(model).__name__
        window = min(windows_of(model), default=0)
        count = max(TRIED, window + 6) if window + 6 <= LONGEST_TRIED else TRIED
        self.ids = _ordinary(model, min(count, context_of(model)))
        self.close = CLOSE.get(input_weight(model).dtype, CLOSE[torch.float32])

    def run(self) -> Abilities:
        """Returns the abilities; raises UserError as `abilities` does."""
        self._refuse_per_layer_inputs()
        said = self._said_after(self.ids)
        factor = self._factor(said)
        self.rows = self._embedded(self.ids, factor)
        self._refuse_lookups(said)
        self._refuse_sight()
        short = len(self.ids) // 3  # a second sequence, which starts later
        said_short = self._said_after(self.ids[short:])
        words = said.shape[1]
        chooses = bool(_tried(lambda: self._chooses(said)))
        pads = bool(_tried(lambda: self._pads(said, said_short, short)))
        able = Abilities(factor, words, chooses, pads)
        kinds = _tried(self._layers) or frozenset()
        if not kinds <= MASKABLE | STATEFUL:
            return Abilities(factor, words, chooses)
        if len(self.ids) < 6 + short:
            return able
        for at_once in (True, False):
            if _tried(functools.partial(self._cached, said, chooses, at_once)):
                break
        else:
            return able
        front = bool(_tried(lambda: self._pads_front(said, said_short, short, chooses, at_once)))
        branches = kinds <= MASKABLE and bool(_tried(lambda: self._branches(said, factor, chooses, at_once)))
        limit = min([*windows_of(self.model), *_cache_windows(self.model)], default=None)
        return Abilities(factor, words, chooses, pads, True, at_once, front, branches, limit)

    def _refuse_per_layer_inputs(self) -> None:
        size = getattr(text_config(self.model), "hidden_size_per_layer_input", None)
        if size:
            raise self._refusal(f"every layer looks tokens up again (hidden_size_per_layer_input={size})")

    def _refusal(self, reason: str) -> UserError:
        return UserError(
            f"Expected a model that computes the same from embeddings (inputs_embeds) as from tokens, got {self.name}: "
            f"{reason}. A server is sent embeddings, never tokens. Choose a model of another family."
        )

    def _said_after(self, ids: Tensor) -> Tensor:
        """Returns the model's own logits for tokens, shape (tokens, words); raises UserError where it makes none."""
        try:
            output = self.model(input_ids=ids[None], **accepted(self.model, use_cache=False, return_dict=True))
            logits: Tensor = output.logits[0].float()
        except Exception as error:
            raise UserError(f"Expected a causal language model, got {self.name}, which fails: {_line(error)}") from error
        if not bool(torch.isfinite(logits).all()):
            raise UserError(f"Expected finite logits, got NaN or infinite ones from {self.name}: check its weights.")
        return logits

    def _after(self, rows: Tensor, **more: Any) -> Tensor:
        """Returns the logits for a batch of embeddings, shape (rows, tokens, words)."""
        arguments = accepted(self.model, use_cache=False, return_dict=True, **more)
        logits: Tensor = self.model(inputs_embeds=rows.clone(), **arguments).logits.float()
        return logits

    def _embedded(self, ids: Tensor, factor: float) -> Tensor:
        rows: Tensor = self.model.get_input_embeddings()(ids)
        return rows if factor == 1 else rows * factor

    def _factor(self, said: Tensor) -> float:
        """Returns what rows of the table are multiplied by on the way in; raises UserError where nothing fits."""
        failed = ""
        for factor in _factors(self.model):
            try:
                found = self._after(self._embedded(self.ids, factor)[None])[0]
            except Exception as error:
                failed = f"inputs_embeds fails ({_line(error)})"
                break
            if _near(found, said, self.close):
                return factor
            failed = failed or f"logits differ by {float((found - said).abs().max()):.2g}"
        raise self._refusal(failed)

    def _refuse_lookups(self, said: Tensor) -> None:
        """Refuses a model that finds the words back from their embeddings: it fails, or jumps, beside them."""
        shift = 16 * torch.finfo(self.rows.dtype).eps
        signs = torch.ones_like(self.rows)
        signs[:, ::2] = -1
        try:
            beside = self._after((self.rows * (1 + shift * signs))[None])[0]
            between = self._after(((self.rows + self.rows.flip(0)) / 2)[None])[0]
        except Exception as error:
            raise self._refusal(f"embeddings that belong to no word fail ({_line(error)})") from error
        exact = self.rows.dtype == torch.float32
        if not bool(torch.isfinite(between).all()) or (exact and not _near(beside, said, SMOOTH)):
            raise self._refusal("it looks the words up that the embeddings belong to")

    def _refuse_sight(self) -> None:
        """Refuses a model whose logits depend on what comes after, however little: their gradient is not zero."""
        half = len(self.rows) // 2
        with torch.enable_grad():
            rows = self.rows.detach().clone().requires_grad_()
            said = self._after(rows[None])[0, :half]
            weights = torch.linspace(-1, 1, said.shape[1], device=said.device).sin()
            (slope,) = torch.autograd.grad((said * weights).sum(), rows)
        if bool(slope[half:].abs().max() > 1e-6 * slope[:half].abs().max()):
            raise UserError(
                f"Expected a causal language model, got {self.name}, whose tokens see those that follow: it fills gaps "
                "and cannot continue a text. Choose a causal model."
            )

    def _chooses(self, said: Tensor) -> bool:
        if "logits_to_keep" not in accepted(self.model, logits_to_keep=None):
            return False
        places = torch.arange(1, len(said) - 1, device=said.device)
        return _near(self._after(self.rows[None], logits_to_keep=places)[0], said[1:-1], self.close)

    def _pads(self, said: Tensor, short: Tensor, start: int) -> bool:
        padded = torch.stack([self.rows, torch.cat([self.rows[start:], torch.zeros_like(self.rows[:start])])])
        found = self._after(padded, attention_mask=_mask(padded, behind=start))
        return _near(found[0], said, self.close) and _near(found[1, : len(short)], short, self.close)

    def _layers(self) -> frozenset[str]:
        """Returns the kinds of the layers of the model's cache; none where it keeps none."""
        reading = CachedSequences(self.model, chooses=False)
        reading.read(self.rows[:2][None], None, 1)
        return frozenset(reading.layers)

    def _cached(self, said: Tensor, chooses: bool, at_once: bool) -> bool:
        """Returns whether reading on from the cache is exact."""
        reading = CachedSequences(self.model, chooses=chooses, at_once=at_once)
        first = reading.read(self.rows[:-3].expand(2, -1, -1), None, 1)[0]
        reading.keep([1, 0, 1])
        then = reading.copied([2, 1]).read(self.rows[-3:-2].expand(2, -1, -1), None, 0)[1]
        reading.keep([0])
        rest = reading.read(self.rows[-3:][None], None, 0)[0]
        return _near(torch.cat([first, rest]), said[-4:], self.close) and _near(then, said[-3:-2], self.close)

    def _pads_front(self, said: Tensor, short: Tensor, start: int, chooses: bool, at_once: bool) -> bool:
        reading = CachedSequences(self.model, chooses=chooses, at_once=at_once)
        begun = torch.stack([self.rows, torch.cat([torch.zeros_like(self.rows[:start]), self.rows[start:]])])[:, :-3]
        first = reading.read(begun, _mask(begun, front=start), 1)
        reading.keep([1, 0])
        steps = reading.read(self.rows[-3:-2].expand(2, -1, -1), None, 1)
        rest = reading.read(self.rows[-2:].expand(2, -1, -1), None, 0)
        after = torch.cat([first.flip(0), steps, rest], 1)
        return _near(after[0], short[-4:], self.close) and _near(after[1], said[-4:], self.close)

    def _branches(self, said: Tensor, factor: float, chooses: bool, at_once: bool) -> bool:
        reading = CachedSequences(self.model, chooses=chooses, at_once=at_once)
        limit = min([*windows_of(self.model), *_cache_windows(self.model)], default=len(self.ids))
        count = min(len(self.ids), limit)
        if count < 6:
            return False
        reading.read(self.rows[: count - 2][None], None, 1)
        cut = self.ids[[*range(2), count - 2, count - 1]]
        rows = self.rows[count - 2 : count].expand(2, -1, -1)
        found = reading.branch([count - 2, 2]).read(rows, None, 0)
        return _near(found[0], said[count - 2 : count], self.close) and _near(
            found[1], self._said_after(cut)[2:], self.close
        )


def _mask(padded: Tensor, front: int = 0, behind: int = 0) -> Tensor:
    """Returns the mask of two rows of which the second is padded."""
    mask = torch.ones(padded.shape[:2], dtype=torch.long, device=padded.device)
    mask[1, :front] = 0
    mask[1, mask.shape[1] - behind :] = 0
    return mask


def _ordinary(model: Any, count: int) -> Tensor:
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


def _factors(model: Any) -> Iterator[float]:
    """Yields what stored rows may be multiplied by: nothing, what the configuration names, the width's root."""
    yield 1.0
    for name, value in text_config(model).to_dict().items():
        if "emb" in name and ("mult" in name or "scal" in name) and isinstance(value, int | float) and value not in (0, 1):
            yield float(value)
    yield math.sqrt(width_of(model))


def _cache_windows(model: Any) -> list[int]:
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


def _tried(trial: Callable[[], Any]) -> Any:
    """Returns what the trial returns, None where it raises: a model may fail in any way at what it does not support."""
    try:
        return trial()
    except Exception:
        return None


def _line(error: Exception) -> str:
    """Returns the first line of what an error says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
