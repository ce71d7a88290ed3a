"""The networks that probes are timed on, and two peers' analyses of them, written anew from their formulas.

The authors of arXiv:2510.00304 look at each layer's activations: dead units, duplicates by pairwise cosines, the
effective rank by a singular value decomposition, the participation ratio, saturated units by a backward pass, and
Shapiro and Wilk's W, a unit at a time. Of long columns they take random rows for the ranks and W. So that all values
can be compared, both units of a pair of duplicates count here, and W is the median over units, of pre-activations.

Plasticine looks at features: active units, the mean norm, effective rank and srank, each by a decomposition of its own,
and dormant units in a forward pass of its own. It looks at the last layer; here at every hidden one, as ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median

import torch
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types
from torch import Tensor, nn

from lopgym.probes.captures import Captures

Values = dict[str, float]
Pair = tuple[nn.Module, nn.Module]

BATCH = 1024
ROWS = 1024  # that the authors' ranks and W look at


@dataclass(frozen=True)
class Net:
    """A network with its batch.

    Args:
        name: as the table has it.
        module: an output map behind hidden layers.
        shape: of an observation.
        over_authors: how many times dearer the authors' analysis must be.
        events: whether a default probe event is timed here; on large images some probes take minutes.
    """

    name: str
    module: nn.Sequential
    shape: tuple[int, ...]
    over_authors: float
    events: bool = True

    @cached_property
    def observations(self) -> Tensor:
        """A batch of normal numbers."""
        return torch.randn(BATCH, *self.shape, generator=torch.Generator().manual_seed(0))

    @property
    def layers(self) -> dict[str, Pair]:
        """The hidden layers: every affine map with the activation behind it."""
        pairs = [(a, b) for a, b in pairwise(self.module) if isinstance(b, nn.ReLU)]
        return {f"hidden{i}": pair for i, pair in enumerate(pairs)}

    def losses(self, observations: Tensor) -> Tensor:
        """Half the squared outputs of each sample, (B,)."""
        outputs: Tensor = self.module(observations)
        return outputs.pow(2).sum(dim=1) / 2

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """Of the mean loss by each parameter, as training has them at hand."""
        names, parameters = zip(*self.module.named_parameters(), strict=True)
        found = torch.autograd.grad(self.losses(self.observations).mean(), parameters)
        return dict(zip(names, found, strict=True))

    def captures(self, previous: Mapping[str, Mapping[str, Tensor]] | None = None) -> Captures:
        """Look at the network afresh, with all that an agent would supply."""
        return Captures(
            self.module,
            self.layers,
            {"head": self.module[-1]},
            self.observations,
            initial=self.module.state_dict(),
            gradients=self.gradients,
            loss=self.losses,
            rng=torch.Generator().manual_seed(0),
            previous=previous,
            action_probabilities=lambda observations: self.module(observations).softmax(dim=1),
        )

    @cached_property
    def previous(self) -> dict[str, dict[str, Tensor]]:
        """What probes ask for of an earlier measurement."""
        seen = self.captures()
        return {"activations": seen.activations, "weights": seen.weights}


def mlp(width: int) -> nn.Sequential:
    """Make two hidden layers on 64 numbers."""
    hidden = (nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(width, 6))


def nature_cnn() -> nn.Sequential:
    """Make the network of Mnih et al. 2015, on 4 frames of 84 x 84."""
    maps = (nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU())
    return nn.Sequential(*maps, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 6))


NETS: dict[str, Callable[[], Net]] = {
    "2x64": lambda: Net("2x64", mlp(64), (64,), 4.0),
    "2x256": lambda: Net("2x256", mlp(256), (64,), 4.0),
    "2x512": lambda: Net("2x512", mlp(512), (64,), 3.0),
    "NatureCNN": lambda: Net("NatureCNN", nature_cnn(), (4, 84, 84), 2.5, events=False),
}


def authors(net: Net) -> Values:
    """Measure what the seed authors do, a layer and a unit at a time."""
    before, after, losses = _watched(net)
    losses.mean().backward()  # type: ignore[no-untyped-call]  # torch's
    found: Values = {}
    for name, h in after.items():
        assert h.grad is not None
        units, signals = _rows(h.detach()), _rows(h.grad)
        some, driven = _some(units), _some(_rows(before[name]))
        found |= {
            f"dead_fraction/{name}": _share((units.abs() < 1e-7).float().mean(dim=0) > 0.95),
            f"duplicate_cosine_fraction/{name}": _share(_twins(units)),
            f"effective_rank/{name}": _entropy_rank(torch.linalg.svdvals(some)),
            f"participation_ratio/{name}": _participation(some),
            f"saturated_fraction/{name}": _share(_saturated(units, signals)),
            f"shapiro/{name}": median(_one_less_w(driven)),
        }
    net.module.zero_grad()
    return found


def plasticine(net: Net) -> Values:
    """Measure Plasticine's five on every hidden layer."""
    found: Values = {}
    with torch.no_grad():
        for name, h in _watched(net)[1].items():
            features = _rows(h)
            found |= {
                f"zero_fraction/{name}": (features == 0).float().mean().item(),
                f"feature_norm/{name}": features.norm(dim=1).mean().item(),
                f"effective_rank/{name}": _entropy_rank(torch.linalg.svdvals(features)),
                f"srank/{name}": _sum_rank(torch.linalg.svdvals(features)),
            }
        for name, h in _watched(net)[1].items():
            scores = _rows(h).abs().mean(dim=0)
            found[f"dormant_fraction/{name}"] = _share(scores / (scores.mean() + 1e-9) <= 0.025)
    return found


