"""Captures: what probes request is right, computed once, and taken without disturbing anything."""

import re
from collections import OrderedDict
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lopgym.probes import matrices, probes
from lopgym.probes.behaviour import Behaviour
from lopgym.probes.captures import Captures, Unavailable, measure, requests
from lopgym.probes.dead import dead_fraction
from lopgym.probes.recording import undisturbed, units_last
from lopgym.probes.weight_norm import weight_norm
from tests.planted import ACTIVATIONS, KINDS, Concatenated, plant

AFFINES = [
    nn.Linear(9, 4),
    nn.Linear(9, 4, bias=False),
    nn.Conv1d(2, 4, 3, stride=2),
    nn.Conv2d(2, 4, 3),
    nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), bias=False),
    nn.Conv2d(2, 4, 3, padding="same", dilation=2, padding_mode="circular"),
]

ALL = {entry.name: entry.make for entry in probes}
SHAPES = {"hidden0": (6, 5), "hidden1": (5, 7), "head": (3, 6)}  # of the weights of `Agent`


class Agent(nn.Module):
    """A policy of two layers with everything that could be disturbed: dropout, batch statistics, random numbers."""

    def __init__(self) -> None:
        """Draw weights from a fixed seed."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)
        self.relu, self.tanh = nn.ReLU(inplace=True), nn.Tanh()
        self.norm, self.dropout = nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 4) to logits (B, 3), with noise."""
        self.calls += 1
        h = self.dropout(self.relu(self.norm(self.first(x))))
        logits: Tensor = self.head(self.tanh(self.second(h)))
        return logits + torch.rand_like(logits)

    def layers(self) -> dict[str, tuple[nn.Module, nn.Module]]:
        """Name the hidden layers."""
        return {"hidden0": (self.first, self.relu), "hidden1": (self.second, self.tanh)}


def _observations(samples: int = 16) -> Tensor:
    return torch.randn(samples, 4, generator=torch.Generator().manual_seed(1))


def _rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def _quiet(agent: Agent, x: Tensor) -> Tensor:
    """Map (B, 4) to logits (B, 3), without noise."""
    logits: Tensor = agent.head(agent.tanh(agent.second(agent.dropout(agent.relu(agent.norm(agent.first(x)))))))
    return logits


def _gradients(agent: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in agent.named_parameters() if p.grad is not None}


def _captures(agent: Agent, **given: Any) -> Captures:
    """Return captures of an agent that has everything."""
    before = {"hidden0": torch.ones(9, 6), "hidden1": torch.ones(9, 5)}
    given = {
        "initial": {name: torch.zeros_like(value) for name, value in agent.state_dict().items()},
        "gradients": _gradients(agent),
        "action_probabilities": lambda x: agent(x).softmax(dim=1),
        "loss": lambda x: agent(x).square().sum(dim=1),
        "previous": {
            "activations": before,
            "weights": {n: torch.zeros(*w) for n, w in SHAPES.items()},
            "parameters": {name: torch.ones_like(value) for name, value in agent.state_dict().items()},
        },
        "behaviour": Behaviour(
            value_heads=("head",),
            action_heads=("head",),
            regression=lambda x: {"head": (agent(x)[:, 0], x[:, 0])},
            ages=torch.arange(16),
        ),
    } | given
    return Captures(agent, agent.layers(), {"head": agent.head}, _observations(), **given)


def _trained(agent: Agent) -> Agent:
    """Take one gradient, in training mode but for the batch statistics."""
    agent.norm.eval()
    agent(_observations()).square().mean().backward()
    return agent


def test_activations_are_those_of_evaluation() -> None:
    """By hand: batch statistics frozen, dropout off; the input of an in-place activation, before it overwrote that."""
    agent = _trained(Agent())
    captures = _captures(agent)
    with torch.no_grad():
        z0 = agent.first(_observations()) / (1 + agent.norm.eps) ** 0.5
        z1 = agent.second(z0.relu())
    torch.testing.assert_close(captures.pre_activations, {"hidden0": z0, "hidden1": z1})
    torch.testing.assert_close(captures.activations, {"hidden0": z0.relu(), "hidden1": z1.tanh()})


