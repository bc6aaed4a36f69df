"""Zstandard itself: runs in the environment `references`, which has its library, apart from the tests.

Reads `{"pack": [[text, level, checksum, size], …], "unpack": […]}`, frames in base64, and prints
the frames and the content of those to unpack, or null if they are not intact.
"""

import json
import sys
from base64 import b64decode, b64encode

import zstandard


def main() -> None:
    asked = json.load(sys.stdin)
    packed = [b64encode(pack(*each)).decode() for each in asked["pack"]]
    unpacked = [unpack(b64decode(each)) for each in asked["unpack"]]
    json.dump([packed, [None if each is None else b64encode(each).decode() for each in unpacked]], sys.stdout)


def pack(text: str, level: int, checksum: bool, size: bool) -> bytes:
    options = {"level": level, "write_checksum": checksum, "write_content_size": size}
    return zstandard.ZstdCompressor(**options).compress(text.encode())


def unpack(frames: bytes) -> bytes | None:
    content = b""
    while frames:
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            content += frame.decompress(frames)
        except zstandard.ZstdError:
            return None
        if not frame.eof:
            return None
        frames = frame.unused_data
    return content


if __name__ == "__main__":
    main()
