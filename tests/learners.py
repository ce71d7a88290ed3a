"""Hand-made learners for tests: a Q network with its target, and an actor-critic; on vectors and on images."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from lopgym.agents.chain import hidden_layers
from lopgym.agents.initialisers import Initialiser, orthogonal, torch_default
from lopgym.agents.learner import Learner
from lopgym.agents.mitigations import Mitigation, OptimizerFactory
from lopgym.agents.network import Layer, NetworkSpec, Trunk

SPACES = {
    "mlp": gym.spaces.Box(-np.inf, np.inf, (4,), np.float32),
    "conv": gym.spaces.Box(0.0, 1.0, (1, 6, 6), np.float32),
}
ADAM: OptimizerFactory = torch.optim.Adam
Draw = Callable[[int, torch.Generator], Tensor]


class Net(nn.Module):
    """Named trunks with one head each, and a `log_std` that belongs to no affine map."""

    def __init__(self, stem: str, heads: Mapping[str, int], methods: Sequence[Mitigation]) -> None:
        """Build a trunk and a head of so many outputs for each entry of `heads`."""
        super().__init__()
        base = NetworkSpec(hidden=(6, 5), stem=stem, channels=(3, 4))
        spec = reduce(lambda s, method: method.build_network(s), methods, base)
        self.trunks = nn.ModuleDict({name: Trunk(SPACES[stem], spec) for name in heads})
        read = {name: trunk.features_dim for name, trunk in self.trunks.items()}
        self.heads = nn.ModuleDict({name: nn.Linear(read[name], n) for name, n in heads.items()})
        self.log_std = nn.Parameter(torch.zeros(2))

    def forward(self, observations: Tensor) -> dict[str, Tensor]:
        """Return the output of each head: (B, outputs)."""
        return {name: head(self.trunks[name](observations)) for name, head in self.heads.items()}


def observe(stem: str, n: int, generator: torch.Generator) -> Tensor:
    """Draw n observations for `stem`."""
    return torch.randn((n, *SPACES[stem].shape), generator=generator)


def _learner(
    stem: str, heads: Mapping[str, int], initialiser: Initialiser, methods: Sequence[Mitigation], seed: int
) -> Learner:
    torch.manual_seed(seed)
    network = Net(stem, heads, methods)
    rng, rows = torch.Generator().manual_seed(seed + 1), torch.Generator().manual_seed(seed + 2)
    layers: tuple[Layer, ...] = ()
    for name in heads:
        layers += hidden_layers(name, [network.trunks[name]], [network.heads[name]], initialiser)

    def fresh() -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))
            return Net(stem, heads, methods).state_dict()

    return Learner(
        network=network,
        target=None,
        optimizer=reduce(lambda make, m: m.wrap_optimizer(make), methods, ADAM)(network.parameters(), lr=1e-2),
        forward=network,
        layers=layers,
        heads={f"{name}.head": head for name, head in network.heads.items()},
        observations=lambda n: observe(stem, n, rows),
        fresh=fresh,
        rng=rng,
        rows=rows,
    )


def q_learner(stem: str = "mlp", methods: Sequence[Mitigation] = (), seed: int = 0) -> Learner:
    """Return a learner like DQN's: one trunk, a target that starts equal."""
    learner = _learner(stem, {"q": 3}, torch_default, methods, seed)
    learner.target = copy.deepcopy(learner.network)
    return learner


def actor_critic(stem: str = "mlp", methods: Sequence[Mitigation] = (), seed: int = 0) -> Learner:
    """Return a learner like PPO's: two trunks, no target."""
    return _learner(stem, {"actor": 3, "critic": 1}, orthogonal(math.sqrt(2)), methods, seed)


LEARNERS = {
    f"{name}-{stem}": (make, stem)
    for name, make in {"q": q_learner, "actor_critic": actor_critic}.items()
    for stem in SPACES
}


def one_layer(weight: list[list[float]], outgoing: list[list[float]]) -> Learner:
    """Return a learner of one hidden ReLU layer, of given weights and no biases, to reckon by hand."""

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.act = nn.Linear(len(weight[0]), len(weight)), nn.ReLU()
            self.head = nn.Linear(len(weight), len(outgoing))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.act(self.hidden(x)))
            return out

    network = Tiny()
    with torch.no_grad():
        network.hidden.weight.copy_(torch.tensor(weight))
        network.head.weight.copy_(torch.tensor(outgoing))
        for module in (network.hidden, network.head):
            module.bias.zero_()
    return Learner(
        network=network,
        target=copy.deepcopy(network),
        optimizer=torch.optim.Adam(network.parameters(), lr=1e-2),
        forward=network,
        layers=(Layer("q.hidden0", network.hidden, network.act, (network.head,), torch_default),),
        heads={"q.head": network.head},
        observations=lambda n: torch.ones(n, len(weight[0])),
        fresh=network.state_dict,
        rng=torch.Generator().manual_seed(0),
    )


def backward(learner: Learner, inputs: Tensor) -> None:
    """Compute gradients of a loss that reaches every parameter that lives."""
    learner.optimizer.zero_grad()
    outputs = learner.network(inputs)
    loss = sum(((y - i) ** 2).mean() for i, y in enumerate(outputs.values(), start=1))
    log_std = learner.network.log_std
    (loss + (log_std**2 + log_std).sum()).backward()


def train(
    learner: Learner,
    methods: Sequence[Mitigation],
    updates: int = 60,
    *,
    batches: torch.Generator | None = None,
    stem: str = "mlp",
    per_task: int = 20,
) -> None:
    """Take gradient steps on random batches, calling every seam of `methods` as a trainer does."""
    batches = batches or torch.Generator().manual_seed(77)
    for _ in range(updates):
        learner.updates += 1
        learner.network.train()
        backward(learner, observe(stem, 16, batches))
        _call("on_gradient", learner, methods)
        learner.optimizer.step()
        _call("after_step", learner, methods)
        if learner.updates % per_task == 0:
            learner.task += 1
            _call("on_task_change", learner, methods)


def _call(seam: str, learner: Learner, methods: Sequence[Mitigation]) -> None:
    for method in methods:
        if learner.task >= method.active_from:
            getattr(method, seam)(learner)


def begin(learner: Learner, methods: Sequence[Mitigation]) -> None:
    """Let methods that remember the start meet the learner before its first update."""
    for method in methods:
        getattr(method, "begin", lambda _: None)(learner)


def snapshot(learner: Learner) -> dict[str, Tensor]:
    """Copy every tensor of network, target and optimizer, by name."""
    tensors = {f"network.{k}": v for k, v in learner.network.state_dict().items()}
    if learner.target is not None:
        tensors |= {f"target.{k}": v for k, v in learner.target.state_dict().items()}
    names = {parameter: name for name, parameter in learner.network.named_parameters()}
    for parameter, state in learner.optimizer.state.items():
        tensors |= {f"optimizer.{names.get(parameter, '')}.{k}": torch.as_tensor(v) for k, v in state.items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def assert_bitwise(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    """Fail unless both hold the same tensors, bit for bit: -0.0 is not 0.0."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        assert a[name].contiguous().numpy().tobytes() == b[name].contiguous().numpy().tobytes(), name
