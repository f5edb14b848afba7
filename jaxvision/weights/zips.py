"""Members of a zip archive in memory: uncompressed members without a copy, compressed ones with a bound on their size."""

import io
import struct
import zipfile
import zlib

from jaxvision.weights.errors import BrokenFile, check_size

_LOCAL = struct.Struct("<4s5H3I2H")  # a member's header: signature, ..., lengths of its name and of the extra field
_MAX_RATIO, _MIN_LIMIT = 64, 1 << 24  # all compressed members together: at most 64 times the file's size plus 16 MiB


class Archive:
    """The members of the archive ``data`` by name. Raises BrokenFile if it is damaged."""

    def __init__(self, data: bytes):
        self.data = memoryview(data)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                self.members = {member.filename: member for member in archive.infolist()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, OSError, EOFError, struct.error) as error:
            raise BrokenFile(f"the zip archive is damaged: {str(error)[:200]}") from None
        packed = sum(member.file_size for member in self.members.values() if member.compress_type == zipfile.ZIP_DEFLATED)
        check_size(packed, _MAX_RATIO * len(data) + _MIN_LIMIT, "the zip archive's compressed part")

    def read(self, name: str) -> memoryview | bytes:
        """The content of one member. Raises BrokenFile if it is missing, encrypted, damaged or does not fit its header."""
        if name not in self.members:
            raise BrokenFile(f"the zip archive has no {name[:200]!r}")
        member, what = self.members[name], f"{name[:200]!r} in the zip archive"
        check_size(member.header_offset, len(self.data) - _LOCAL.size, f"the header of {what}")
        signature, *_, name_length, extra_length = _LOCAL.unpack_from(self.data, member.header_offset)
        if signature != b"PK\x03\x04" or member.flag_bits & 1:
            raise BrokenFile(f"{what} is encrypted or its header is damaged")
        start = member.header_offset + _LOCAL.size + name_length + extra_length
        check_size(start + member.compress_size, len(self.data), what)
        content: memoryview | bytes = self.data[start : start + member.compress_size]
        if member.compress_type == zipfile.ZIP_DEFLATED:
            content = self._inflated(content, member.file_size, what)
        elif member.compress_type != zipfile.ZIP_STORED:
            raise BrokenFile(f"{what} is compressed by method {member.compress_type}; expected none or deflate")
        if len(content) != member.file_size or zlib.crc32(content) != member.CRC:
            raise BrokenFile(
                f"{what} does not fit its header: found {len(content):,} bytes, expected {member.file_size:,} with its checksum"
            )
        return content

    @staticmethod
    def _inflated(content: memoryview, size: int, what: str) -> bytes:
        try:
            return zlib.decompressobj(-15).decompress(content, size + 1)
        except (zlib.error, OverflowError) as error:
            raise BrokenFile(f"{what}: {error}") from None
