"""Theory: what arXiv:2510.00304 proves of clones and frozen units, and what of it holds for the numbers we compute."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from lopgym.probes.captures import Captures, measure
from lopgym.probes.clone_normal import clone_normal
from lopgym.probes.cloning import cloned, jittered
from lopgym.probes.cloning_r2 import explained
from lopgym.probes.escape_rate import escape_rate, escape_rates
from lopgym.probes.tangency import normal_part, tangency

Network = nn.Sequential
Direction = dict[str, Tensor]

INPUTS, HIDDEN, OUTPUTS, SAMPLES = 12, 8, 3, 256
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-14}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
ACTIVATIONS = pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
CURVED = pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Sigmoid, nn.ELU])


def _network(sizes: list[int], activation: Callable[[], nn.Module], dtype: torch.dtype, seed: int) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        maps = [nn.Linear(i, o, dtype=dtype) for i, o in itertools.pairwise(sizes)]
    return nn.Sequential(*[module for m in maps[:-1] for module in (m, activation())], maps[-1])


class Task:
    """Regression on a random teacher, and a network that has begun to learn it."""

    def __init__(
        self,
        activation: Callable[[], nn.Module] = nn.ReLU,
        dtype: torch.dtype = torch.float64,
        *,
        hidden: int = HIDDEN,
        inputs: int = INPUTS,
        seed: int = 0,
    ) -> None:
        """Draw the data and pre-train for 100 steps of gradient descent."""
        rng = torch.Generator().manual_seed(seed)
        self.x = torch.randn(SAMPLES, inputs, generator=rng, dtype=torch.float64)
        teacher = _network([inputs, 16, OUTPUTS], nn.ReLU, torch.float64, seed + 1)
        with torch.no_grad():
            self.y = 9 * teacher(self.x) + 0.1 * torch.randn(SAMPLES, OUTPUTS, generator=rng, dtype=torch.float64)
        self.x, self.y = self.x.to(dtype), self.y.to(dtype)
        self.network = _network([inputs, hidden, hidden, OUTPUTS], activation, dtype, seed + 2)
        for _ in self.train(self.network, 100):
            pass

    def losses(self, network: nn.Module, rows: slice | Tensor = slice(None)) -> Tensor:
        """Half the squared error of each sample."""
        errors: Tensor = network(self.x[rows]) - self.y[rows]
        return errors.square().sum(dim=1) / 2

    def train(
        self,
        network: Network,
        steps: int,
        make: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
        **options: float,
    ) -> Iterator[torch.Generator]:
        """Train on batches of 64, and hand out a random stream after every backward pass."""
        rng = torch.Generator().manual_seed(7)
        optimizer = make(network.parameters(), **({"lr": 0.02} | options))
        for _ in range(steps):
            rows = torch.randint(SAMPLES, (64,), generator=rng)
            optimizer.zero_grad()
            self.losses(network, rows).mean().backward()
            yield rng
            optimizer.step()

    def captures(self, network: Network) -> Captures:
        """Return captures of all samples."""
        layers = {"first": (network[0], network[1]), "second": (network[2], network[3])}
        return Captures(
            network, layers, {"head": network[-1]}, self.x, loss=lambda x: (network(x) - self.y).square().sum(dim=1) / 2
        )


def _partition(copies: int, units: int = HIDDEN) -> dict[str, list[int]]:
    return {name: [u for u in range(units) for _ in range(copies)] for name in ("first", "second")}


def _norm(direction: Direction) -> float:
    return math.sqrt(sum(part.double().square().sum().item() for part in direction.values()))


def _normal(captures: Captures, direction: Direction, copies: int) -> Direction:
    labels = {name: torch.tensor(ids) for name, ids in _partition(copies).items()}
    channels = {name: h.shape[1] for name, h in captures.activations.items()}
    return normal_part(direction, labels, captures.outgoing, channels)


def _unexplained(captures: Captures, copies: int = 2) -> float:
    """Return 1 - R^2, the worst of both layers, forward and backward."""
    labels = {name: torch.tensor(ids) for name, ids in _partition(copies).items()}
    found = [explained(held[name], labels[name]) for held in (captures.activations, captures.errors) for name in labels]
    return 1 - min(found)


def _off_manifold(captures: Captures) -> float:
    """Return the distance of the weights to the manifold, relative to their length."""
    return _norm(_normal(captures, captures.weights, 2)) / _norm(captures.weights)


# Tangency: the gradient of clones is the same for all of them.


@DTYPES
@ACTIVATIONS
@pytest.mark.parametrize("copies", [2, 3])
def test_the_gradient_is_tangent_to_the_clone_manifold(
    copies: int, activation: type[nn.Module], dtype: torch.dtype
) -> None:
    """||P_N g|| / ||g|| is rounding, layer by layer and in all."""
    task = Task(activation, dtype)
    captures = task.captures(cloned(task.network, copies))
    gradient = captures.loss_gradients
    assert _norm(_normal(captures, gradient, copies)) < ROUNDING[dtype] * _norm(gradient)
    read = tangency(gradient, captures.activations, captures.errors, captures.outgoing, partition=_partition(copies))
    assert read.keys() == {"first", "second", "head"}
    assert max(read.values()) < ROUNDING[dtype]


def test_the_gradient_of_an_unequal_split_is_not() -> None:
    """Function-preserving, .3 and .7, as Net2Net splits: no manifold keeps it together. Nor does a random network."""
    task = Task()
    unequal = task.captures(cloned(task.network, shares=[0.3, 0.7]))
    share = _norm(_normal(unequal, unequal.loss_gradients, 2)) / _norm(unequal.loss_gradients)
    assert 0.2 < share < 0.4
    random = task.captures(_network([INPUTS, 2 * HIDDEN, 2 * HIDDEN, OUTPUTS], nn.ReLU, torch.float64, 0))
    assert _norm(_normal(random, random.loss_gradients, 2)) > 0.3 * _norm(random.loss_gradients)


def test_offsets_with_zero_sums_do_no_harm() -> None:
    """A block needs equal row sums and equal column sums, not equal entries: the manifold is wider than its centre."""
    task = Task()
    network = cloned(task.network)
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).repeat(HIDDEN, HIDDEN)
    with torch.no_grad():
        network[2].weight += 0.3 * sign
    captures = task.captures(network)
    assert _norm(_normal(captures, captures.loss_gradients, 2)) < 1e-14 * _norm(captures.loss_gradients)
    for _ in task.train(network, 100):
        pass
    assert _unexplained(task.captures(network)) < 1e-10


# Staying: every optimizer that treats equal parameters equally.

STAYING: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, float]]] = {
    "descent": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9, "lr": 0.005}),
    "adam": (torch.optim.Adam, {"lr": 1e-3}),
    "weight decay": (torch.optim.SGD, {"weight_decay": 1e-3}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 1e-2}),
}


@DTYPES
@ACTIVATIONS
@pytest.mark.parametrize("optimizer", STAYING)
def test_clones_stay_clones(optimizer: str, activation: type[nn.Module], dtype: torch.dtype) -> None:
    """1 - R^2 < 1e-10 after 200 steps, forward and backward, while the network learns."""
    task = Task(activation, dtype)
    network = cloned(task.network)
    before = task.losses(network).mean().item()
    make, options = STAYING[optimizer]
    for _ in task.train(network, 200, make, **options):
        pass
    assert _unexplained(task.captures(network)) < 1e-10
    assert task.losses(network).mean().item() < 0.95 * before


def test_scaled_clones_stay_under_descent_and_not_under_adam() -> None:
    """Another manifold of ReLU units, which Adam's steps of one size leave."""
    task = Task()
    parted = {}
    for name in ("descent", "adam"):
        network = cloned(task.network, scales=[1.0, 3.0])
        captures = task.captures(network)
        normal = clone_normal(captures.activations, captures.errors, captures.loss_gradients)
        assert max(normal.values()) < 1e-20
        make, options = STAYING[name]
        for _ in task.train(network, 100, make, **options | {"lr": 1e-3}):
            pass
        one, three = network[0].weight[::2], network[0].weight[1::2]
        parted[name] = (1 - torch.cosine_similarity(one, three, dim=1)).max().item()
    assert parted["descent"] < 1e-12
    assert parted["adam"] > 1e-3


