"""The files of a folder or of a zip archive behind one interface.

Both classes have ``where`` (the folder or archive), ``names`` (sorted relative paths with "/", without hidden files and __MACOSX),
``folders`` (the visible top-level folders, sorted), ``top()`` (iterates over the top-level files), ``within(folder)`` (the files of a
top-level folder), ``holds(name)``, ``read(name)`` (bytes, from any thread; raises BrokenImage) and ``path(name)`` (the name of a file in
messages). Names are listed on first use.
"""

import bisect
import functools
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxvision.data.decoding import MAX_PIXELS, BrokenImage
from jaxvision.data.paths import existing, existing_folder, printable, unreadable

_MAX_BYTES = 8 * MAX_PIXELS  # of a file; no image that may be read has more
_ENTRY = np.dtype([("at", np.int64), ("packed", np.int64), ("size", np.int64), ("crc", np.uint32), ("method", "u2"), ("flags", "u2")])
_HEADER = struct.Struct("<4s22xHH")  # before each file in an archive: signature, length of the name, length of the extra field
_ENCRYPTED = 1
_UNPACK = {
    zipfile.ZIP_STORED: lambda packed, size: packed,
    zipfile.ZIP_DEFLATED: lambda packed, size: zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1),
}


def _visible(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _entries(folder: str, argument: str) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if _visible(entry.name))
    except OSError as error:
        raise unreadable(argument, folder, error) from error


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one. A broken link counts as a file, which then cannot be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _walk(folder: str, argument: str, prefix: str = "", above: frozenset = frozenset()) -> Iterator[str]:
    """The relative paths of the files in a folder. Follows links, except those to a parent folder."""
    above |= {os.path.realpath(folder)}
    for entry in _entries(folder, argument):
        if _is_folder(entry):
            if not (entry.is_symlink() and os.path.realpath(entry.path) in above):
                yield from _walk(entry.path, argument, f"{prefix}{entry.name}/", above)
        elif entry.is_symlink() or entry.is_file():  # not pipes or sockets, which would block
            yield prefix + entry.name


def _checked(content: bytes, limit: int, path: str) -> bytes:
    if len(content) > limit:
        raise BrokenImage(path, "too large", f"more than {limit:,} bytes")
    return content


