"""Files made from good ones by random damage: as a disk, a cut line or an enemy leaves them."""

import io
import struct
import zipfile

WORDS = [b"nan", b"-1", b"1e999", b"\0", b"\xff", b"]", b"{", b'"', b",", b"\n"]
NUMBERS = [0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
"""Sizes, counts and times that readers tend not to expect."""
VIDEO_HEADERS = {".mp4": b"moov", ".mkv": b"\x1a\x45\xdf\xa3", ".avi": b"RIFF"}
"""Where a container's description of itself begins."""


def damaged(data, rng):
    """The bytes with some changed, cut out, repeated, or put in."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(0, len(found) + 1))
        length = int(min(2 ** rng.integers(0, 8), 200))
        kind = rng.integers(0, 5)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.integers(0, 8)
        elif kind == 1:
            found[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = found[at : at + length]
        else:
            found[at:at] = WORDS[rng.integers(0, len(WORDS))]
    return bytes(found)


def sealed(data, rng):
    """The archive with one of its members damaged: the object, mostly, or a header."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = "meta.json" if rng.random() < 0.6 else str(rng.choice(list(members)))
    split = len(members[name]) if name == "meta.json" else 128  # of an .npy file: the header
    members[name] = damaged(members[name][:split], rng) + members[name][split:]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return file.getvalue()


def film_of(suffix):
    """Damage for videos of a container: anywhere, or odd numbers in its description of itself.

    Most bytes of a video are pictures, whose damage a codec hides; programs trust the rest.
    """

    def film(data, rng):
        if rng.random() < 0.4:
            return damaged(data, rng)
        found = bytearray(data)
        start = data.index(VIDEO_HEADERS[suffix])
        for _ in range(rng.integers(1, 4)):
            at = start + int(rng.integers(0, min(1500, len(data) - start - 4)))
            form = rng.choice([">I", "<I", ">H", "B"])
            value = NUMBERS[rng.integers(0, len(NUMBERS))] % (1 << 8 * struct.calcsize(form))
            struct.pack_into(form, found, at, value)
        return bytes(found)

    return film