# Leaving: whatever treats clones differently.


@torch.no_grad()
def _noise(network: Network, step: int, rng: torch.Generator) -> None:
    for p in network.parameters():
        if p.grad is not None:
            noise = torch.randn(p.shape, generator=rng, dtype=torch.float64)
            p.grad.add_(0.01 * 0.999**step * p.grad.norm() * noise)


@torch.no_grad()
def _replace(network: Network, step: int, rng: torch.Generator) -> None:
    """Replace a random unit of each layer every 25 steps, as continual backprop does: outgoing weights 0."""
    for layer in (0, 2) if step % 25 == 0 else ():
        unit = int(torch.randint(2 * HIDDEN, (), generator=rng))
        width = network[layer].weight.shape[1]
        network[layer].weight[unit] = torch.randn(width, generator=rng, dtype=torch.float64) / math.sqrt(width)
        network[layer].bias[unit] = 0.0
        network[layer + 2].weight[:, unit] = 0.0


@torch.no_grad()
def _shrink_and_perturb(network: Network, step: int, rng: torch.Generator) -> None:
    for p in network.parameters() if step % 25 == 0 else ():
        p.mul_(0.99).add_(0.01 * torch.randn(p.shape, generator=rng, dtype=torch.float64))


PERTURBATIONS = {"noise": _noise, "replacement": _replace, "shrink and perturb": _shrink_and_perturb}


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
def test_perturbations_part_clones(perturbation: str) -> None:
    """1 - R^2 is over 1e-6 after 100 steps; what stays is a factor of 1e4 below."""
    task = Task()
    network = cloned(task.network)
    for step, rng in enumerate(task.train(network, 100), start=1):
        PERTURBATIONS[perturbation](network, step, rng)
    assert _unexplained(task.captures(network)) > 1e-6


