"""Read a file as an upright RGB image: the one reader that everything uses."""

import ctypes
import hashlib
import io
import threading
import warnings
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image, ImageOps

BACKGROUND = (255, 255, 255)  # behind transparent pixels; most cut-out photos were made for white
RANGES = [2**bits - 1 for bits in (8, 10, 12, 14, 16)]
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes with more than eight bits
# Pillow opens files by content, not by name, and some of its 43 decoders start programs (an EPS
# runs Ghostscript): only these are tried
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000")

LARGEST_FILE = 2**28  # bytes: keeps a video named .jpg from being read into memory
HUGE = 20_000_000  # pixels from which a photo is reduced before anything copies it
MOST_PIXELS = 50_000_000  # decoded at a time by all threads together: 4 bytes each, plus copies
STRIP = 256  # rows of a deep photo converted to eight bits at a time


class Room:
    "Limit on the pixels decoded at a time; a photo larger than that is decoded alone."

    def __init__(self, most):
        self.most, self.used, self.changed = most, 0, threading.Condition()

    @contextmanager
    def taken(self, pixels):
        with self.changed:
            self.changed.wait_for(lambda: not self.used or self.used + pixels <= self.most)
            self.used += pixels
        try:
            yield
        finally:
            with self.changed:
                self.used -= pixels
                self.changed.notify_all()


ROOM = Room(MOST_PIXELS)


class BrokenImageError(Exception):
    "A file that cannot be read as an image; the message says why in a few words."


def read_image(source, side=None, known_as=None):
    """Read `source` (path or bytes) as an upright RGB image: first frame, composited on white.

    `side` (pixels): JPEGs may be decoded smaller, which is faster, but no side below this.
    `known_as`: the content hash from the scan; other bytes are another photo.
    Pillow's limit against decompression bombs applies. Raises BrokenImageError.
    """
    content = source if isinstance(source, bytes) else content_of(source)
    if not content:
        raise BrokenImageError("empty file")
    if known_as is not None and content_hash(content) != known_as:
        raise BrokenImageError("changed after it was scanned")
    try:
        return _upright_rgb(content, side)
    except Exception as error:  # each decoder raises its own exceptions; all mean a broken file
        raise BrokenImageError(_reason(error, content)) from None


def content_of(path):
    "The bytes of a file that may be a photo; BrokenImageError if it is too large or unreadable."
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise BrokenImageError(f"{size / 1e9:.1f} GB is too large for a photo")
        return path.read_bytes()
    except OSError as error:
        raise BrokenImageError(error.strerror or type(error).__name__) from None


def opened(content):
    "Open the bytes `content` as a Pillow image, not decoded yet."
    return Image.open(io.BytesIO(content), formats=FORMATS)


def _upright_rgb(content, side):
    image = opened(content)
    if side:
        image.draft("RGB", (side, side))
    pixels = image.width * image.height
    with ROOM.taken(pixels):
        image.load()
        image = _handy(image, side)  # free the large one before another takes its room
        if pixels >= HUGE:
            give_back()
        return _rgb(_turn(image))


def give_back():
    "Return freed memory to the system now: glibc may have been told to keep it (`keep_memory`)."
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _handy(image, side):
    """Reduce a huge image towards `side`, if given: rotating and compositing would copy all of it.

    One of 179 million pixels, the most that Pillow decodes, takes 0.7 GB per copy.
    """
    factor = min(image.size) // (2 * side) if side else 1
    if image.width * image.height < HUGE or factor < 2:
        return image
    if image.mode in DEEP:
        small = _eight_bits(image, factor)
    elif image.mode in ("P", "1"):
        small = image.convert("RGBA" if image.has_transparency_data else "RGB").reduce(factor)
    else:
        small = image.reduce(factor)
    small.info, small._exif = image.info, image.getexif()
    return small


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


def _eight_bits(image, factor=1):
    """Scale a deep image by the smallest range that holds its values: many use 12 bits of 16.

    factor: divisor of both sides, applied per strip to avoid a full-size copy of eight bits.
    """
    rows = factor * max(STRIP // factor, 1)
    top = max(strip.max(initial=0) for _, strip in _strips(image, rows))
    if image.mode == "F" and 0 < top <= 1:
        scale = 255
    else:
        scale = 255 / next((full for full in RANGES if top <= full), top)
    made = Image.new("L", (-(-image.width // factor), -(-image.height // factor)))
    for first, strip in _strips(image, rows):
        shown = Image.fromarray(np.clip(strip * scale, 0, 255).astype(np.uint8))
        made.paste(shown.reduce(factor), (0, first // factor))
    return made


def _strips(image, rows):
    "Yield (first row, pixels as float64) of a deep image, `rows` at a time to save memory."
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        yield top, np.nan_to_num(np.asarray(strip).astype(np.float64))


def _reason(error, content):
    if isinstance(error, Image.UnidentifiedImageError):
        text = content[:16].decode("ascii", errors="replace")
        return f"not a picture, starts with {text!r}"
    if isinstance(error, Image.DecompressionBombError):
        return "more pixels than is safe to decode (decompression bomb)"
    return " ".join(str(error).split()) or type(error).__name__


def problem(path, known_as=None):
    "Why the photo at `path` cannot be read, or None; decodes it as small as possible."
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
    "Id of a file in every table: 128 bits of BLAKE2b over its bytes, as hex."
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@contextmanager
def quiet_decoders():
    "Silence decoders' warnings about odd files; in several threads only inside an outer one."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
