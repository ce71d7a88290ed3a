"""A Gymnasium testbed for loss of plasticity. Importing it registers the environment ids and nothing heavier."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lopgym.envs import register_ids

if TYPE_CHECKING:
    from lopgym import agents, probes, studies
    from lopgym.envs.build import drifting, make_vec
    from lopgym.studies.exporting import export
    from lopgym.studies.importing import import_sb3
    from lopgym.studies.run import Run, resume, run

__all__ = ["Run", "agents", "drifting", "export", "import_sb3", "make_vec", "probes", "resume", "run", "studies"]
__version__ = "0.1.0"

register_ids()

_LATER = {
    **dict.fromkeys(("Run", "resume", "run"), "studies.run"),
    **dict.fromkeys(("drifting", "make_vec"), "envs.build"),
    "export": "studies.exporting",
    "import_sb3": "studies.importing",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import lopgym` stays free of torch."""
    if name in {"agents", "probes", "studies"}:
        return import_module(f"lopgym.{name}")
    if name in _LATER:
        return getattr(import_module(f"lopgym.{_LATER[name]}"), name)
    raise AttributeError(f"module 'lopgym' has no attribute {name!r}")