def _watched(net: Net) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """Run the network as the peers do; return what enters and leaves each activation module, and the losses."""
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}

    def noting(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            before[name], after[name] = inputs[0].detach(), output
            if output.requires_grad:
                output.retain_grad()

        return hook

    hooks = [activation.register_forward_hook(noting(name)) for name, (_, activation) in net.layers.items()]
    losses = net.losses(net.observations)
    for hook in hooks:
        hook.remove()
    return before, after, losses


def _rows(values: Tensor) -> Tensor:
    """Return a column for each unit: of images, a row for each position."""
    return values.movedim(1, -1).reshape(-1, values.shape[1])


def _some(units: Tensor) -> Tensor:
    """Return random rows, where there are more than the authors look at."""
    return units if len(units) <= ROWS else units[torch.randperm(len(units))[:ROWS]]


def _share(units: Tensor) -> float:
    return units.double().mean().item()


def _twins(units: Tensor) -> Tensor:
    columns = nn.functional.normalize(units.T, dim=1)
    return ((columns @ columns.T).fill_diagonal_(0) > 0.95).any(dim=1)


def _saturated(units: Tensor, signals: Tensor) -> Tensor:
    ratios = signals.abs() / units.abs().mean(dim=0).clamp(min=1e-12)
    return (ratios < 1e-4).float().mean(dim=0) > 0.99


def _entropy_rank(sigma: Tensor) -> float:
    p = sigma / sigma.sum()
    return p[p > 0].log().mul(p[p > 0]).sum().neg().exp().item()


def _sum_rank(sigma: Tensor) -> float:
    return (sigma.cumsum(dim=0) / sigma.sum() < 0.99).sum().item() + 1.0


def _participation(units: Tensor) -> float:
    centred = units - units.mean(dim=0)
    inner = centred.T @ centred
    return (inner.trace() ** 2 / inner.pow(2).sum()).item()


def _one_less_w(columns: Tensor) -> Iterator[float]:
    """Yield 1 - W of each unit that varies, each standardised and tested by itself."""
    for z in columns.T:
        if z.std() >= 1e-6:
            standardised = (z - z.mean()) / (z.std() + 1e-8)
            yield 1 - float(stats.shapiro(standardised.numpy()).statistic)
