"""Probes: pure functions from what a network holds to named scalars. Torch only: no gymnasium, no Stable-Baselines3."""

if __name__ != "lopgym.probes":
    raise ImportError(
        f"this folder is the package lopgym.probes: write `import lopgym.probes`, not `import {__name__}`"
    )

from lopgym.registry import Registry

probes: Registry[dict[str, float]] = Registry("probe", __name__)
register = probes.register

INVARIANCES = {
    "units": "the order of the units of a layer (of the actions, for a policy) does not matter",
    "samples": "the order of the samples does not matter",
    "scale": "multiplying everything requested by one number c > 0 does not matter",
    "unit scale": "multiplying each unit by its own number c > 0 does not matter",
    "offset": "adding a constant to each unit does not matter",
}
"""What a probe may declare itself blind to, `@register(..., invariant=("units", "scale"))`; tests hold it to that."""