def test_dropout_parts_clones() -> None:
    """It drops one and not the other; without it, the same network's clones stay."""
    task = Task()
    network = cloned(task.network)
    dropping = nn.Sequential(*network[:2], nn.Dropout(0.1), *network[2:4], nn.Dropout(0.1), network[4])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in task.train(dropping, 100):
            pass
    assert _unexplained(task.captures(network)) > 1e-6


def test_an_unequal_split_parts_by_itself() -> None:
    """No noise is needed where the manifold is none."""
    task = Task()
    network = cloned(task.network, shares=[0.3, 0.7])
    for _ in task.train(network, 100):
        pass
    assert _unexplained(task.captures(network)) > 1e-5


def test_a_jitter_grows_and_adam_makes_it_grow_more() -> None:
    """The manifold is a saddle: 1e-6 of noise is amplified, a little by descent and a thousandfold by Adam."""
    task = Task()
    growth = {}
    for name in ("descent", "adam"):
        network = jittered(cloned(task.network), 1e-6, torch.Generator().manual_seed(0))
        before = _off_manifold(task.captures(network))
        assert 3e-7 < before < 3e-6
        make, _ = STAYING[name]
        for _ in task.train(network, 800, make, lr={"descent": 0.02, "adam": 0.005}[name]):
            pass
        growth[name] = _off_manifold(task.captures(network)) / before
    assert growth["adam"] > 1000
    assert 1 < growth["descent"] < growth["adam"] / 10


# Frozen units: no gradient, whatever the loss.


@DTYPES
def test_dead_relus_have_no_gradient_at_all(dtype: torch.dtype) -> None:
    """Exactly 0: incoming weights, bias and outgoing weights."""
    task = Task(nn.ReLU, dtype)
    with torch.no_grad():
        task.network[2].bias[:3] = -100.0
    gradient = task.captures(task.network).loss_gradients
    assert (gradient["second"][:3] == 0).all()
    assert (gradient["head"][:, :3] == 0).all()
    assert (gradient["head"][:, 3:] != 0).all()


@pytest.mark.parametrize(
    ("dtype", "bias", "low", "high"),
    [
        (torch.float32, 5.0, 1e-7, 1e-2),
        (torch.float32, 20.0, 0.0, 0.0),
        (torch.float64, 15.0, 1e-20, 1e-11),
        (torch.float64, 100.0, 0.0, 0.0),
    ],
)
def test_saturated_tanhs_fade_and_still_serve_as_a_bias(
    dtype: torch.dtype, bias: float, low: float, high: float
) -> None:
    """Their incoming gradient falls to exactly 0; their outgoing weights keep one: frozen, not frozen out."""
    task = Task(nn.Tanh, dtype)
    with torch.no_grad():
        task.network[2].weight[:3] *= 0.1
        task.network[2].bias[:3] = bias
    gradient = task.captures(task.network).loss_gradients
    assert low <= gradient["second"][:3].abs().max().item() <= high
    assert gradient["head"][:, :3].abs().max() > 1e-3


