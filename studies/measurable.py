"""Measurable: of the probes that come in sets, those that this world lets be measured."""

from __future__ import annotations

import warnings
from collections.abc import Collection

from gymnasium.spaces import Discrete

from lopgym.studies.config import Config
from lopgym.studies.faults import ConfigError
from lopgym.studies.notices import notice


def measurable(config: Config, named: Collection[str]) -> Config:
    """Return the config without probes of preferences between actions if these are not discrete, and note it.

    Args:
        config: of a run.
        named: labels of the probes that were asked for by name, and not by that of a set such as `standard`.

    Raises:
        ConfigError: one of those was asked for by name.
    """
    asking = _asking(config)
    actions = _actions(config) if asking else ""
    if not actions:
        return config
    said = f"{', '.join(asking)} can be measured where actions are Discrete, and these are {actions}"
    if set(asking) & set(named):
        raise ConfigError([f"probes={','.join(config.probes)}: {said}"])
    notice(f"note: probes: {said}: left out")
    kept = {label: options for label, options in config.probes.items() if label not in asking}
    return config.model_copy(update={"probes": kept})


def _asking(config: Config) -> list[str]:
    from lopgym.agents.measuring import needs_discrete
    from lopgym.probes import probes

    return [label for label, options in config.probes.items() if needs_discrete(probes[options.kind].make)]


def _actions(config: Config) -> str:
    """Say the actions of the config's world if they are not discrete."""
    from lopgym.studies.worlds import single_world

    with warnings.catch_warnings(action="ignore"):  # they come again when the world is built to be trained in
        world = single_world(config)
    world.close()
    return "" if isinstance(world.action_space, Discrete) else str(world.action_space)
