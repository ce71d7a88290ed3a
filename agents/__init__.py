"""PPO, DQN, their network, and the mitigations that keep it plastic."""

if __name__ != "lopgym.agents":
    raise ImportError(
        f"this folder is the package lopgym.agents: write `import lopgym.agents`, not `import {__name__}`"
    )

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lopgym.registry import Registry

if TYPE_CHECKING:
    from lopgym.agents.attach import Plasticity

__all__ = ["Plasticity", "agents"]

agents: Registry[Any] = Registry("agent", __name__)


def __getattr__(name: str) -> Any:
    """Import `Plasticity` on first use: the modules below it need this package first."""
    if name == "Plasticity":
        return import_module("lopgym.agents.attach").Plasticity
    raise AttributeError(f"module 'lopgym.agents' has no attribute {name!r}")
