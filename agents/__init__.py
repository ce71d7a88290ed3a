"""PPO, DQN, their network, and the mitigations that keep it plastic."""

if __name__ != "lopgym.agents":
    raise ImportError(
        f"this folder is the package lopgym.agents: write `import lopgym.agents`, not `import {__name__}`"
    )

from typing import Any

from lopgym.registry import Registry

agents: Registry[Any] = Registry("agent", __name__)
