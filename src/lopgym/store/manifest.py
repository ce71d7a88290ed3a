"""The manifest: what a checkpoint is, of which step, and the size and checksum of each of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from lopgym.store.json_text import dumps, loads
from lopgym.store.tree import Tree, decode, encode

FORMAT, VERSION = "lopgym-checkpoint", 1
STATE, ARRAYS, MANIFEST = "state.json", "arrays.npz", "manifest.json"
STEPS = 10**12  # so many fit into a checkpoint's name

# Bytes; above them nothing is read. Arrays take in memory what they take on disk; long lists of numbers take more.
LIMITS = {STATE: 2**23, ARRAYS: 2**33, MANIFEST: 2**20}


@dataclass(frozen=True)
class Manifest:
    """What the manifest says, once it has proved to be whole."""

    step: int
    about: dict[str, Tree]
    files: Mapping[str, tuple[int, str]]  # name: bytes, sha256


def name_of(step: int) -> str:
    """Return the name of a checkpoint's folder; names sort as steps do.

    >>> name_of(40_000)
    'ckpt-000000040000'
    """
    if type(step) is not int or not 0 <= step < STEPS:
        raise ValueError(f"the step {step!r} is no int from 0 to {STEPS - 1}")
    return f"ckpt-{step:012d}"


def compose(step: int, about: Mapping[str, Tree], files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of `files` (name: content).

    Raises:
        ValueError: `about` has arrays or is no plain data; a file is above its limit.
    """
    node, arrays = encode(dict(about))
    if arrays:
        raise ValueError("`about` is for short facts; arrays belong into the tree")
    body = {
        "format": FORMAT,
        "version": VERSION,
        "step": step,
        "about": node,
        "files": {name: {"bytes": len(data), "sha256": digest(data)} for name, data in files.items()},
    }
    manifest = _text(body | {"sha256": _seal(body)})
    for name, data in [*files.items(), (MANIFEST, manifest)]:
        if len(data) > LIMITS[name]:
            raise ValueError(f"{name} would have {len(data)} bytes, at most {LIMITS[name]} are allowed")
    return manifest


def parse(data: bytes) -> Manifest:
    """Return what a manifest says.

    Raises:
        ValueError: it is none of ours, of a later version, or damaged (one changed byte is enough).
    """
    body = loads(data)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ValueError(f"{MANIFEST} is not that of a checkpoint ({FORMAT!r})")
    if body.get("version") != VERSION:
        raise ValueError(f"format version {ascii(body.get('version'))[:40]}; this lopgym reads version {VERSION}")
    seal = body.pop("sha256", None)
    if seal != _seal(body) or data != _text(body | {"sha256": seal}):
        raise ValueError(f"{MANIFEST} is damaged: its checksum does not fit")
    return _manifest(body)


def digest(data: bytes) -> str:
    """Return the sha256 of `data` in hexadecimal."""
    return sha256(data).hexdigest()


def _text(body: Mapping[str, Any]) -> bytes:
    return dumps(body, indent=2) + b"\n"


def _seal(body: Mapping[str, Any]) -> str:
    return digest(_text(body))


def _manifest(body: Mapping[str, Any]) -> Manifest:
    """Check the types of a manifest whose checksum fits: whoever wrote it may have meant harm."""
    files, about = body["files"], decode(body["about"], [])
    if not isinstance(files, dict) or set(files) != {STATE, ARRAYS}:
        raise ValueError(f"{MANIFEST} lists other files than {STATE} and {ARRAYS}")
    name_of(body["step"])
    sizes = {name: (fact["bytes"], fact["sha256"]) for name, fact in files.items()}
    if not isinstance(about, dict) or any(type(size) is not int for size, _ in sizes.values()):
        raise ValueError(f"{MANIFEST} has values of wrong types")
    return Manifest(body["step"], about, sizes)