class _Folder:
    """The files of a folder."""

    def __init__(self, where: Path, argument: str):
        self.where, self._argument = where, argument

    @functools.cached_property
    def names(self) -> list[str]:
        """The relative paths of all files, sorted."""
        return sorted(_walk(str(self.where), self._argument))

    @functools.cached_property
    def folders(self) -> list[str]:
        """The names of the folders at the top, sorted."""
        return sorted(entry.name for entry in _entries(str(self.where), self._argument) if _is_folder(entry))

    def top(self) -> Iterator[str]:
        """The names of the files at the top, in no order."""
        return (entry.name for entry in _entries(str(self.where), self._argument) if not _is_folder(entry))

    def within(self, folder: str) -> "_Folder":
        """The files of one of the folders."""
        return _Folder(self.where / folder, self._argument)

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return os.path.isfile(self.path(name))

    def path(self, name: str) -> str:
        """The name of a file in messages."""
        return os.path.join(self.where, name)

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises BrokenImage."""
        path = self.path(name)
        try:
            with open(path, "rb") as file:
                return _checked(file.read(_MAX_BYTES + 1), _MAX_BYTES, path)
        except FileNotFoundError as error:
            raise BrokenImage(path, "gone") from error
        except OSError as error:
            raise BrokenImage(path, "not readable", error.strerror or str(error)) from error


class _Zip:
    """The files of a zip archive. The archive is opened for each read, so that threads and processes share no state."""

    def __init__(self, where: Path, names: list[str], table: np.ndarray, folder: str = ""):
        self.where, self._all, self._table, self._prefix = where, names, table, folder

    @functools.cached_property
    def names(self) -> list[str]:
        """The relative paths of all files, sorted."""
        first, stop = (bisect.bisect_left(self._all, self._prefix + end) for end in ("", chr(0x10FFFF)))
        return [name[len(self._prefix) :] for name in self._all[first:stop]]

    @functools.cached_property
    def folders(self) -> list[str]:
        """The names of the folders at the top, sorted."""
        return sorted({name.partition("/")[0] for name in self.names if "/" in name})

    def top(self) -> Iterator[str]:
        """The names of the files at the top."""
        return (name for name in self.names if "/" not in name)

    def within(self, folder: str) -> "_Zip":
        """The files of one of the folders."""
        return _Zip(self.where, self._all, self._table, f"{self._prefix}{folder}/")

    def _row(self, name: str) -> int | None:
        row = bisect.bisect_left(self._all, self._prefix + name)
        return row if self._all[row : row + 1] == [self._prefix + name] else None

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return self._row(name) is not None

    def path(self, name: str) -> str:
        """The name of a file in messages."""
        return f"{self.where}/{self._prefix}{name}"

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises BrokenImage."""
        path, row = self.path(name), self._row(name)
        if row is None:
            raise BrokenImage(path, "gone")
        at, packed, size, crc, method, flags = self._table[row].item()
        if size > _MAX_BYTES:
            raise BrokenImage(path, "too large", f"{size:,} bytes unpacked, expected at most {_MAX_BYTES:,}")
        if flags & _ENCRYPTED or method not in _UNPACK:
            kind = "encrypted" if flags & _ENCRYPTED else f"packed by method {method}"
            raise BrokenImage(path, "not readable", f"it is {kind}, expected stored or deflated: create the archive again")
        try:
            with open(self.where, "rb") as file:
                file.seek(at)
                mark, name_length, extra_length = _HEADER.unpack(file.read(_HEADER.size))
                file.seek(name_length + extra_length, os.SEEK_CUR)
                content = _UNPACK[method](file.read(packed), size)
        except FileNotFoundError as error:
            raise BrokenImage(path, "gone", "the archive does not exist any more") from error
        except OSError as error:
            raise BrokenImage(path, "not readable", error.strerror or str(error)) from error
        except (struct.error, zlib.error) as error:
            raise BrokenImage(path, "damaged", f"in the archive: {error}") from error
        if mark != b"PK\3\4" or len(content) != size or zlib.crc32(content) != crc:
            raise BrokenImage(path, "damaged", "in the archive: size or checksum differ")
        return content


Files = _Folder | _Zip


def _check_name(name: str, where: Path, argument: str) -> None:
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        found = f"{where} contains {printable(name)!r}, a path outside the archive"
        raise ValueError(f"{argument}: {found}, expected relative paths: create the archive again")


def _open_zip(where: Path, argument: str) -> _Zip:
    try:
        with zipfile.ZipFile(where) as archive:
            entries = archive.infolist()
    except OSError as error:
        raise unreadable(argument, where, error) from error
    except Exception as error:  # BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError, ...
        raise ValueError(f"{argument}: {where} cannot be read as a zip archive ({error}): copy or create it again") from error
    rows = {}
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        _check_name(name, where, argument)
        if name in rows:
            raise ValueError(f"{argument}: {where} contains {printable(name)!r} twice, expected each name once: create the archive again")
        if not name.endswith("/") and _visible(name):
            size = (entry.header_offset, entry.compress_size, entry.file_size)
            rows[name] = (*size, entry.CRC, entry.compress_type, entry.flag_bits)
    names = sorted(rows)
    return _Zip(where, names, np.array([rows[name] for name in names], _ENTRY))


def open_files(path: str | Path, argument: str, expected: str) -> Files:
    """The files of a folder or .zip archive. ``argument`` and ``expected`` are the argument's name and the expected contents, for messages.

    Raises FileNotFoundError, NotADirectoryError or PermissionError for a path that does not exist, is neither or cannot be read; ValueError
    for an archive that is damaged, or that has a name twice or a path outside the archive.
    """
    where = existing(path, argument, expected)
    try:
        archive = where.is_file() and (where.suffix.lower() == ".zip" or zipfile.is_zipfile(where))
    except OSError as error:
        raise unreadable(argument, where, error) from error
    files = _open_zip(where, argument) if archive else _Folder(existing_folder(where, argument, expected), argument)
    if archive and not files.names:
        raise FileNotFoundError(f"{argument}: {where} is empty, expected {expected}")
    return files
