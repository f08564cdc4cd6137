"""Claims about single images: one table of conversions, and strict refusal (faults 12-18, 20)."""

import contextlib
import io
import os
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from omnimotion.errors import InputError, SceneError, VideoError
from omnimotion.images import decode_image, frame_files, load_image, save_png

HEIGHT, WIDTH = 20, 24


def ramp():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack((x * 10, y * 12, (x + 2 * y) * 3), axis=-1).astype(np.uint8)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + body + struct.pack(">I", 100) + b"IDAT" + bytes(100)


def test_png_returns_what_was_saved(tmp_path):
    save_png(tmp_path / "a.png", ramp())
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), ramp())
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4), np.uint8)])
def test_only_rgb8_is_saved(tmp_path, bad):
    with pytest.raises(ValueError, match="cannot save"):
        save_png(tmp_path / "a.png", bad)


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_are_exact(form):
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(ramp()), form)), ramp())


def test_lossy_formats_are_close():
    smooth = cv2.GaussianBlur(ramp(), (0, 0), 3)
    for form in ("JPEG", "WEBP"):
        rgb = decode_image(encoded(Image.fromarray(smooth), form, quality=95))
        assert np.abs(rgb.astype(int) - smooth).mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_pixels_equal_their_rgb_original(mode):
    grey = np.where(ramp()[..., 0] > 100, 255, 0).astype(np.uint8)  # held by every mode
    image = Image.fromarray(grey).convert("RGB").convert(mode)
    rgb = decode_image(encoded(image))
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=-1))


def test_palette_of_colours_is_expanded():
    colours = np.array([[255, 0, 0], [10, 200, 30], [1, 2, 3]], np.uint8)
    index = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
    image = Image.fromarray(index, "L")
    image.putpalette(colours.tobytes())
    np.testing.assert_array_equal(decode_image(encoded(image)), colours[index])


def test_alpha_is_composited_over_black():
    alpha = np.full((HEIGHT, WIDTH, 1), 51, np.uint8)  # a fifth
    rgba = Image.fromarray(np.concatenate((ramp(), alpha), axis=-1))
    expected = np.round(ramp() / 5.0)
    np.testing.assert_array_equal(decode_image(encoded(rgba)), expected)


def test_transparent_palette_entry_is_black():
    image = Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8), "L")
    image.putpalette(bytes([200, 100, 50]))
    assert decode_image(encoded(image, transparency=0)).max() == 0
    assert decode_image(encoded(image)).max() == 200


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_are_scaled_by_257(suffix, channels):
    shape = (HEIGHT, WIDTH) if channels == 1 else (HEIGHT, WIDTH, channels)
    values = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    values.reshape(-1)[:4] = 0, 65535, 128, 129
    if channels == 4:
        values[..., 3] = 65535
    is_written, data = cv2.imencode(suffix, values)
    assert is_written
    colours = values[..., None] if channels == 1 else values[..., 2::-1]
    expected = np.broadcast_to(np.round(colours / 257.0), (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(decode_image(data.tobytes()), expected)


def test_cmyk_is_converted():
    ink = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    rgb = decode_image(encoded(Image.fromarray(ink, "CMYK"), "TIFF"))
    c_m_y, k = ink[..., :3] / 255.0, ink[..., 3:] / 255.0
    np.testing.assert_array_equal(rgb, np.round(255 * (1 - c_m_y) * (1 - k)))


def test_cmyk_jpeg_has_three_channels():
    ink = Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0))  # red
    rgb = decode_image(encoded(ink, "JPEG", quality=95))
    assert np.abs(rgb.astype(int) - (255, 0, 0)).max() < 6


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_float_and_wide_integers_are_refused(dtype):
    image = Image.fromarray(np.full((HEIGHT, WIDTH), np.nan if dtype == np.float32 else 7, dtype))
    with pytest.raises(ValueError, match=r"unsigned integers|mode"):
        decode_image(encoded(image, "TIFF"))


ORIENTED = {  # EXIF: where row 0 and column 0 of the stored image are, seen upright
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("bits", [8, 16])
def test_exif_orientation_is_applied_once(orientation, bits):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(ramp()), exif=exif)
    if bits == 16:
        _, deep = cv2.imencode(".png", ramp()[..., ::-1].astype(np.uint16) * 257)
        chunks = deep.tobytes()
        block = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        size, crc = struct.pack(">I", len(block) - 4), struct.pack(">I", zlib.crc32(block))
        data = chunks[:33] + size + block + crc + chunks[33:]  # after the header chunk
    np.testing.assert_array_equal(decode_image(data), ORIENTED[orientation](ramp()))


