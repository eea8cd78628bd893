"""File in, upright RGB image out: the one reader that everything uses."""

import hashlib
import io
import warnings
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

BACKGROUND = (255, 255, 255)  # under transparent pixels; most cut-out photos were made for white
RANGES = [2**bits - 1 for bits in (8, 10, 12, 14, 16)]
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of more than eight bits
# Pillow opens by content, whatever a file is called, and some of its 43 decoders start programs
# (an EPS runs Ghostscript): these alone are tried
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000")


class BrokenImageError(Exception):
    "A file that cannot be read as a picture; the message says why, in a few words."


def read_image(source, side=None, known_as=None):
    """Read `source` (path or bytes) as an upright RGB image: first frame, alpha over white.

    `side` (pixels): JPEGs may be decoded smaller, but no side below this, which is faster.
    `known_as`: the content hash that the file was scanned with; other bytes are another photo.
    Pillow's limit against decompression bombs is kept. Raises BrokenImageError.
    """
    content = source if isinstance(source, bytes) else _content(source)
    if not content:
        raise BrokenImageError("empty file")
    if known_as is not None and content_hash(content) != known_as:
        raise BrokenImageError("changed after it was scanned")
    try:
        return _upright_rgb(content, side)
    except Exception as error:  # each decoder has exceptions of its own; all mean a broken file
        raise BrokenImageError(_reason(error, content)) from None


def _content(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenImageError(error.strerror or type(error).__name__) from None


def opened(content):
    "The bytes `content` as a Pillow image that is not decoded yet."
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _upright_rgb(content, side):
    image = opened(content)
    if side:
        image.draft("RGB", (side, side))
    image.load()
    turned = _turn(image)
    return _rgb(turned)


def _turn(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image


def _rgb(image):
    if image.mode in DEEP:
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(below, image)
    return image.convert("RGB")


def _eight_bits(image):
    "Scale a deep image by the smallest range that holds its numbers: many use 12 bits of 16."
    pixels = np.asarray(image).astype(np.float64)
    pixels = np.nan_to_num(pixels)
    top = pixels.max(initial=0)
    if image.mode == "F" and 0 < top <= 1:
        scale = 255
    else:
        scale = 255 / next((full for full in RANGES if top <= full), top)
    return Image.fromarray(np.clip(pixels * scale, 0, 255).astype(np.uint8))


def _reason(error, content):
    if isinstance(error, Image.UnidentifiedImageError):
        text = content[:16].decode("ascii", errors="replace")
        return f"not a picture, starts with {text!r}"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than is safe to decode (decompression bomb)"
    return " ".join(str(error).split()) or type(error).__name__


def problem(path, known_as=None):
    "What keeps the photo at `path` from being read, or None; decoded no larger than that takes."
    try:
        with quiet_decoders():
            read_image(path, 1, known_as)
    except BrokenImageError as error:
        return str(error)
    return None


def readable(path):
    "True if `path` is a photo that can be read."
    return problem(path) is None


def content_hash(content):
    "What a file is known by in every table: 128 bits of BLAKE2b over its bytes, as hex."
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@contextmanager
def quiet_decoders():
    "Keep decoders' remarks about odd files from the user; not for use in several threads at once."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
