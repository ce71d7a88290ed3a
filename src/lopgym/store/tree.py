"""A tree of plain data and arrays as JSON nodes, and back: bit for bit, type for type.

None, bool, str, list, int below 2**53, finite float and dict with str keys are themselves in JSON (Python writes the
shortest decimals that give the same float back). The rest is an object with one key that begins with `$`:

    {"$int": "0x1f..."}      any other int         {"$array": 3}         arrays[3], each is named once
    {"$float": "-inf"}       inf, -inf, nan        {"$scalar": 3}        the numpy scalar in arrays[3]
    {"$tuple": [...]}        a tuple               {"$dict": [[k, v]]}   a dict with int keys, or with a `$` before one
    {"$list": 3}             the numbers of one type in arrays[3] as a long list, or as a long list of lists
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib import format as npy

Array: TypeAlias = np.ndarray[Any, Any]
Tree: TypeAlias = Any  # None, bool, int, float, str, numpy array or scalar, list, tuple, dict with str or int keys
Node: TypeAlias = Any  # what JSON can hold
Path: TypeAlias = tuple[str, ...]  # of keys and indices, from the root of the tree

DEPTH = 64  # of lists, tuples and dicts in each other
LONG = 64  # items from which on a list of numbers is kept as an array: a world of many copies says many
_MOST = 2**22  # numbers and lists in such a list: in memory they take 5 to 40 times as much as on disk
_SAFE = 2**53  # below it every JSON reader has exact ints
_HEX = re.compile(r"-?0x[0-9a-f]+")  # unlike decimals it is read in linear time
_HEADER = 8_000  # characters of a dtype; numpy refuses to read longer ones, or reads others as raw bytes
_NOT_FINITE = {"nan", "inf", "-inf"}
_NUMBERS = {bool: np.dtype(np.bool_), int: np.dtype(np.int64), float: np.dtype(np.float64)}


def encode(tree: Tree) -> tuple[Node, list[Array]]:
    """Return `tree` as a JSON node, and its arrays in the order in which the node names them.

    Raises:
        ValueError: something in it is no plain data (a set, a tensor, an array of objects, a subclass that would come
            back as its base, a key that is neither str nor int), or it is nested too deeply.
    """
    arrays: list[Array] = []
    return _encode(tree, arrays, ()), arrays


def decode(node: Node, arrays: Sequence[Array]) -> Tree:
    """Return the tree that `encode` was given; its arrays are those of `arrays`, each used once.

    Raises:
        ValueError: unknown node, or a node and arrays that do not belong together.
    """
    left = dict(enumerate(arrays))
    tree = _decode(node, left, 0)
    if left:
        raise ValueError(f"{len(left)} arrays are named nowhere in the tree")
    return tree


def _fail(path: Path, why: str) -> ValueError:
    return ValueError(f"{'/'.join(path) or 'the tree'}: {why}")


def _encode(value: Tree, arrays: list[Array], path: Path) -> Node:
    if len(path) > DEPTH:
        raise _fail(path[:3], f"nested more than {DEPTH} deep")
    kind = type(value)
    encoder = _ENCODERS.get(kind)
    if encoder is None and isinstance(value, dict):  # ordered and defaulting ones hold the same data
        encoder = _encode_dict
    if encoder is None and isinstance(value, np.generic):
        encoder = _encode_scalar
    if encoder is None:
        allowed = "None, bool, int, float, str, numpy array, list, tuple, dict"
        raise _fail(path, f"cannot keep a {kind.__module__}.{kind.__qualname__}; allowed: {allowed}")
    return encoder(value, arrays, path)


def _encode_plain(value: Tree, arrays: list[Array], path: Path) -> Node:
    return value


def _encode_int(value: int, arrays: list[Array], path: Path) -> Node:
    return value if abs(value) < _SAFE else {"$int": hex(value)}


def _encode_float(value: float, arrays: list[Array], path: Path) -> Node:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _encode_list(value: list[Tree], arrays: list[Array], path: Path) -> Node:
    numbers = _numbers(value) if len(value) >= LONG else None
    if numbers is not None:
        return {"$list": _encode_array(numbers, arrays, path)["$array"]}
    return _encode_items(value, arrays, path)


def _numbers(rows: list[Tree]) -> Array | None:
    """Return numbers of one type, or lists of one length of such, as an array; None if they are something else."""
    nested = {type(row) for row in rows} == {list} and len({len(row) for row in rows}) == 1
    items = [item for row in rows for item in row] if nested else rows
    kinds = {type(item) for item in items}
    dtype = _NUMBERS.get(kinds.pop()) if len(kinds) == 1 else None
    if dtype is None or len(rows) + len(items) > _MOST:
        return None
    try:
        return np.array(items, dtype).reshape((len(rows), -1) if nested else len(rows))
    except OverflowError:  # an int of more than 64 bits
        return None


def _encode_items(value: Sequence[Tree], arrays: list[Array], path: Path) -> Node:
    return [_encode(item, arrays, (*path, str(index))) for index, item in enumerate(value)]


def _encode_tuple(value: Sequence[Tree], arrays: list[Array], path: Path) -> Node:
    return {"$tuple": _encode_items(value, arrays, path)}


def _encode_dict(value: Mapping[Any, Tree], arrays: list[Array], path: Path) -> Node:
    for key in value:
        if type(key) not in (str, int):
            raise _fail(path, f"the key {key!r} is a {type(key).__name__}; keys are str or int")
    nodes = [(key, _encode(item, arrays, (*path, str(key)))) for key, item in value.items()]
    if all(isinstance(key, str) and not key.startswith("$") for key, _ in nodes):
        return dict(nodes)
    return {"$dict": [[_encode(key, arrays, path), node] for key, node in nodes]}


def _encode_array(value: Array, arrays: list[Array], path: Path) -> Node:
    if value.dtype.hasobject:
        raise _fail(path, "cannot keep an array of Python objects")
    description = npy.dtype_to_descr(value.dtype)
    if npy.descr_to_dtype(description) != value.dtype or len(repr(description)) > _HEADER:
        raise _fail(path, f"cannot keep an array of dtype {str(value.dtype)[:60]}")
    arrays.append(value)
    return {"$array": len(arrays) - 1}


def _encode_scalar(value: np.generic, arrays: list[Array], path: Path) -> Node:
    return {"$scalar": _encode_array(np.asarray(value), arrays, path)["$array"]}


_ENCODERS: dict[type, Callable[[Any, list[Array], Path], Node]] = {
    type(None): _encode_plain,
    bool: _encode_plain,
    str: _encode_plain,
    int: _encode_int,
    float: _encode_float,
    list: _encode_list,
    tuple: _encode_tuple,
    dict: _encode_dict,
    np.ndarray: _encode_array,
}


def _decode(node: Node, left: dict[int, Array], depth: int) -> Tree:
    if depth > DEPTH:
        raise ValueError(f"nested more than {DEPTH} deep")
    if isinstance(node, list):
        return [_decode(item, left, depth + 1) for item in node]
    if not isinstance(node, dict):
        return node
    marked = [key for key in node if key.startswith("$")]
    if not marked:
        return {key: _decode(item, left, depth + 1) for key, item in node.items()}
    decoder = _DECODERS.get(marked[0])
    if decoder is None or len(node) > 1:
        raise ValueError(f"unknown node {ascii(marked[0])[:40]}; known: {', '.join(_DECODERS)}")
    return decoder(node[marked[0]], left, depth)


def _decode_int(digits: Node, left: dict[int, Array], depth: int) -> int:
    if not isinstance(digits, str) or not _HEX.fullmatch(digits):
        raise ValueError("an int that is not written in hexadecimal")
    return int(digits, 16)


def _decode_float(name: Node, left: dict[int, Array], depth: int) -> float:
    if not isinstance(name, str) or name not in _NOT_FINITE:
        raise ValueError(f"a float that is none of {', '.join(sorted(_NOT_FINITE))}")
    return float(name)


def _decode_tuple(nodes: Node, left: dict[int, Array], depth: int) -> tuple[Tree, ...]:
    if not isinstance(nodes, list):
        raise ValueError("a tuple without a list")
    return tuple(_decode(nodes, left, depth))


def _decode_dict(pairs: Node, left: dict[int, Array], depth: int) -> dict[Any, Tree]:
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise ValueError("a dict without pairs of key and value")
    found: dict[Any, Tree] = {}
    for keyed, node in pairs:
        key = _decode(keyed, left, depth + 1)
        if type(key) not in (str, int) or key in found:
            raise ValueError("a key that is neither str nor int, or stands twice")
        found[key] = _decode(node, left, depth + 1)
    return found


def _decode_array(index: Node, left: dict[int, Array], depth: int) -> Array:
    if type(index) is not int or index not in left:
        raise ValueError("an array that is not there, or is named twice")
    return left.pop(index)


def _decode_scalar(index: Node, left: dict[int, Array], depth: int) -> Tree:
    array = _decode_array(index, left, depth)
    if array.shape != ():
        raise ValueError(f"a scalar of shape {array.shape}")
    return array[()]


def _decode_list(index: Node, left: dict[int, Array], depth: int) -> list[Tree]:
    array = _decode_array(index, left, depth)
    rows = len(array) if array.ndim in (1, 2) else 0
    if array.dtype not in _NUMBERS.values() or not array.size or not LONG <= rows <= _MOST - array.size:
        raise ValueError(f"a list of numbers of shape {array.shape} and dtype {str(array.dtype)[:60]}")
    numbers: list[Tree] = array.tolist()
    return numbers


_DECODERS: dict[str, Callable[[Node, dict[int, Array], int], Tree]] = {
    "$int": _decode_int,
    "$float": _decode_float,
    "$tuple": _decode_tuple,
    "$dict": _decode_dict,
    "$array": _decode_array,
    "$scalar": _decode_scalar,
    "$list": _decode_list,
}
