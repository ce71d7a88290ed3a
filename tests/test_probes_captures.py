"""Captures: what probes request is right, computed once, and taken without disturbing anything."""

import re
from collections import OrderedDict
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lopgym.probes import matrices, probes
from lopgym.probes.captures import Captures, Unavailable, measure, requests
from lopgym.probes.dead import dead_fraction
from lopgym.probes.recording import undisturbed
from lopgym.probes.weight_norm import weight_norm

ALL = {entry.name: entry.make for entry in probes}


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


def _gradients(agent: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in agent.named_parameters() if p.grad is not None}


def _captures(agent: Agent, **given: Any) -> Captures:
    """Return captures of an agent that has everything."""
    given = {
        "initial": {name: torch.zeros_like(value) for name, value in agent.state_dict().items()},
        "gradients": _gradients(agent),
        "action_probabilities": lambda x: agent(x).softmax(dim=1),
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


def test_what_is_handed_out_is_a_copy() -> None:
    """Writing into it changes no parameter, no gradient, no observation's activation."""
    agent = _trained(Agent())
    before = {k: v.clone() for k, v in (agent.state_dict() | _gradients(agent)).items()}
    captures = _captures(agent)
    for request in ("weights", "gradients", "activations", "pre_activations", "initial_weights"):
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
    """One forward pass for activations and one for the policy; one Gram matrix a layer."""
    agent = _trained(Agent())
    calls: list[tuple[int, ...]] = []

    def count(a: Tensor) -> Tensor:
        calls.append(tuple(a.shape))
        return exact(a)

    exact = matrices.gram
    monkeypatch.setattr(matrices, "gram", count)
    captures = _captures(agent)
    agent.calls = 0
    measure(captures, ALL)
    assert measure(captures, ALL) == measure(captures, ALL)
    assert agent.calls == 2
    assert calls == [(16, 6), (16, 5)]


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
