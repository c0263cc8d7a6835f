"""The network: from what is known of each token alone to a correction of every word's score by its neighbours."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.inversion.contextual.settings import NetworkShape
from mechanisms.nlu.initial import draw_parameters


class ContextNetwork(nn.Module):
    """Maps features, shape (prompts, longest, features), to vectors h whose product with a word's row is added.

    The last layer starts at zero, so an untrained network corrects nothing. rows: of the commonest words, trained
    from the table's on, shape (common, rank). bias: of those words, shape (common,). repeats: whether the release is
    a word's number, whose own score is then corrected too.
    """

    def __init__(self, features: int, rows: Tensor, repeats: bool, shape: NetworkShape, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):  # torch draws values that are replaced below
            self.read = nn.Linear(features, shape.width)
            self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
            self.norm = nn.LayerNorm(shape.width)
            self.write = nn.Linear(shape.width, rows.shape[1])
            self.repeat = nn.Linear(shape.width, 1) if repeats else None
        draw_parameters(self, seed, "contextual inverter")
        for last in (self.write, self.repeat):
            if last is not None:
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        for part in self.modules():
            if isinstance(part, _RelativeAttention):
                part.start_local()
        self.rows = nn.Parameter(rows.clone())
        self.bias = nn.Parameter(torch.zeros(len(rows)))

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns h of the tokens in order, shape (tokens, rank), and what is added to the released word, or None.

        mask: bool, shape (prompts, longest), True where a token is.
        """
        states = self.read(features)
        for block in self.blocks:
            states = block(states, mask)
        read = self.norm(states[mask])
        return self.write(read), None if self.repeat is None else self.repeat(read)[:, 0]


class _Block(nn.Module):
    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.before_attention, self.before_mix = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attention = _RelativeAttention(shape)
        self.mix = nn.Sequential(
            nn.Linear(shape.width, 4 * shape.width), nn.GELU(), nn.Linear(4 * shape.width, shape.width)
        )

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        states = states + self.attention(self.before_attention(states), mask)
        mixed: Tensor = states + self.mix(self.before_mix(states))
        return mixed


class _RelativeAttention(nn.Module):
    """Attention in both directions with a trained bias for each head and distance; no absolute positions."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.heads, self.reach = shape.heads, shape.reach
        self.project = nn.Linear(shape.width, 3 * shape.width)
        self.join = nn.Linear(shape.width, shape.width)
        self.distance = nn.Parameter(torch.zeros(shape.heads, 2 * shape.reach + 1))

    def start_local(self) -> None:
        """Points three heads in four at the neighbours -1, +1, -2, +2, ..., and spreads the others out."""
        distances = torch.arange(-self.reach, self.reach + 1).float()
        spread = max(1, self.heads // 4)
        with torch.no_grad():
            for head in range(self.heads):
                near = head < self.heads - spread
                aim = (head // 2 + 1) * (1 if head % 2 else -1) if near else 0
                self.distance[head] = -(distances - aim).abs() * (2.0 if near else 0.1)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        prompts, longest, width = states.shape
        query, key, value = (
            part.view(prompts, longest, self.heads, -1).transpose(1, 2) for part in self.project(states).chunk(3, dim=2)
        )
        places = torch.arange(longest, device=states.device)
        distance = (places[None] - places[:, None]).clamp(-self.reach, self.reach) + self.reach
        bias = self.distance[:, distance] + torch.where(mask, 0.0, -1e9)[:, None, None]
        weights = functional.softmax(query @ key.transpose(2, 3) * (width // self.heads) ** -0.5 + bias, dim=-1)
        joined: Tensor = self.join((weights.to(value) @ value).transpose(1, 2).reshape(prompts, longest, width))
        return joined