def test_convolutions_give_a_row_to_every_place() -> None:
    """(B, C, H, W) becomes (B * H * W, C), places of one image together."""
    conv, act = nn.Conv2d(1, 2, 1), nn.Identity()
    x = torch.arange(2 * 9, dtype=torch.float32).reshape(2, 1, 3, 3)
    captures = Captures(nn.Sequential(conv, act), {"c": (conv, act)}, {}, x)
    expected = x.reshape(-1, 1) * conv.weight.detach().reshape(1, 2) + conv.bias.detach()
    torch.testing.assert_close(captures.activations["c"], expected)
    torch.testing.assert_close(captures.pre_activations["c"], expected)


def test_weights_lie_beside_biases() -> None:
    """Of linear maps and convolutions, with and without a bias."""
    convolution, plain = nn.Conv2d(3, 4, 2), nn.Linear(3, 2, bias=False)
    captures = Captures(nn.Identity(), {}, {"conv": convolution, "plain": plain}, torch.zeros(1))
    assert captures.weights["conv"].shape == (4, 3 * 2 * 2 + 1)
    assert torch.equal(captures.weights["conv"][:, -1], convolution.bias.detach())
    assert torch.equal(captures.weights["conv"][:, :-1], convolution.weight.detach().flatten(1))
    assert torch.equal(captures.weights["plain"], plain.weight.detach())


def test_gradients_and_initial_weights_are_found_by_parameter_name() -> None:
    """Shaped like the weights; a layer of which something is missing is left out."""
    agent = _trained(Agent())
    gradients = _gradients(agent)
    captures = _captures(agent, gradients={k: g for k, g in gradients.items() if k != "second.bias"})
    assert captures.gradients.keys() == {"hidden0", "head"}
    assert torch.equal(
        captures.gradients["head"], torch.cat([gradients["head.weight"], gradients["head.bias"][:, None]], 1)
    )
    assert {k: w.shape for k, w in captures.initial_weights.items()} == {
        k: w.shape for k, w in captures.weights.items()
    }


@pytest.mark.parametrize("module", AFFINES, ids=str)
def test_inputs_times_weights_are_what_the_map_returns(module: nn.Module) -> None:
    """Of linear maps and of convolutions of any stride, padding and dilation, with and without a bias."""
    x = torch.randn(3, *((2, 9, 8) if isinstance(module, nn.Conv2d) else (2, 9)), generator=_rng())
    captures = Captures(module, {}, {"map": module}, x)
    with torch.no_grad():
        expected = units_last(module(x), module)
    torch.testing.assert_close(captures.inputs["map"] @ captures.weights["map"].T, expected)


def test_inputs_of_grouped_convolutions_and_of_heads_that_do_not_run_are_left_out() -> None:
    """The patches of the former have no weights of their shape."""
    grouped = nn.Conv2d(2, 4, 1, groups=2)
    captures = Captures(grouped, {}, {"grouped": grouped, "idle": nn.Linear(1, 1)}, torch.zeros(1, 2, 3, 3))
    assert captures.inputs == {}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_derivatives_are_slopes(activation: nn.Module) -> None:
    """By central differences in double precision, away from kinks."""
    z = torch.linspace(-3, 3, 40, dtype=torch.float64).reshape(-1, 4)
    linear = nn.Identity()
    captures = Captures(nn.Sequential(linear, activation), {"h": (linear, activation)}, {}, z)
    step = 1e-6
    with torch.no_grad():
        expected = (activation(z + step) - activation(z - step)) / (2 * step)
    torch.testing.assert_close(captures.derivatives["h"], expected, rtol=1e-7, atol=1e-8)


def test_a_unit_of_crelu_slopes_in_both_halves() -> None:
    """One of them moves wherever it stands; the sum of both would cancel nothing."""
    activation, first = Concatenated(nn.ReLU()), nn.Linear(2, 3)
    captures = Captures(nn.Sequential(first, activation), {"h": (first, activation)}, {}, torch.randn(4, 2))
    assert captures.activations["h"].shape == (4, 6)
    assert torch.equal(captures.derivatives["h"], torch.ones(4, 3))


