"""Classify photos with model.onnx exactly as `predict.py` does.

Needs numpy, pillow and onnxruntime; everything else it reads lies beside this file.
"""

import json
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).parent
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "PPM", "JPEG2000")
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
HUGE = 20_000_000  # pixels
RANGES = [2**bits - 1 for bits in (8, 10, 12, 14, 16)]


class Classifier:
    "The model in `folder`; `labels` are its classes."

    def __init__(self, folder=HERE, threads=None):
        folder = Path(folder)
        self.facts = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
        self.labels = self.facts["labels"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        found = folder / "likeness.npz"
        self.likeness = Familiarity(np.load(found)) if found.is_file() else None

    def __call__(self, photos):
        """(probabilities (n, classes), share (n,) or None) of `photos`, paths or Pillow images.

        share: of held-out training photos that look less like the known classes than the photo.
        """
        return self.of_pixels(np.stack([self.pixels(photo) for photo in photos]))

    def of_pixels(self, x):
        "The same for photos (n, 3, size, size) that `pixels` made."
        probs, features = self.session.run(None, {"images": x})
        return probs, None if self.likeness is None else self.likeness(features)

    def pixels(self, photo):
        "(3, size, size) float32 in [0, 1]: the photo as the model was trained to see it."
        image = self.smaller(upright(photo, self.side))
        square = self.square(image)
        return np.asarray(square, dtype=np.float32).transpose(2, 0, 1) / 255

    @property
    def side(self):
        "Pixels of the short side that photos are first reduced to."
        share = self.facts["crop_pct"] if self.facts["fit"] == "crop" else 1.0
        return math.ceil(self.facts["size"] / share)

    @property
    def resample(self):
        name = self.facts["interpolation"].upper()
        return getattr(Image.Resampling, name, Image.Resampling.BICUBIC)

    def smaller(self, image):
        short = min(image.size)
        if short <= self.side:
            return image
        size = [max(1, round(length * self.side / short)) for length in image.size]
        return image.resize(size, self.resample, reducing_gap=3.0)

    def square(self, image):
        size, fit = self.facts["size"], self.facts["fit"]
        whole = (0, 0, *image.size)
        if fit == "pad":
            bars = tuple(self.facts["bars"])
            return ImageOps.pad(image.crop(whole), (size, size), self.resample, bars)
        if fit == "squish":
            return image.resize((size, size), self.resample, box=whole, reducing_gap=3.0)
        short = min(image.size)
        side = max(short * self.facts["crop_pct"], 1)
        left, top = ((length - side) * 0.5 for length in image.size)
        if abs(side - size) < 0.5 and short >= size:  # already at scale
            pairs = zip((left, top), image.size, strict=True)
            at = [min(round(place), length - size) for place, length in pairs]
            return image.crop((*at, at[0] + size, at[1] + size))
        box = (left, top, left + side, top + side)
        return image.resize((size, size), self.resample, box=box, reducing_gap=3.0)


class Familiarity:
    """Relative Mahalanobis distance to the nearest class (Ren et al., 2021) on features of length
    one, as the share of held-out photos that score lower."""

    def __init__(self, arrays):
        self.means, self.middle, self.quantiles = (
            arrays[name].astype(np.float32) for name in ("means", "middle", "quantiles")
        )
        self.within, self.total = (full(arrays[name]) for name in ("within", "total"))

    def __call__(self, features):
        x = features.astype(np.float32)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        white, means = x @ self.within.T, self.means @ self.within.T
        squares = ((white[:, None] - means) ** 2).sum(2)
        score = (((x - self.middle) @ self.total.T) ** 2).sum(1) - squares.min(1)
        return np.searchsorted(self.quantiles, score) / len(self.quantiles)


def full(packed):
    "The lower triangular matrix of which `packed` holds the rows."
    d = int((math.sqrt(8 * len(packed) + 1) - 1) / 2)
    made = np.zeros((d, d), np.float32)
    made[np.tril_indices(d)] = packed
    return made


def upright(photo, side):
    "An upright RGB image, composited on white; a JPEG no larger than needed for `side`."
    image = photo if isinstance(photo, Image.Image) else Image.open(photo, formats=FORMATS)
    image.draft("RGB", (side, side))
    image.load()
    image = handy(image, side)
    with suppress(Exception):  # a damaged EXIF block says nothing about the pixels
        image = ImageOps.exif_transpose(image)
    if image.mode in DEEP:
        return eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (255, 255, 255))
        image = Image.alpha_composite(below, image)
    return image.convert("RGB")


def handy(image, side):
    "A huge image reduced towards `side`, before anything copies it."
    factor = min(image.size) // (2 * side)
    if image.width * image.height < HUGE or factor < 2:
        return image
    if image.mode in DEEP:
        small = eight_bits(image).reduce(factor)
    elif image.mode in ("P", "1"):
        small = image.convert("RGBA" if image.has_transparency_data else "RGB").reduce(factor)
    else:
        small = image.reduce(factor)
    small.info, small._exif = image.info, image.getexif()
    return small


def eight_bits(image):
    "A deep image scaled by the smallest range that holds its values."
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    top = values.max(initial=0)
    if image.mode == "F" and 0 < top <= 1:
        scale = 255
    else:
        scale = 255 / next((full for full in RANGES if top <= full), top)
    return Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8))
