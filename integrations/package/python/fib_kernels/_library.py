"""The shared object of a package, found and looked at before it is loaded: the loader maps what an
object's headers promise, and a process that reads what isn't there dies."""

from __future__ import annotations

import hashlib
import os
import pathlib
import struct

_LIBRARY = "lib/libfib_kernels.so"
_SUMS = "SHA256SUMS"
_REMEDY = "fetch or export the package anew"

_HEADER_BYTES = 64  # of a 64-bit ELF file
_SECTIONS_AT, _SECTION_BYTES_AT = 40, 58  # offset of the section table; size and number of entries


def find_library(package: str | os.PathLike[str]) -> str:
    """Of a package's folder, or of the path of its shared object. Raises FileNotFoundError, or
    ImportError with what is wrong with it."""
    # Made absolute: the loader looks for a name without a slash elsewhere.
    path = pathlib.Path(package).absolute()
    if path.suffix == ".zst":
        raise ImportError(f"{path} is an archive: unpack it with tar --zstd -xf, name the folder")
    library = path / _LIBRARY if path.is_dir() else path
    if path.is_dir() and not (path / _SUMS).is_file():
        raise ImportError(f"{path} is no kernel package: it has no {_SUMS}")
    if not library.is_file():
        raise FileNotFoundError(f"{library}: no such file; name a package's folder or its "
                                f"{_LIBRARY}")
    _check_length(library)
    _check_sum(library)
    return str(library)


def _check_length(library: pathlib.Path) -> None:
    with open(library, "rb") as file:
        header = file.read(_HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
    if len(header) < _HEADER_BYTES or header[:6] != b"\x7fELF\x02\x01":
        raise ImportError(f"{library} is no shared object of 64 bits; {_REMEDY}")
    (start,) = struct.unpack_from("<Q", header, _SECTIONS_AT)
    entry, count = struct.unpack_from("<HH", header, _SECTION_BYTES_AT)
    end = start + entry * count
    if size < end:
        raise ImportError(f"{library} is cut off: {size} bytes of at least {end}; {_REMEDY}")


def _check_sum(library: pathlib.Path) -> None:
    """Against the package's sums, where it lies in a package."""
    sums = library.parent.parent / _SUMS
    if not str(library).endswith(f"/{_LIBRARY}") or not sums.is_file():
        return
    for line in sums.read_text().splitlines():
        expected, _, name = line.partition("  ")
        if name != _LIBRARY:
            continue
        digest = hashlib.sha256(library.read_bytes()).hexdigest()
        if digest != expected:
            raise ImportError(
                f"{library} is not what was exported: its SHA-256 is {digest}, {_SUMS} says "
                f"{expected}; {_REMEDY}"
            )
        return
    raise ImportError(f"{sums} doesn't list {_LIBRARY}; {_REMEDY}")
