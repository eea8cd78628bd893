"""The image reader: every odd file becomes an upright RGB picture or a reason."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vlg_fastai.data import images
from vlg_fastai.data.images import FORMATS, BrokenImageError, content_hash, read_image
from vlg_fastai.data.walking import SUFFIXES


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def solid(mode, colour, size=(20, 10)):
    return Image.new(mode, size, colour)


def test_the_exif_orientation_is_applied():
    image = solid("RGB", "red", (30, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by a quarter
    assert read_image(saved(image, "JPEG", exif=exif)).size == (10, 30)


def test_a_damaged_exif_block_does_not_cost_the_picture():
    assert read_image(saved(solid("RGB", "red"), "JPEG", exif=b"Exif\x00\x00garbage")).size == (
        20,
        10,
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_are_white(mode):
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0)).convert(mode if mode != "PA" else "RGBA")
    kind = "PNG" if mode != "PA" else "GIF"
    assert read_image(saved(image, kind)).getpixel((3, 3)) == (255, 255, 255)


def test_a_palette_with_a_transparent_colour_is_composited():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert read_image(saved(image, "PNG")).getpixel((0, 0)) == (10, 200, 30)
    assert read_image(saved(image, "PNG", transparency=1)).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_becomes_rgb():
    red, green, blue = read_image(saved(solid("CMYK", (0, 255, 255, 0)), "JPEG")).getpixel((5, 5))
    assert red > 200
    assert max(green, blue) < 80


def test_sixteen_bit_greys_are_scaled_and_not_clipped():
    ramp = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    values = [read_image(saved(ramp, "PNG")).getpixel((x, 0))[0] for x in range(3)]
    assert values == [0, 127, 255]


def test_twelve_bits_in_a_file_of_sixteen_are_not_dark():
    ramp = Image.fromarray(np.array([[0, 2048, 4095]], dtype=np.uint16))
    assert [read_image(saved(ramp, "PNG")).getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


def test_a_float_tiff_between_zero_and_one_is_scaled():
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert [read_image(saved(image, "TIFF")).getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind):
    first, second = solid("RGB", (250, 0, 0)), solid("RGB", (0, 0, 250))
    content = saved(first, kind, save_all=True, append_images=[second])
    assert read_image(content).getpixel((5, 5))[0] > 200


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000)])
def test_one_pixel_and_slivers_are_pictures(size):
    assert read_image(saved(solid("RGB", "blue", size), "PNG")).size == size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_each_format_is_read(kind):
    assert read_image(saved(solid("RGB", "blue"), kind)).mode == "RGB"


def test_a_truncated_file_is_broken_with_a_reason():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8))
    content = saved(noise, "JPEG")
    with pytest.raises(BrokenImageError, match="truncated"):
        read_image(content[: len(content) // 2])


def test_an_empty_file_and_a_text_say_what_they_are():
    with pytest.raises(BrokenImageError, match="empty"):
        read_image(b"")
    with pytest.raises(BrokenImageError, match="not a picture, starts with 'Dear jury"):
        read_image(b"Dear jury, this is no photo")


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(BrokenImageError, match="No such file"):
        read_image(tmp_path / "gone.jpg")


def test_a_decompression_bomb_is_refused():
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(BrokenImageError, match="decompression bomb"):
        read_image(bomb)


def test_a_large_jpeg_is_decoded_smaller_but_never_below_what_is_asked():
    content = saved(solid("RGB", "green", (1600, 1200)), "JPEG")
    width, height = read_image(content, side=100).size
    assert 100 <= height < 1200
    assert width > height


def test_the_content_hash_is_of_the_bytes():
    assert content_hash(b"a") != content_hash(b"b")
    assert content_hash(b"a") == content_hash(b"a")


def test_a_postscript_file_called_jpg_starts_no_program(tmp_path, monkeypatch):
    started = tmp_path / "started"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {started}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    (tmp_path / "cat.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(BrokenImageError, match="not a picture, starts with '%!PS"):
        read_image(tmp_path / "cat.jpg")
    assert not started.exists()


@pytest.mark.parametrize("kind", ["PCX", "TGA", "ICO", "SGI"])
def test_only_the_formats_of_photos_are_decoded(kind):
    with pytest.raises(BrokenImageError, match="not a picture"):
        read_image(saved(solid("RGB", "blue", (32, 32)), kind))


def test_every_suffix_that_counts_as_a_photo_has_its_format_read():
    Image.init()
    known = {suffix for suffix, kind in Image.EXTENSION.items() if kind in FORMATS}
    assert SUFFIXES - known <= {".jfif"}


def test_bytes_that_are_not_those_scanned_are_refused():
    content = saved(solid("RGB", "red"), "PNG")
    assert read_image(content, known_as=content_hash(content)).size == (20, 10)
    with pytest.raises(BrokenImageError, match="changed after it was scanned"):
        read_image(content, known_as=content_hash(b"another"))


def test_a_huge_deep_photo_is_read_in_little_memory(tmp_path):
    import subprocess
    import sys

    side = 9000
    Image.fromarray(np.full((side, side), 3000, np.uint16)).save(tmp_path / "deep.png")
    code = (
        "import resource, sys; from pathlib import Path; from vlg_fastai.data import images\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "image = images.read_image(Path(sys.argv[1]), 64)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(after - before, *image.getpixel((5, 5)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "deep.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, *colour = map(int, done.stdout.split())
    assert grown * 1024 < 5 * side**2  # two bytes per pixel to decode, one to scale; formerly eight
    assert colour == [186] * 3  # 3000 on a 12-bit scale


def test_a_huge_photo_with_alpha_is_on_white_and_large_enough():
    pixels = np.zeros((5000, 4600, 4), np.uint8)
    pixels[..., 0], pixels[:2500, :, 3] = 200, 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    image = images.read_image(file.getvalue(), 224)
    assert min(image.size) >= 2 * 224
    width, height = image.size
    assert image.getpixel((width // 2, height // 4)) == (200, 0, 0)
    assert image.getpixel((width // 2, 3 * height // 4)) == (255, 255, 255)


def test_a_film_that_is_called_a_photo_is_no_photo_and_is_not_read(tmp_path):
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate(8 * 2**30)
    with pytest.raises(BrokenImageError, match="8.6 GB is too large for a photo"):
        images.read_image(tmp_path / "film.jpg")


def test_no_more_pixels_are_decoded_at_a_time_than_there_is_room_for():
    import threading
    import time

    room, most, now = images.Room(10), [], []

    def decode(pixels):
        with room.taken(pixels):
            now.append(pixels)
            most.append(sum(now))
            time.sleep(0.01)
            now.remove(pixels)

    threads = [threading.Thread(target=decode, args=(n,)) for n in (4, 5, 6, 3, 25, 2, 9, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(most) == 8
    assert all(total <= 10 or total == 25 for total in most)