def test_backward_signals_are_those_of_autograd_by_hand() -> None:
    """Through dropout that is off, an in-place activation and a norm; each sample by itself, written out."""
    agent = _trained(Agent())
    captures = _captures(agent, loss=lambda x: _quiet(agent, x).square().sum(dim=1))
    with torch.no_grad():
        z0 = agent.first(_observations())
        h0 = (z0 / (1 + agent.norm.eps) ** 0.5).relu()
        h1 = agent.second(h0).tanh()
        e2 = 2 * agent.head(h1)
        s1 = e2 @ agent.head.weight
        e1 = s1 * (1 - h1**2)
        s0 = e1 @ agent.second.weight
        e0 = s0 * (h0 > 0) / (1 + agent.norm.eps) ** 0.5
    torch.testing.assert_close(captures.signals, {"hidden0": s0, "hidden1": s1})
    torch.testing.assert_close(captures.errors, {"hidden0": e0, "hidden1": e1, "head": e2})
    torch.testing.assert_close(
        captures.errors["hidden1"], captures.signals["hidden1"] * captures.derivatives["hidden1"]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_gradients_are_errors_times_inputs_and_those_of_training(kind: str, dtype: torch.dtype) -> None:
    """Two ways: by the chain rule from `errors` and `inputs`, and by `backward` into the parameters."""
    planted = plant(kind, nn.GELU, dtype=dtype)
    captures = planted.captures()
    samples = len(planted.observations)
    planted.loss(planted.observations).mean().backward()
    trained = Captures(
        planted.network, planted.layers, planted.heads, planted.observations, gradients=_gradients(planted.network)
    ).gradients
    torch.testing.assert_close(captures.loss_gradients, trained)
    product = {name: e.T @ captures.inputs[name] / samples for name, e in captures.errors.items()}
    torch.testing.assert_close(product, trained)


@pytest.mark.parametrize("kind", KINDS)
def test_hessian_vector_products_are_differences_of_gradients(kind: str) -> None:
    """Along a random direction, in double precision; and the Hessian is symmetric."""
    planted, rng = plant(kind, nn.Tanh, dtype=torch.float64), _rng()
    captures = planted.captures()
    one, two = (
        {name: torch.randn(w.shape, generator=rng, dtype=w.dtype) for name, w in captures.weights.items()}
        for _ in range(2)
    )
    step = 1e-5
    ends = [planted.moved(one, size).captures().loss_gradients for size in (step, -step)]
    expected = {name: (ends[0][name] - ends[1][name]) / (2 * step) for name in one}
    torch.testing.assert_close(captures.hvp(one), expected, rtol=1e-5, atol=1e-8)
    there = sum((two[name] * part).sum() for name, part in captures.hvp(one).items())
    back = sum((one[name] * part).sum() for name, part in captures.hvp(two).items())
    torch.testing.assert_close(there, back)


def test_a_direction_that_leaves_layers_out_does_not_move_them() -> None:
    """As if it were zero there; a loss that does not curve has no curvature."""
    planted = plant("linear", nn.Tanh, dtype=torch.float64)
    captures = planted.captures()
    some = {"hidden0": torch.ones_like(captures.weights["hidden0"])}
    full = {name: some.get(name, torch.zeros_like(w)) for name, w in captures.weights.items()}
    torch.testing.assert_close(captures.hvp(some), captures.hvp(full))
    head = nn.Linear(2, 1)
    straight = Captures(head, {}, {"head": head}, torch.randn(4, 2), loss=lambda x: head(x).squeeze(1))
    assert torch.equal(straight.hvp({"head": torch.ones(1, 3)})["head"], torch.zeros(1, 3))


def test_frozen_layers_have_signals_but_no_loss_gradient() -> None:
    """Parameters that take no gradient: what the loss asks of the units is measured nevertheless."""
    planted = plant("linear", nn.Tanh)
    expected = planted.captures().signals
    planted.layers["hidden0"][0].requires_grad_(False)
    captures = planted.captures()
    torch.testing.assert_close(captures.signals, expected)
    assert captures.loss_gradients.keys() == {"hidden1", "head"}
    assert captures.hvp({}).keys() == {"hidden1", "head"}


def test_a_target_computed_by_the_same_network_does_not_hide_the_signals() -> None:
    """Semi-gradient losses run the network twice, once without autograd: that run is not the one that counts."""
    planted = plant("linear", nn.Tanh)

    def loss(x: Tensor) -> Tensor:
        outputs = planted.network(x)
        with torch.no_grad():
            targets = planted.network(x + 1)
        return ((outputs - targets) ** 2).sum(dim=1)

    with torch.no_grad():
        targets = planted.network(planted.observations + 1)
    fixed = planted.captures(loss=lambda x: ((planted.network(x) - targets) ** 2).sum(dim=1))
    assert all(bool(signal.any()) for signal in fixed.signals.values())
    torch.testing.assert_close(planted.captures(loss=loss).signals, fixed.signals)


def test_initial_activations_are_those_of_the_initial_weights() -> None:
    """On today's observations; the network gets the very memory of its own weights back."""
    planted, first = plant("layer_norm", nn.ReLU), plant("layer_norm", nn.ReLU, seed=1)
    memory = [p.data_ptr() for p in planted.network.parameters()]
    captures = planted.captures(initial=first.network.state_dict())
    torch.testing.assert_close(captures.initial_activations, first.captures().activations)
    assert [p.data_ptr() for p in planted.network.parameters()] == memory
    incomplete = {name: value for name, value in first.network.state_dict().items() if name != "first.weight"}
    with pytest.raises(Unavailable, match=r"there are no initial values of first\.weight"):
        planted.captures(initial=incomplete).initial_activations  # noqa: B018 - asking for it computes it


def test_outgoing_follows_the_order_of_the_layers_unless_it_is_given() -> None:
    """The next one reads each layer, all heads the last."""
    planted = plant("linear", nn.ReLU)
    assert planted.captures().outgoing == {"hidden0": ("hidden1",), "hidden1": ("head",)}
    given = {"hidden0": ("hidden1", "head"), "hidden1": ("head",)}
    assert planted.captures(outgoing=given).outgoing == planted.captures(outgoing=given).flow == given


def test_every_probe_draws_from_the_same_start() -> None:
    """So that none moves what another draws, and the caller's generator stays where it was."""
    rng = _rng()
    state = rng.get_state()
    captures = plant("linear", nn.ReLU).captures(rng=rng)
    assert torch.equal(torch.rand(3, generator=captures.rng), torch.rand(3, generator=captures.rng))
    assert torch.equal(rng.get_state(), state)
    assert torch.equal(torch.rand(3, generator=captures.rng), torch.rand(3, generator=_rng()))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x: x.sum(), r"loss must return one number a sample, \(16,\), not \(\)"),
        (lambda x: x.sum(dim=1).detach(), "loss must be differentiable"),
    ],
)
def test_a_loss_that_is_none_is_refused(loss: Any, message: str) -> None:
    """A mean would make each sample's share too small, and a constant all signals zero."""
    with pytest.raises(ValueError, match=message):
        _captures(Agent(), loss=loss).signals  # noqa: B018 - asking for it computes it