def test_adam_moves_dead_units_for_a_while() -> None:
    """By what is left of its momentum; then they are as still as under plain descent."""
    task = Task()
    network = copy.deepcopy(task.network)
    trace = []
    for step, _ in enumerate(task.train(network, 400, torch.optim.Adam, lr=1e-3)):
        if step == 100:
            with torch.no_grad():
                network[2].bias[0] = -1000.0
        trace.append(network[2].weight[0].detach().clone())
    assert all((g == 0).all() for g in (network[2].weight.grad[0], network[4].weight.grad[:, 0]))
    length = trace[100].norm()
    assert 1e-3 < (trace[200] - trace[100]).norm() / length < 0.3
    assert (trace[399] - trace[300]).norm() / length < 1e-6


# Stability: the Hessian across the manifold, from autograd, against the closed form.


def _hessian(task: Task, network: Network) -> Tensor:
    """Return the Hessian of the mean loss by all parameters, one after the other, from autograd."""
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def loss(*parts: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(network, dict(zip(parameters, parts, strict=True)), (task.x,))
        return (outputs - task.y).square().sum(dim=1).mean() / 2

    blocks = torch.autograd.functional.hessian(loss, tuple(parameters.values()), vectorize=True)
    sizes = [p.numel() for p in parameters.values()]
    return torch.cat(
        [
            torch.cat([b.reshape(n, m) for b, m in zip(row, sizes, strict=True)], dim=1)
            for row, n in zip(blocks, sizes, strict=True)
        ]
    )


def _rates(task: Task, network: Network) -> dict[str, Tensor]:
    """Return every unit's escape rate of both hidden layers in closed form, with the activation's curvature."""
    captures = task.captures(network)
    rates = {}
    for name, reader in (("first", "second"), ("second", "head")):
        curvatures = captures.signals[name] * captures.curvatures[name]
        rates[name] = escape_rates(
            captures.inputs[name], captures.derivatives[name], captures.errors[reader], curvatures, steps=99
        )
    return rates


def _split_one(network: Network, layer: int, unit: int) -> Network:
    """Split one unit equally; its clone is the last unit of the layer."""
    split = copy.deepcopy(network)
    first, second = split[layer], split[layer + 2]
    with torch.no_grad():
        second.weight[:, unit] /= 2
        first.weight = nn.Parameter(torch.cat([first.weight, first.weight[[unit]]]))
        first.bias = nn.Parameter(torch.cat([first.bias, first.bias[[unit]]]))
        second.weight = nn.Parameter(torch.cat([second.weight, second.weight[:, [unit]]], dim=1))
    return split


def _odd(network: Network, layer: int, unit: int) -> Tensor:
    """Return the directions in which a unit and the last one of its layer move oppositely, as orthonormal columns."""
    places = iter(torch.arange(sum(p.numel() for p in network.parameters())))
    ids = {n: torch.stack([next(places) for _ in range(p.numel())]).view_as(p) for n, p in network.named_parameters()}
    own = [(ids[f"{layer}.weight"], 0), (ids[f"{layer}.bias"], 0), (ids[f"{layer + 2}.weight"], 1)]
    ones = torch.cat([found.select(axis, unit).flatten() for found, axis in own])
    twos = torch.cat([found.select(axis, -1).flatten() for found, axis in own])
    eye = torch.eye(sum(found.numel() for found in ids.values()), dtype=torch.float64)
    return (eye[ones] - eye[twos]).T * math.sqrt(0.5)


@CURVED
def test_the_escape_rate_is_the_hessians_of_the_unit_split(activation: type[nn.Module]) -> None:
    """Of every unit, before it is split: minus the least eigenvalue of the block that splitting adds."""
    task = Task(activation, hidden=4, inputs=5)
    for name, layer in (("first", 0), ("second", 2)):
        rates = _rates(task, task.network)[name]
        for unit in range(4):
            split = _split_one(task.network, layer, unit)
            hessian, odd = _hessian(task, split), _odd(split, layer, unit)
            block = odd.T @ hessian @ odd
            assert rates[unit].item() == pytest.approx(-torch.linalg.eigvalsh(block)[0].item(), rel=1e-9)
            assert (hessian @ odd - odd @ block).norm() < 1e-12 * hessian.norm()  # and nothing else couples to it


@pytest.fixture(scope="module", params=[nn.ReLU, nn.Tanh], ids=["ReLU", "Tanh"])
def manifold(request: pytest.FixtureRequest) -> tuple[Task, Network, Tensor, Tensor]:
    """A small cloned network, its Hessian, and the projector on the normal space of its manifold."""
    task = Task(request.param, hidden=4, inputs=5)
    network = cloned(task.network)
    hessian = _hessian(task, network)
    normal = torch.stack([_project(network, row) for row in torch.eye(len(hessian), dtype=torch.float64)])
    return task, network, hessian, normal


def _project(network: Network, vector: Tensor) -> Tensor:
    """Project on the normal space, by averages over pairs written out for `[even, odd]` clones side by side."""
    out, parts = [], iter(vector.split([p.numel() for p in network.parameters()]))
    for position in (0, 2, 4):
        weight, bias = next(parts).view_as(network[position].weight), next(parts)
        mean, level = weight, bias
        if position < 4:
            mean = mean.reshape(-1, 2, mean.shape[1]).mean(dim=1).repeat_interleave(2, 0)
            level = level.reshape(-1, 2).mean(dim=1).repeat_interleave(2)
        if position > 0:
            mean = mean.reshape(len(mean), -1, 2).mean(dim=2).repeat_interleave(2, 1)
        out += [(weight - mean).flatten(), bias - level]
    return torch.cat(out)


def test_the_hessian_is_block_diagonal(manifold: tuple[Task, Network, Tensor, Tensor]) -> None:
    """What is normal to the manifold stays normal under H: P_T H P_N = 0."""
    _, _, hessian, normal = manifold
    leak = hessian @ normal - normal @ hessian @ normal
    assert leak.abs().max() < 1e-14 * hessian.abs().max() * len(hessian)


def test_function_preserving_directions_are_exactly_flat(manifold: tuple[Task, Network, Tensor, Tensor]) -> None:
    """Between two cloned layers, odd rows times odd columns change nothing: no manifold of two layers is stable."""
    _, network, hessian, _ = manifold
    start = network[0].weight.numel() + network[0].bias.numel()
    rng = torch.Generator().manual_seed(0)
    block = torch.randn(4, 4, generator=rng, dtype=torch.float64)
    odd = torch.kron(block, torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64))
    w = torch.zeros(len(hessian), dtype=torch.float64)
    w[start : start + odd.numel()] = odd.flatten()
    assert (hessian @ w).norm() < 1e-14 * w.norm() * hessian.norm()


