"""Random numbers come from the CPU's generator, wherever the network is."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lopgym.agents.draws import normal_like, orthogonal_like, uniform_like

AGENTS = Path(__file__).parents[1] / "agents"
DRAWS: dict[str, tuple[Callable[[Tensor, torch.Generator], Tensor], Callable[[Tensor, torch.Generator], Tensor]]] = {
    "normal": (normal_like, lambda room, rng: room.normal_(generator=rng)),
    "uniform": (lambda like, rng: uniform_like(like, 0.5, rng), lambda r, rng: r.uniform_(-0.5, 0.5, generator=rng)),
    "orthogonal": (
        lambda like, rng: orthogonal_like(like, 2.0, rng),
        lambda room, rng: nn.init.orthogonal_(room, gain=2.0, generator=rng),
    ),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_the_generators(name: str, dtype: torch.dtype) -> None:
    """On the CPU: the very numbers of PyTorch's own call, in the type that was asked for."""
    draw, plain = DRAWS[name]
    drawn = draw(torch.zeros(5, 4, dtype=dtype), torch.Generator().manual_seed(3))
    assert torch.equal(drawn, plain(torch.empty(5, 4, dtype=dtype), torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("name", DRAWS)
def test_another_device_is_served_by_the_same_generator(name: str) -> None:
    """What is elsewhere, here on no device at all, uses up the same numbers of the CPU's generator, and comes there."""
    draw, plain = DRAWS[name]
    rng, other = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    drawn = draw(torch.zeros(5, 4, device="meta"), rng)
    plain(torch.empty(5, 4), other)
    assert (drawn.device.type, drawn.shape) == ("meta", (5, 4))
    assert torch.equal(rng.get_state(), other.get_state())


def test_nothing_else_draws_into_tensors_of_a_network() -> None:
    """A generator of the CPU cannot fill a tensor on a GPU: `normal_` and its like stand in one file."""
    filling = {"normal_", "uniform_", "orthogonal_", "bernoulli_", "exponential_", "random_"}
    found = [
        f"{file.relative_to(AGENTS)}:{node.lineno}"
        for file in sorted(AGENTS.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in filling
        if any(keyword.arg == "generator" for keyword in node.keywords)
    ]
    assert {place.partition(":")[0] for place in found} == {"draws.py"}
