"""Conformance: what every registered probe must do, whatever it measures."""

import inspect
import itertools
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lopgym.probes import INVARIANCES, probes
from lopgym.probes.behaviour import Behaviour
from lopgym.probes.captures import Captures, measure, requests
from lopgym.registry import Entry
from tests.planted import KINDS, MAKE_ACTIVATION, plant

SAMPLES, UNITS, INPUTS, ACTIONS = 64, 10, 6, 4

Raw = dict[str, dict[str, Tensor]]  # request -> layer or head -> matrix; those of "h" and of what reads it, "head"

BY_UNIT = (
    "activations", "pre_activations", "derivatives", "output_derivatives", "curvatures", "signals", "errors",
)  # (B, U)  # fmt: skip
BY_UNIT_ONCE = ("initial_activations", "previous_activations")  # the same of another network
OF_UNIT = (
    "weights", "kernels", "initial_weights", "previous_weights", "gradients", "loss_gradients", "hvp",
)  # (U, I + 1), or (U, I)  # fmt: skip
SAID = ("values", "previous_values", "preferences", "previous_preferences")  # (B, O), of "head"
PROBABILITIES = ("action_probabilities", "previous_action_probabilities")  # (B, A), of "policy"
OF_SAMPLE = ("predictions", "targets", "ages")  # (B,), of "head"
DERIVED = dict.fromkeys(("grams", "singular_values", "covariances", "correlations", "cosines"), "activations") | {
    "kernel_singular_values": "kernels",
    "order_statistics": "pre_activations",
}  # what they are computed from
CONSTANT = ("outgoing", "flow", "direct", "rng", "observations")  # nothing here changes them

PROBES = [pytest.param(entry, id=entry.name) for entry in probes]
DECLARED = [pytest.param(e, name, id=f"{e.name}-{name}") for e in probes for name in e.facts["invariant"]]
UNDECLARED = [
    pytest.param(e, name, id=f"{e.name}-{name}")
    for e in probes
    for name in sorted(INVARIANCES.keys() - e.facts["invariant"])
]


def _holding(raw: Raw) -> Captures:
    """Return captures that hold `raw` instead of computing it; the rest is computed from that."""
    module = nn.Identity()
    observations = torch.zeros_like(raw["activations"]["h"])
    captures = Captures(module, {"h": (module, module)}, {}, observations, outgoing={"h": ("head",)})
    held: dict[str, Any] = dict(raw) | {"direct": ("h",)}
    held["hvp"] = partial(_curve, raw["hvp"])
    held |= {request: raw[request]["policy"] for request in PROBABILITIES} | {"ages": raw["ages"]["head"]}
    vars(captures).update(held)
    return captures


