"""Conformance: what every registered probe must do, whatever it measures."""

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lopgym.probes import INVARIANCES, probes
from lopgym.probes.captures import Captures, measure, requests
from lopgym.registry import Entry

SAMPLES, UNITS, INPUTS, ACTIONS = 64, 10, 6, 4

PROBES = [pytest.param(entry, id=entry.name) for entry in probes]
DECLARED = [pytest.param(e, name, id=f"{e.name}-{name}") for e in probes for name in e.facts["invariant"]]
UNDECLARED = [
    pytest.param(e, name, id=f"{e.name}-{name}")
    for e in probes
    for name in sorted(INVARIANCES.keys() - e.facts["invariant"])
]
ACTIVATIONS_ONLY = {"samples", "offset"}  # weights and gradients have neither; probabilities cannot be scaled
UNMOVED = {
    (e.name, name) for e in probes for name in ACTIVATIONS_ONLY if {"weights", "gradients"} & {*requests(e.make)}
}
UNMOVED |= {("policy_entropy", name) for name in ("offset", "scale", "unit scale")}


def _holding(**given: Any) -> Captures:
    """Return captures that hold `given` instead of computing it; the rest is computed from that."""
    module = nn.Identity()
    captures = Captures(module, {"h": (module, module)}, {}, torch.zeros(1, 1))
    vars(captures).update(given)
    return captures


def _raw(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Draw all that is not computed from something else, with dead, quiet, cloned and constant units among them."""
    rng = torch.Generator().manual_seed(0)
    activations = torch.randn(SAMPLES, UNITS, generator=rng, dtype=dtype).relu()
    activations[:, 0], activations[:, 1], activations[:, 2] = 0.0, activations[:, 3] * 2, 0.7
    activations[:, 4] *= 1e-3
    gradients = torch.randn(UNITS, INPUTS + 1, generator=rng, dtype=dtype)
    gradients[0] = 0.0
    return {
        "activations": activations,
        "gradients": gradients,
        "weights": torch.randn(UNITS, INPUTS + 1, generator=rng, dtype=dtype),
        "initial_weights": torch.randn(UNITS, INPUTS + 1, generator=rng, dtype=dtype),
        "action_probabilities": torch.randn(SAMPLES, ACTIONS, generator=rng, dtype=dtype).softmax(dim=1),
    }


def _value(entry: Entry[dict[str, float]], raw: dict[str, Tensor]) -> float:
    """Measure one layer made of `raw`."""
    held = {name: value if name == "action_probabilities" else {"h": value} for name, value in raw.items()}
    (value,) = measure(_holding(**held), {entry.name: entry.make}).values()
    return value


def _units(name: str, x: Tensor) -> Tensor:
    axis = 0 if name in {"weights", "initial_weights", "gradients"} else 1
    return x.index_select(axis, torch.arange(x.shape[axis]).roll(3))


def _samples(name: str, x: Tensor) -> Tensor:
    return x.roll(5, dims=0) if name in {"activations", "action_probabilities"} else x


def _scale(name: str, x: Tensor) -> Tensor:
    return x if name == "action_probabilities" else x * 1e-5


def _unit_scale(name: str, x: Tensor) -> Tensor:
    if name == "action_probabilities":
        return x
    factors = torch.logspace(-9, 2, UNITS, dtype=x.dtype)
    return x * (factors if name == "activations" else factors[:, None])


def _offset(name: str, x: Tensor) -> Tensor:
    return x + torch.linspace(1, 50, UNITS, dtype=x.dtype) if name == "activations" else x


CHANGES: dict[str, Callable[[str, Tensor], Tensor]] = {
    "units": _units,
    "samples": _samples,
    "scale": _scale,
    "unit scale": _unit_scale,
    "offset": _offset,
}


@pytest.mark.parametrize("entry", PROBES)
def test_is_documented(entry: Entry[dict[str, float]]) -> None:
    """A source, a golden value, bounds, and invariances that there are."""
    assert entry.facts["cite"]
    assert f">>> {entry.name}(" in (inspect.getdoc(entry.make) or "")
    low, high = entry.facts["bounds"]
    assert low < high
    assert set(entry.facts["invariant"]) <= INVARIANCES.keys()


@pytest.mark.parametrize("entry", PROBES)
def test_requests_what_exists_and_has_defaults(entry: Entry[dict[str, float]]) -> None:
    """Positional parameters are requests; options can all be left alone."""
    assert set(requests(entry.make)) <= set(Captures.known())
    assert all(option.default is not option.empty for option in entry.options.values())


def test_every_invariance_is_tested() -> None:
    """A name in the documented set is a change made here."""
    assert CHANGES.keys() == INVARIANCES.keys()


@pytest.mark.parametrize(("entry", "name"), DECLARED)
def test_declared_invariances_hold(entry: Entry[dict[str, float]], name: str) -> None:
    """The declared change moves nothing beyond rounding."""
    raw = _raw()
    changed = {key: CHANGES[name](key, value) for key, value in raw.items()}
    assert _value(entry, changed) == pytest.approx(_value(entry, raw), rel=1e-9)


@pytest.mark.parametrize(("entry", "name"), UNDECLARED)
def test_invariances_not_declared_do_not_hold(entry: Entry[dict[str, float]], name: str) -> None:
    """What a probe does not declare, it sees; so the tests above can fail."""
    raw = _raw()
    changed = {key: CHANGES[name](key, value) for key, value in raw.items()}
    moved = _value(entry, changed) != pytest.approx(_value(entry, raw), rel=1e-6)
    assert moved is ((entry.name, name) not in UNMOVED)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entry", PROBES)
def test_is_deterministic_and_leaves_its_input_alone(entry: Entry[dict[str, float]], dtype: torch.dtype) -> None:
    """Twice the same number; inputs and the global random stream are as before."""
    raw = _raw(dtype)
    before, state = {name: value.clone() for name, value in raw.items()}, torch.get_rng_state()
    assert _value(entry, raw) == _value(entry, raw)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], raw[name]) for name in raw)


@pytest.mark.parametrize("entry", PROBES)
def test_single_and_double_precision_agree(entry: Entry[dict[str, float]]) -> None:
    """The same matrices in either precision read the same, by whichever way singular values are found."""
    single = _raw(torch.float32)
    double = {name: value.double() for name, value in single.items()}
    assert _value(entry, single) == pytest.approx(_value(entry, double), rel=1e-6)


SHAPES = [(SAMPLES, UNITS), (1, UNITS), (SAMPLES, 1), (1, 1), (3, UNITS)]
FILLS: list[Callable[[Tensor], Tensor]] = [
    torch.clone,
    torch.zeros_like,
    torch.ones_like,
    lambda x: x * (1e37 if x.dtype == torch.float32 else 1e120),
    lambda x: x * (1e-42 if x.dtype == torch.float32 else 1e-120),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entry", PROBES)
def test_is_finite_and_in_bounds(entry: Entry[dict[str, float]], dtype: torch.dtype) -> None:
    """On every shape and every size of number, dead layers and single units included."""
    rng = torch.Generator().manual_seed(1)
    low, high = entry.facts["bounds"]
    for shape, fill in itertools.product(SHAPES, FILLS):
        x = fill(torch.randn(shape, generator=rng, dtype=dtype))
        raw = dict.fromkeys(("activations", "weights", "gradients"), x)
        raw |= {"initial_weights": torch.zeros_like(x), "action_probabilities": x.softmax(dim=1)}
        value = _value(entry, raw)
        assert isinstance(value, float)
        assert math.isfinite(value)
        assert low <= value <= high
