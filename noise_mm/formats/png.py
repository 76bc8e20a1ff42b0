"""PNG files for decoders."""

import struct

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
TRANSPARENCY = b'tRNS'


def without_metadata(data: bytes) -> bytes:
    """Return a PNG file without colour profiles, texts and the like, which decoders warn of and do not use.

    What is no PNG, or no whole chunk, is left for the decoder to refuse.
    """
    if not data.startswith(PNG_SIGNATURE):
        return data
    view, at, kept = memoryview(data), len(PNG_SIGNATURE), [PNG_SIGNATURE]
    while at + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, at)
        end = at + 12 + length
        if kind[:1].isupper() or kind == TRANSPARENCY:  # necessary to decode the image
            kept.append(view[at:end])
        at = end
    return b''.join([*kept, view[at:]])