def test_what_is_handed_out_is_a_copy() -> None:
    """Writing into it changes no parameter, no gradient, no observation's activation."""
    agent = _trained(Agent())
    before = {k: v.clone() for k, v in (agent.state_dict() | _gradients(agent)).items()}
    captures = _captures(agent)
    wiring = {"outgoing", "flow"}
    matrices_of_layers = [r for r in Captures.known() if isinstance(getattr(captures, r), dict) and r not in wiring]
    assert len(matrices_of_layers) >= 17
    for request in matrices_of_layers:
        for tensor in getattr(captures, request).values():
            assert not tensor.requires_grad
            tensor.fill_(7.0)
    after = agent.state_dict() | _gradients(agent)
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_measuring_leaves_no_trace() -> None:
    """Modes (mixed ones), parameters, buffers, gradients, hooks and random streams are as before."""
    agent = _trained(Agent())
    state = {k: v.clone() for k, v in agent.state_dict().items()}
    gradients = {k: g.clone() for k, g in _gradients(agent).items()}
    modes, rng = [m.training for m in agent.modules()], torch.get_rng_state()
    assert len(set(modes)) == 2
    values = measure(_captures(agent), ALL)
    assert {tag.partition("/")[0] for tag in values} == ALL.keys()
    assert [m.training for m in agent.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(state[k], v) for k, v in agent.state_dict().items())
    assert all(torch.equal(gradients[k], g) for k, g in _gradients(agent).items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in agent.modules())


