"""Notes: tensors as hooks see them on their way through a network, copied only where somebody overwrites them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Notes(dict[tuple[str, str], Tensor]):
    """What passed by, by (what, name of the layer); of a module that runs several times, the last time counts.

    Args:
        handing_on_copies: whether what comes behind receives copies, so that it cannot overwrite what was noted.
    """

    def __init__(self, *, handing_on_copies: bool) -> None:
        """Begin with none."""
        super().__init__()
        self._handing_on_copies = handing_on_copies
        self._versions: dict[tuple[str, str], int] = {}

    def note(self, what: str, name: str, tensor: Tensor) -> Tensor:
        """Note a tensor; return what is to be handed on in its place."""
        self[what, name] = tensor
        if self._handing_on_copies:
            return tensor.clone()
        self._versions[what, name] = tensor._version
        return tensor

    @property
    def overwritten(self) -> bool:
        """Whether a module that works in place, such as `ReLU(inplace=True)`, changed what was noted."""
        return any(self[key]._version != version for key, version in self._versions.items())

    def of(self, what: str) -> dict[str, Tensor]:
        """Return name to tensor, in the order in which they first passed by."""
        return {name: tensor for (kind, name), tensor in self.items() if kind == what}


def noted(run: Callable[[Notes], None]) -> Notes:
    """Call `run` with notes to fill; once more, with copies handed on, if something noted was overwritten.

    Copies cost more than most layers. Tensors of inference mode do not say whether they changed: they are copied.

    Args:
        run: evaluates a network whose hooks take these notes; twice must be as once.
    """
    notes = Notes(handing_on_copies=torch.is_inference_mode_enabled())
    run(notes)
    if notes.overwritten:
        notes = Notes(handing_on_copies=True)
        run(notes)
    return notes