def test_flipped_bits_of_a_png_are_refused_or_harmless(tmp_path):
    data = encoded(Image.fromarray(ramp()))
    path = tmp_path / "000.png"
    refused = 0
    for place in np.random.default_rng(0).choice(len(data) * 8, 150, replace=False):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            rgb = load_image(path)
        except VideoError:
            refused += 1
        else:
            np.testing.assert_array_equal(rgb, ramp())
    assert refused > 100


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"])
def test_truncated_images_are_refused(form):
    data = encoded(Image.fromarray(ramp()), form)
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(ValueError, match=r"damaged|too small|px|16 bits|mode"):
            decode_image(data[: int(len(data) * share)])


def test_random_bytes_raise_nothing_else():
    rng = np.random.default_rng(0)
    sources = [encoded(Image.fromarray(ramp()), form) for form in ("PNG", "JPEG", "TIFF", "WEBP")]
    for _ in range(100):
        data = bytearray(sources[rng.integers(len(sources))])
        start = int(rng.integers(len(data)))
        data[start : start + 8] = rng.bytes(8)
        with contextlib.suppress(ValueError):
            assert decode_image(bytes(data)).dtype == np.uint8


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((60_000, 60_000), "exceeds 8192"),
        ((10_000, 10_000), "exceeds 8192"),
        ((8193, 16), "8193x16 exceeds 8192"),
        ((15, 100), "15x100 is too small"),
        ((1, 100), "1x100 is too small"),
    ],
)
def test_sizes_are_refused_before_decoding(size, text):
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=text):
        decode_image(png_header(*size))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 50_000


def test_errors_name_the_file(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"no image")
    for name, text in [
        ("empty.png", "empty.png is empty"),
        ("text.png", "text.png: damaged image"),
        ("missing.png", "no such file: .*missing.png"),
    ]:
        with pytest.raises(SceneError, match=text):
            load_image(tmp_path / name, SceneError)


def test_files_of_frames_come_in_natural_order(tmp_path):
    for name in ("f10.png", "f9.png", "f1.PNG", ".f2.png", "notes.txt"):
        (tmp_path / name).touch()
    found = frame_files(tmp_path, (".png",), 3)
    assert [path.name for path in found] == ["f1.PNG", "f9.png", "f10.png"]
    with pytest.raises(InputError, match=r"holds 3 \.png files, expected 4"):
        frame_files(tmp_path, (".png",), 4)
    with pytest.raises(InputError, match="cannot read folder"):
        frame_files(tmp_path / "none", (".png",), 4)


def grey16(orientation=1):
    """A TIFF of one channel of 16 bits, and its upper bytes."""
    deep = ramp()[..., 0].astype(np.uint16) * 257
    return encoded(Image.fromarray(deep), "TIFF", tiffinfo={0x0112: orientation}), ramp()[..., 0]


@pytest.mark.parametrize("orientation", ORIENTED)
def test_the_orientation_of_a_tiff_is_applied_once(orientation):
    data = encoded(Image.fromarray(ramp()), "TIFF", tiffinfo={0x0112: orientation})
    np.testing.assert_array_equal(decode_image(data), ORIENTED[orientation](ramp()))
    data, grey = grey16(orientation)
    np.testing.assert_array_equal(decode_image(data)[..., 1], ORIENTED[orientation](grey))


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG", "GIF"])
def test_files_of_several_pictures_are_refused(form):
    pages = [Image.fromarray(np.roll(ramp(), k, axis=0)) for k in range(3)]
    data = encoded(pages[0], form, save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"unknown format" if form == "GIF" else "3 pictures"):
        decode_image(data)


def test_a_smaller_picture_of_the_first_one_is_no_other():
    page = Image.fromarray(ramp())
    small = page.resize((16, 16))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    data = encoded(page, "TIFF", save_all=True, append_images=[small])
    np.testing.assert_array_equal(decode_image(data), ramp())


def test_white_as_0_is_refused_in_16_bits():
    data, _ = grey16()
    entry = struct.pack("<HHIHH", 262, 3, 1, 1, 0)  # the kind of its numbers: black is 0
    assert data.count(entry) == 1
    with pytest.raises(ValueError, match="white as 0"):
        decode_image(data.replace(entry, struct.pack("<HHIHH", 262, 3, 1, 0, 0)))


def test_a_damaged_tiff_is_refused_in_one_line(capfd, recwarn):
    data = grey16()[0]
    for damaged in (data[: len(data) // 2], b"II*\0" + data[20:]):
        with pytest.raises(ValueError, match=r"damaged|decoded") as caught:
            decode_image(damaged)
        assert "0x" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
