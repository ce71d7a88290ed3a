"""Arrays as the bytes of an uncompressed `.npz`, and back, without pickle and without trusting a header's sizes."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.lib import format as npy

from lopgym.store.tree import Array

_VERSION = (1, 0)  # of the .npy format; 2 and 3 are for headers that `numpy.load` refuses as too long, or not Latin
MOST = 2**14  # arrays in an archive
_ENTRY = b"PK\1\2"  # begins each line of an archive's table of contents


def pack(arrays: Sequence[Array]) -> bytes:
    """Return the bytes of an archive with members `0.npy`, `1.npy`, ...; equal arrays give equal bytes.

    Raises:
        ValueError: more arrays than are read back, or one with field names that are not Latin.
    """
    if len(arrays) > MOST:
        raise ValueError(f"{len(arrays)} arrays; at most {MOST}: stack those that belong together")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for index, array in enumerate(arrays):
            with archive.open(_name(index), "w", force_zip64=True) as member:
                npy.write_array(member, array, version=_VERSION, allow_pickle=False)
    return buffer.getvalue()


def unpack(data: bytes) -> list[Array]:
    """Return the arrays of an archive: writable, in memory of their own, Fortran order kept.

    Raises:
        ValueError: members that are compressed, overlap, have other names, hold objects, or less or more than they say.
        zipfile.BadZipFile: it is no archive, or the checksum of a member is wrong.
    """
    if data.count(_ENTRY) > MOST:  # before a table of contents is read that can be all of a large file
        raise ValueError(f"more than {MOST} members")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if [member.filename for member in members] != [_name(index) for index in range(len(members))]:
            raise ValueError("members that are not named 0.npy, 1.npy, ...")
        if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
            raise ValueError("compressed members are refused: they can be larger than they look")
        if sum(member.file_size for member in members) > len(data):
            raise ValueError("members that overlap")
        return [_array(archive.read(member)) for member in members]


def _name(index: int) -> str:
    return f"{index}.npy"


def _array(member: bytes) -> Array:
    stream = io.BytesIO(member)
    version = npy.read_magic(stream)
    if version != _VERSION:
        raise ValueError(f".npy format {version}; allowed: {_VERSION}")
    shape, fortran, dtype = npy.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is refused")
    size, holds = math.prod(shape) * dtype.itemsize, len(member) - stream.tell()
    if size != holds:  # before memory is asked for
        raise ValueError(f"an array of {holds} bytes that says it has {size:.4g}")
    flat = np.ndarray(math.prod(shape), dtype, buffer=member, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C").copy(order="K")