def test_the_normal_spectrum_is_of_a_saddle(manifold: tuple[Task, Network, Tensor, Tensor]) -> None:
    """Of either sign; symmetric about 0 for piecewise-linear units, to rounding, and not quite so for smooth ones."""
    task, _, hessian, normal = manifold
    spectrum = torch.linalg.eigvalsh(normal @ hessian @ normal)
    assert spectrum[0] < -1e-2 < 1e-2 < spectrum[-1]
    asymmetry = (spectrum + spectrum.flip(0)).abs().max() / spectrum.abs().max()
    assert asymmetry < 1e-12 if isinstance(task.network[1], nn.ReLU) else asymmetry > 1e-4


def test_descent_leaves_the_saddle_at_the_escape_rate(manifold: tuple[Task, Network, Tensor, Tensor]) -> None:
    """A kick along the least curvature grows by 1 + rate * learning rate in one step."""
    task, network, hessian, normal = manifold
    values, vectors = torch.linalg.eigh(normal @ hessian @ normal)
    kick, rate = 1e-7 * vectors[:, 0], 1e-3
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for p, part in zip(moved.parameters(), kick.split([p.numel() for p in moved.parameters()]), strict=True):
            p += part.view_as(p)
    task.losses(moved).mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in moved.parameters() if p.grad is not None])
    after = _project(network, kick - rate * gradient)
    assert (after.norm() / kick.norm() - 1).item() / rate == pytest.approx(-values[0].item(), rel=1e-3)


def _lanczos(task: Task, network: Network, steps: int) -> Tensor:
    """Return the Ritz values of the Hessian across the manifold, rising, by Hessian-vector products alone."""
    captures = task.captures(network)
    rng = torch.Generator().manual_seed(0)
    start = {n: torch.randn(w.shape, generator=rng, dtype=torch.float64) for n, w in captures.weights.items()}

    def flat(direction: Direction) -> Tensor:
        return torch.cat([part.flatten() for part in _normal(captures, direction, 2).values()])

    def apply(vector: Tensor) -> Tensor:
        parts = vector.split([w.numel() for w in captures.weights.values()])
        held = {n: part.view_as(w) for (n, w), part in zip(captures.weights.items(), parts, strict=True)}
        return flat(captures.hvp(held))

    return _ritz(apply, flat(start), steps)


