"""Files that want to run code, fill the memory or reach another file; each by the way it is given.

`CANARY` stands for the file that code in them would make.
"""

import io
import json
import pickle
import struct
import subprocess
import zipfile
import zlib

import imageio_ffmpeg
import numpy as np

BOMB = 512 << 20  # bytes that it would unpack to


class Sings:
    """What makes the canary when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


def song(canary):
    """A pickle that makes the canary."""
    return pickle.dumps(Sings(canary))


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""
    return png_of(width, height, zlib.compress(b"\0" * 1000))


def png_of(width, height, pixels):
    """A PNG of 8-bit RGB with these deflated rows."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(
            ">I", zlib.crc32(name + data)
        )  # fmt: skip

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(
        b"IDAT", pixels
    ) + chunk(b"IEND", b"")  # fmt: skip


def npy(array=None, shape=None, descr="<f4", data=b""):
    """An .npy file of an array, or with a header that claims a shape."""
    file = io.BytesIO()
    if array is not None:
        np.lib.format.write_array(file, array)
    else:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(data)
    return file.getvalue()


def npy_files(canary):
    """.npy files that are none, by what their header does to a parser of Python literals."""

    def headed(text):
        data = text.encode() + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data

    return {
        "cut": headed("{'descr': '<f4', 'fortran_order': False, 'shape': (3"),
        "deep": headed("(" * 3000),
        "no key": headed("{[]: 1}"),
        "huge": npy(shape=(1 << 40,)),
        "endless": npy(shape=(1 << 62, 3)),
        "negative": npy(shape=(-1, -1)),
        "objects": npy(shape=(1,), descr="|O", data=song(canary)),
        "pickle": song(canary),
        "zip": b"PK\x03\x04" + bytes(50),
        "empty": b"",
    }


def archive(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression, compresslevel=1) as out:
        for name, data in members:
            out.writestr(name, data)
    return file.getvalue()


def archives(canary):
    """Archives by what is wrong with them; a checkpoint, flow or tracks file may be any."""
    meta = ("meta.json", json.dumps({"kind": "omnimotion-checkpoint", "format": 1}))
    bomb = npy(shape=(BOMB // 4,)) + b"\0" * BOMB
    pickled = song(canary)
    objects = npy(shape=(1,), descr="|O", data=pickled)
    return {
        "pickle": pickled,
        "pickled array": archive([meta, ("a.npy", objects)]),
        "torch": archive([("archive/data.pkl", pickled), ("archive/version", "3")]),
        "bomb": archive([meta, ("a.npy", bomb)], zipfile.ZIP_DEFLATED),
        "huge header": archive([meta, ("a.npy", npy(shape=(1 << 40,)))]),
        "negative header": archive([meta, ("a.npy", npy(shape=(-4, -(1 << 38))))]),
        "escape": archive([meta, (f"../../{canary.name}", b"x"), (str(canary), b"x")]),
        "many": archive([meta, *((f"a{k}.npy", b"") for k in range(20_000))]),
        "deep json": archive([("meta.json", "[" * 200_000)]),
        "empty": archive([]),
    }


def png_bomb(side):
    """A whole PNG, black: some thousandth of the bytes that it decodes to."""
    deflate = zlib.compressobj(1)
    rows = [deflate.compress(bytes(1 + 3 * side)) for _ in range(side)]
    return png_of(side, side, b"".join(rows) + deflate.flush())


def video_bomb(path):
    """A video whose third frame is 16000 px a side, the first two 64 px: 768 MB in 3.4 MB."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    pipe = ["-f", "image2pipe", "-c:v", "png", "-framerate", "10", "-i", "-"]
    command = [program, "-v", "error", *pipe, "-c", "copy", str(path)]
    subprocess.run(command, input=png_bomb(64) * 2 + png_bomb(16000), check=True, timeout=60)
    return path


def images():
    """Images whose header claims more than anyone has memory for."""
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 3) + b"".join(
        struct.pack("<HHII", tag, 4, 1, 60_000) for tag in (256, 257, 278)
    ) + struct.pack("<I", 0)  # fmt: skip
    return {
        "png": png_header(60_000, 60_000),
        "ppm": b"P6 60000 60000 255\n" + b"\0" * 100,
        "bmp": b"BM"
        + struct.pack(
            "<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0
        ),
        "tif": tiff,
    }


def points(canary):
    """Files of points."""
    rows = npy(shape=(BOMB // 12, 3)) + b"\0" * (BOMB // 12 * 12)
    return {
        "bomb.npz": archive([("queries.npy", rows)], zipfile.ZIP_DEFLATED),
        "pickle.npz": archive([("queries.npy", npy(shape=(1,), descr="|O",
                                                   data=song(canary)))]),
        "header.npz": archive([("queries.npy", npy(shape=(1 << 40, 3)))]),
        "deep.json": b"[" * 1_000_000,
        "long.csv": b"t,x,y\n" + b"1" * (8 << 20),
        "binary.csv": bytes(range(256)) * 400,
    }  # fmt: skip