def test_a_failing_forward_pass_leaves_no_trace_either() -> None:
    """The error comes through; hooks are gone and modes restored."""
    agent = Agent()

    def fail(x: Tensor) -> Tensor:
        agent(x)
        raise RuntimeError("no memory left")

    modes, rng = [m.training for m in agent.modules()], torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no memory left"):
        _captures(agent, forward=fail).activations  # noqa: B018 - asking for it computes it
    assert [m.training for m in agent.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in agent.modules())


def test_training_with_probes_is_bitwise_training_without() -> None:
    """Thirty steps with dropout, batch statistics and momentum, measured at each step or never."""

    def train(*, probe: bool) -> dict[str, Tensor]:
        agent = Agent()
        optimizer = torch.optim.SGD(agent.parameters(), lr=0.1, momentum=0.9)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            for _ in range(30):
                optimizer.zero_grad()
                agent(torch.randn(16, 4)).square().mean().backward()
                if probe:
                    measure(_captures(agent), ALL)
                optimizer.step()
        return agent.state_dict()

    without, measured = train(probe=False), train(probe=True)
    assert all(torch.equal(without[k], measured[k]) for k in without)


def test_what_several_ask_for_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass for each thing that needs one of its own; one Gram matrix a layer."""
    agent = _trained(Agent())
    calls: list[tuple[int, ...]] = []

    def count(a: Tensor) -> Tensor:
        calls.append(tuple(a.shape))
        return exact(a)

    exact = matrices.gram
    monkeypatch.setattr(matrices, "gram", count)
    captures = _captures(agent)
    agent.calls = 0
    for request in ("grams", "singular_values", "correlations", "cosines") * 2:
        getattr(captures, request)
    assert calls == [(16, 6), (16, 5)]
    first = measure(captures, ALL)
    for _ in range(2):
        assert all(getattr(captures, request) is not None for request in Captures.known())
    assert measure(captures, ALL) == first
    passes = {
        "activations": 2,  # twice, as the agent has a module that works in place
        "inputs": 2,
        "initial_activations": 2,
        "loss": 1,
        "curvature": 1,
        "policy, now and before": 2,
        "outputs, now and before": 2,
        "predictions": 1,
    }
    assert agent.calls == sum(passes.values())


def test_what_nobody_asks_for_is_not_computed() -> None:
    """Weights need no forward pass, and nothing else that the network may lack."""
    agent = Agent()
    values = measure(_captures(agent, gradients=None, initial=None), {"w": weight_norm})
    assert values.keys() == {"w/hidden0", "w/hidden1", "w/head"}
    assert agent.calls == 0


def test_tags_name_probe_and_layer_and_options_are_bound_first() -> None:
    """`<name>/<layer>`, under the name that the caller gave."""
    captures = _captures(_trained(Agent()))
    values = measure(captures, {"all": partial(dead_fraction, threshold=1e9), "policy": ALL["policy_entropy"]})
    assert {tag: v for tag, v in values.items() if tag.startswith("all/")} == {"all/hidden0": 1.0, "all/hidden1": 1.0}
    assert "policy/policy" in values


def test_options_are_not_requests() -> None:
    """Nor are options that have been bound."""
    assert requests(dead_fraction) == requests(partial(dead_fraction, share=0.5)) == ("activations",)
    assert requests(ALL["distance_from_init"]) == ("weights", "initial_weights")


def test_an_unknown_request_is_refused_by_name() -> None:
    """One line: which probe, what it asked for, what was probably meant or what there is."""

    def misspelt(activation: Tensor) -> dict[str, float]:
        return {}

    def foreign(zebra: Tensor) -> dict[str, float]:
        return {}

    message = "probe 'mine' requests 'activation'; did you mean 'activations'?"
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        measure(_captures(Agent()), {"mine": misspelt})
    with pytest.raises(TypeError, match=r"^probe 'mine' requests 'zebra'; known: action_probabilities, .*weights$"):
        measure(_captures(Agent()), {"mine": foreign})


@pytest.mark.parametrize(
    ("name", "lacking", "message"),
    [
        ("gradient_norm", {"gradients": None}, "there are no gradients of hidden0, hidden1, head"),
        ("gradient_norm", {"gradients": {}}, "there are no gradients of hidden0, hidden1, head"),
        ("distance_from_init", {"initial": None}, "there are no initial weights of hidden0, hidden1, head"),
        ("policy_entropy", {"action_probabilities": None}, "there are no action probabilities: the agent has no"),
        ("grama", {"loss": None}, "there is no loss to go back from: give `loss`"),
        ("dormant_overlap", {"previous": None}, "there are no previous activations: this is the first measurement"),
        ("dead_fraction", {"forward": lambda x: x}, "the forward pass did not run the activation of hidden0, hidden1"),
    ],
)
def test_what_a_network_cannot_give_is_said(name: str, lacking: dict[str, Any], message: str) -> None:
    """A request that exists but not here has an error of its own, which a caller can catch; the others go on."""
    captures = _captures(_trained(Agent()), **lacking)
    with pytest.raises(Unavailable, match=f"^{message}"):
        measure(captures, {name: ALL[name]})
    assert measure(captures, {"weight_norm": weight_norm})


def test_two_layers_may_not_share_an_activation_module() -> None:
    """They could not be told apart."""
    act = nn.ReLU()
    with pytest.raises(ValueError, match="two of a, b share one activation module"):
        Captures(nn.Identity(), {"a": (nn.Linear(1, 1), act), "b": (nn.Linear(1, 1), act)}, {}, torch.zeros(1, 1))


def test_an_empty_batch_is_refused() -> None:
    """Its means would be NaN."""
    with pytest.raises(ValueError, match="at least one observation"):
        Captures(nn.Identity(), {}, {}, torch.zeros(0, 4))


def test_any_module_will_do() -> None:
    """A hand-written network with normalisation, reached through a forward pass of the caller's own."""
    blocks = nn.ModuleDict(OrderedDict(a=nn.Linear(3, 7), n=nn.LayerNorm(7), act=nn.GELU(), out=nn.Linear(7, 1)))
    captures = Captures(
        blocks,
        {"a": (blocks["a"], blocks["act"])},
        {"out": blocks["out"]},
        torch.randn(9, 3, generator=torch.Generator().manual_seed(0)),
        forward=lambda x: blocks["act"](blocks["n"](blocks["a"](x))),
    )
    assert captures.pre_activations["a"].mean(dim=1).abs().max() < 1e-6  # what LayerNorm returns
    assert torch.equal(captures.activations["a"], nn.functional.gelu(captures.pre_activations["a"]))


def test_undisturbed_restores_every_module_by_itself() -> None:
    """A module that was evaluated among trained ones stays evaluated; autograd and randomness go on as before."""
    net = nn.Sequential(nn.Dropout(), nn.Dropout())
    net[1].eval()
    state = torch.get_rng_state()
    with undisturbed(net):
        assert not any(m.training for m in net.modules())
        assert not torch.is_grad_enabled()
        torch.rand(3)
    assert [m.training for m in net.modules()] == [True, True, False]
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