def _ritz(apply: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Return the Ritz values of a symmetric map, rising, by Lanczos' iteration."""
    basis = [start / start.norm()]
    while len(basis) < steps:
        w = apply(basis[-1])
        for _ in range(2):
            w = w - torch.stack(basis).T @ (torch.stack(basis) @ w)
        if w.norm() < 1e-12:  # the space is exhausted
            break
        basis.append(w / w.norm())
    return torch.linalg.eigvalsh(torch.stack(basis) @ torch.stack([apply(v) for v in basis], dim=1))


@CURVED
def test_the_closed_form_is_lanczos_on_the_cloned_network(activation: type[nn.Module]) -> None:
    """To 1e-5: the least eigenvalue across the manifold, of any unit, with clones taken together as one direction."""
    task = Task(activation)
    network = cloned(task.network)
    captures = task.captures(network)
    values = _lanczos(task, network, 60)
    greatest = 0.0
    for name, reader in (("first", "second"), ("second", "head")):
        x, g = captures.inputs[name], captures.errors[reader]
        if name == "second":
            x = torch.cat([x[:, :-1:2] * math.sqrt(2), x[:, -1:]], dim=1)
        if reader == "second":
            g = g[:, ::2] * math.sqrt(2)
        curvatures = 2 * (captures.signals[name] * captures.curvatures[name])[:, ::2]  # of both clones, as before
        rates = escape_rates(x, captures.derivatives[name][:, ::2], g, curvatures, steps=60)
        greatest = max(greatest, rates.max().item())
    assert greatest == pytest.approx(-values[0].item(), rel=1e-5)


@CURVED
def test_the_registered_rate_is_lanczos_on_the_unit_split(activation: type[nn.Module]) -> None:
    """To 1e-5, by Hessian-vector products of the network with one unit split, in the median of a layer's units."""
    task = Task(activation, hidden=4, inputs=5)
    read = _escape(task.captures(task.network))
    for name, layer in (("first", 0), ("second", 2)):
        rates = [_lanczos_of_split(task, _split_one(task.network, layer, unit), name, unit) for unit in range(4)]
        assert read[name] == pytest.approx(torch.tensor(rates).quantile(0.5).item(), rel=1e-5)


def _lanczos_of_split(task: Task, split: Network, layer: str, unit: int) -> float:
    """Return minus the least Ritz value of the Hessian where a unit and the last of its layer move oppositely."""
    captures, reader = task.captures(split), {"first": "second", "second": "head"}[layer]
    rows, columns = captures.weights[layer].shape[1], captures.weights[reader].shape[0]

    def apply(vector: Tensor) -> Tensor:
        direction = {name: torch.zeros_like(captures.weights[name]) for name in (layer, reader)}
        last, sign = len(direction[layer]) - 1, math.sqrt(0.5)
        for u, share in ((unit, sign), (last, -sign)):
            direction[layer][u], direction[reader][:, u] = share * vector[:rows], share * vector[rows:]
        moved = captures.hvp(direction)
        apart = (moved[layer][unit] - moved[layer][last], moved[reader][:, unit] - moved[reader][:, last])
        return torch.cat(apart) * sign

    return -_ritz(apply, torch.ones(rows + columns, dtype=torch.float64), rows + columns)[0].item()


def _escape(captures: Captures) -> dict[str, float]:
    """Read the registered probe by layer."""
    read = measure(captures, {"escape_rate": escape_rate})
    return {tag.removeprefix("escape_rate/"): value for tag, value in read.items()}


def test_a_solved_task_and_a_dead_unit_have_no_escape() -> None:
    """M_u = 0: the trap is flat, for good."""
    task = Task()
    with torch.no_grad():
        task.y = task.network(task.x)
    solved = task.captures(task.network)
    assert _escape(solved) == {"first": 0, "second": 0}
    task = Task()
    with torch.no_grad():
        task.network[2].bias[:] = -100.0
    dead = task.captures(task.network)
    assert _escape(dead) == {"first": 0, "second": 0}
