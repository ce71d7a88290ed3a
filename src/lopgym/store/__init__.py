"""Checkpoints: a tree of plain data and numpy arrays in a folder, whole or not at all, and reading one runs nothing.

    ckpt-000000040000/state.json      the tree, JSON; see `lopgym.store.tree`
                      arrays.npz      its arrays, uncompressed; `numpy.load` opens it
                      manifest.json   format, version, step, facts about the run, size and sha256 of the other two

A checkpoint is staged under a name that begins with a dot, synced to disk, read back, and only then renamed: at every
instant the folder holds the older checkpoints, whole, or the new one as well. The checksums detect damage, not malice:
who can write the folder can write its checksums. What makes a stranger's checkpoint harmless is that it is data:
nothing in it names code, nothing is unpickled, and sizes and counts are bounded before anything is built of it.
"""

from lopgym.store.faults import CheckpointError, StorageError
from lopgym.store.reading import Saved, checkpoints, load, newest
from lopgym.store.writing import STAGES, save

__all__ = ["STAGES", "CheckpointError", "Saved", "StorageError", "checkpoints", "load", "newest", "save"]