def _curve(c: dict[str, Tensor], direction: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply by a Hessian diag(c) + c c^T / (10 ||c||), of all layers together."""
    norm = 10 * torch.stack([part.square().sum() for part in c.values()]).sum().sqrt()
    along = torch.stack([(c[name] * part).sum() for name, part in direction.items()]).sum()
    return {name: part * direction[name] + part * (along / norm.where(norm > 0, 1.0)) for name, part in c.items()}


def _raw(
    dtype: torch.dtype = torch.float64, samples: int = SAMPLES, units: int = UNITS, inputs: int = INPUTS, seed: int = 0
) -> Raw:
    """Draw all that is not computed from something else, of a layer `h` that `head` reads."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=dtype)

    raw: Raw = {name: {"h": draw(samples, units)} for name in BY_UNIT + BY_UNIT_ONCE}
    for name in ("activations", *BY_UNIT_ONCE):
        raw[name]["h"].relu_()
    raw["derivatives"]["h"] *= raw["pre_activations"]["h"] > 0  # as of a rectifier, for probes of those alone
    raw |= {name: {"h": draw(units, inputs + 1), "head": draw(ACTIONS, units + 1)} for name in OF_UNIT}
    raw["errors"]["head"] = draw(samples, ACTIONS)
    raw["inputs"] = {"h": draw(samples, inputs + 1)}
    raw |= {request: {"policy": draw(samples, ACTIONS).softmax(dim=1)} for request in PROBABILITIES}
    raw |= {request: {"head": draw(samples, ACTIONS)} for request in SAID}
    raw |= {request: {"head": draw(samples).abs()} for request in OF_SAMPLE}
    return raw | {"inputs": {**raw["inputs"], "head": torch.cat([raw["activations"]["h"], draw(samples, 1)], dim=1)}}


def _planted(dtype: torch.dtype = torch.float64) -> Raw:
    """Draw a layer with a dead, a cloned, a constant and a quiet unit, one that stands still and one that races.

    Units 5 and 6 resemble unit 8 but not each other, so that clusters depend on the order in which they are looked for.
    """
    raw = _raw(dtype)
    for name in ("activations", "errors", "signals"):
        h = raw[name]["h"]
        h[:, 0], h[:, 1], h[:, 4] = 0.0, h[:, 3] * 2, h[:, 4] * 1e-3
        h[:, 5], h[:, 6] = h[:, 8] + 0.22 * h[:, 5], h[:, 8] + 0.22 * h[:, 6]
    raw["activations"]["h"][:, 2] = 1e-3
    raw["signals"]["h"][:, 9] *= 1e-3
    raw["previous_activations"]["h"][:, :1] = raw["previous_activations"]["h"][:, 5:6] = 0.0
    raw["derivatives"]["h"] = (raw["pre_activations"]["h"] > 0).to(dtype)
    raw["derivatives"]["h"][:, 0] = 0.0
    raw["previous_weights"]["h"] = raw["weights"]["h"] + 0.1 * raw["previous_weights"]["h"]
    raw["previous_weights"]["h"][6], raw["previous_weights"]["h"][7] = raw["weights"]["h"][6], 0.0
    for name in ("gradients", "loss_gradients"):
        raw[name]["h"][0] = 0.0
    raw["inputs"]["head"] = torch.cat([raw["activations"]["h"], raw["inputs"]["head"][:, -1:]], dim=1)
    return raw


def _changed(name: str, raw: Raw) -> Raw:
    return {
        request: {layer: CHANGES[name](request, layer, x.clone()) for layer, x in own.items()}
        for request, own in raw.items()
    }


def _value(entry: Entry[dict[str, float]], raw: Raw) -> float:
    """Measure the layer `h` of `raw`, or what there is of the whole network."""
    values = measure(_holding(raw), {entry.name: entry.make})
    assert len(values) == 1 or f"{entry.name}/h" in values
    return values[f"{entry.name}/h"] if f"{entry.name}/h" in values else next(iter(values.values()))


def _sees(entry: Entry[dict[str, float]], name: str) -> bool:
    """Tell whether a change touches anything that the probe requests."""
    raw = _planted()
    changed = _changed(name, raw)
    asked = {DERIVED.get(request, request) for request in requests(entry.make)} - {*CONSTANT}
    return any(not torch.equal(x, changed[r][layer]) for r in asked for layer, x in raw[r].items())


def _units(request: str, layer: str, x: Tensor) -> Tensor:
    order = torch.arange(UNITS).roll(3)
    if request in PROBABILITIES + SAID:
        return x.roll(1, dims=1)
    if layer == "h" and request != "inputs":
        return x[order] if request in OF_UNIT else x[:, order]
    return x if request in ("errors", *OF_SAMPLE) or layer == "h" else torch.cat([x[:, order], x[:, UNITS:]], dim=1)


def _samples(request: str, layer: str, x: Tensor) -> Tensor:
    return x.roll(5, dims=0) if request in (*BY_UNIT, "inputs", *PROBABILITIES, *SAID, *OF_SAMPLE) else x


def _scale(request: str, layer: str, x: Tensor) -> Tensor:
    return x if request in PROBABILITIES else x * 1e-5


def _unit_scale(request: str, layer: str, x: Tensor) -> Tensor:
    factors = torch.logspace(-9, 2, UNITS, dtype=x.dtype)
    if layer == "h" and request in OF_UNIT:
        return x * factors[:, None]
    return x * factors if layer == "h" and request in BY_UNIT + BY_UNIT_ONCE else x


def _offset(request: str, layer: str, x: Tensor) -> Tensor:
    if request not in ("activations", "pre_activations", *BY_UNIT_ONCE):
        return x
    sizes = x.abs().amax(dim=0)  # quiet units move less, lest nothing but rounding be left of them
    return x + torch.linspace(1, 50, UNITS, dtype=x.dtype) * sizes.where(sizes > 0, 50.0)


CHANGES: dict[str, Callable[[str, str, Tensor], Tensor]] = {
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
    raw = _planted()
    assert _value(entry, _changed(name, raw)) == pytest.approx(_value(entry, raw), rel=1e-9)


@pytest.mark.parametrize(("entry", "name"), UNDECLARED)
def test_invariances_not_declared_do_not_hold(entry: Entry[dict[str, float]], name: str) -> None:
    """What a probe does not declare, it sees, if it is there to see; so the tests above can fail."""
    raw = _planted()
    moved = _value(entry, _changed(name, raw)) != pytest.approx(_value(entry, raw), rel=1e-6)
    assert moved is _sees(entry, name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entry", PROBES)
def test_is_deterministic_and_leaves_its_input_alone(entry: Entry[dict[str, float]], dtype: torch.dtype) -> None:
    """Twice the same number; inputs and the global random stream are as before."""
    raw = _planted(dtype)
    before, state = _changed("samples", raw), torch.get_rng_state()
    assert _value(entry, raw) == _value(entry, raw)
    assert torch.equal(torch.get_rng_state(), state)
    after = _changed("samples", raw)
    assert all(torch.equal(x, after[request][layer]) for request, own in before.items() for layer, x in own.items())


@pytest.mark.parametrize("entry", PROBES)
def test_single_and_double_precision_agree(entry: Entry[dict[str, float]]) -> None:
    """The same matrices in either precision read the same, by whichever way singular values are found."""
    single = _planted(torch.float32)
    double = {request: {layer: x.double() for layer, x in own.items()} for request, own in single.items()}
    assert _value(entry, single) == pytest.approx(_value(entry, double), rel=1e-6)


SHAPES = [(SAMPLES, UNITS), (1, UNITS), (SAMPLES, 1), (1, 1), (3, UNITS)]
# what is multiplied together
BACKWARD = ("inputs", "derivatives", "output_derivatives", "curvatures", "signals", "errors", "loss_gradients", "hvp")
FILLS: list[Callable[[str, Tensor], Tensor]] = [
    lambda request, x: x,
    lambda request, x: torch.zeros_like(x),
    lambda request, x: torch.ones_like(x),
    lambda request, x: x * (1e37 if x.dtype == torch.float32 else 1e120) ** (0.25 if request in BACKWARD else 1),
    lambda request, x: x * (1e-42 if x.dtype == torch.float32 else 1e-120),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entry", PROBES)
def test_is_finite_and_in_bounds(entry: Entry[dict[str, float]], dtype: torch.dtype) -> None:
    """On every shape and every size of number, dead layers and single units included."""
    low, high = entry.facts["bounds"]
    for (samples, units), fill in itertools.product(SHAPES, FILLS):
        drawn = _raw(dtype, samples, units, seed=1)
        raw = {
            request: {layer: x if layer == "policy" else fill(request, x) for layer, x in own.items()}
            for request, own in drawn.items()
        }
        value = _value(entry, raw)
        assert isinstance(value, float)
        assert math.isfinite(value)
        assert low <= value <= high


@pytest.mark.parametrize("make_activation", MAKE_ACTIVATION, ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_can_be_measured(kind: str, make_activation: Callable[[], nn.Module]) -> None:
    """Linear, convolution, LayerNorm, CReLU: every probe is finite, in bounds, and leaves the network alone."""
    planted, before = plant(kind, make_activation), plant(kind, make_activation, seed=1)
    state = {name: value.clone() for name, value in planted.network.state_dict().items()}
    first = before.captures()
    captures = planted.captures(
        initial=before.network.state_dict(),
        gradients=before.network.state_dict(),
        action_probabilities=lambda x: planted.network(x).softmax(dim=1),
        previous={"activations": first.activations, "weights": first.weights, "parameters": first.parameters},
        behaviour=Behaviour(
            value_heads=("head",),
            action_heads=("head",),
            regression=lambda x: {"head": (planted.network(x)[:, 0], planted.targets[:, 0])},
            ages=torch.arange(len(planted.observations)),
        ),
    )
    values = measure(captures, {entry.name: entry.make for entry in probes})
    for tag, value in values.items():
        low, high = probes[tag.partition("/")[0]].facts["bounds"]
        assert math.isfinite(value), tag
        assert low <= value <= high, tag
    rectified = isinstance(make_activation(), nn.ReLU) and not kind.endswith("crelu")
    left_out = set() if rectified else {"distance_to_frozen"}
    assert {entry.name for entry in probes} - {tag.partition("/")[0] for tag in values} == left_out
    assert all(torch.equal(state[name], value) for name, value in planted.network.state_dict().items())
    assert all(p.grad is None for p in planted.network.parameters())
