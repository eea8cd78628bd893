"""Degrade photos, with three families of degradations that share no member.

Training, model selection and benchmarks each have their own family: selecting by the degradations
that a model was trained on would favour it.
"""

import io
import math
import random
from zlib import crc32

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

STEPS = 8  # copies averaged for a blur along a path


def _blurred(image, strength, rng):
    return image.filter(ImageFilter.GaussianBlur(strength * max(image.size) / 60))


def _dark(image, strength, rng):
    return ImageEnhance.Brightness(image).enhance(1 - 0.75 * strength)


def _bright(image, strength, rng):
    return ImageEnhance.Brightness(image).enhance(1 + strength)


def _pale(image, strength, rng):
    return ImageEnhance.Contrast(image).enhance(1 - 0.75 * strength)


def _noisy(image, strength, rng):
    values = np.random.default_rng(rng.getrandbits(32))
    return _photo(np.asarray(image) + values.normal(0, 60 * strength, (*image.size[::-1], 1)))


def _small(image, strength, rng):
    side = [max(8, round(length * (1 - 0.85 * strength))) for length in image.size]
    return image.resize(side, Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)


def _compressed(image, strength, rng):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(60 - 55 * strength))
    return Image.open(file, formats=["JPEG"]).convert("RGB")


def _moved(image, strength, rng):
    "Camera motion: the mean of copies along a straight line."
    reach, angle = strength * max(image.size) / 12, rng.uniform(0, math.pi)
    across, down = reach * math.cos(angle), reach * math.sin(angle)
    return _mean(_shifted(image, across * at, down * at) for at in np.linspace(-0.5, 0.5, STEPS))


def _hazy(image, strength, rng):
    "Grey haze, thicker towards the top."
    height = image.size[1]
    veil = 0.8 * strength * np.linspace(1, 0.5, height)[:, None, None]
    return _photo(np.asarray(image) * (1 - veil) + 200 * veil)


def _tinted(image, strength, rng):
    "Wrong white balance."
    gains = [math.exp(strength * rng.uniform(-0.7, 0.7)) for _ in range(3)]
    return _photo(np.asarray(image) * gains)


def _specked(image, strength, rng):
    "Dead pixels, black and white."
    values = np.random.default_rng(rng.getrandbits(32)).random(image.size[::-1])
    pixels = np.array(image)
    pixels[values < 0.06 * strength], pixels[values > 1 - 0.06 * strength] = 0, 255
    return Image.fromarray(pixels)


def _zoomed(image, strength, rng):
    "A zoom during the exposure."
    return _mean(_enlarged(image, 1 + 0.2 * strength * at) for at in np.linspace(0, 1, STEPS))


def _shaded(image, strength, rng):
    "A shadow over one side."
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-1 : 1 : image.size[1] * 1j, -1 : 1 : image.size[0] * 1j]
    dark = 1 / (1 + np.exp(-6 * (x * math.cos(angle) + y * math.sin(angle))))
    return _photo(np.asarray(image) * (1 - 0.85 * strength * dark[..., None]))


def _grainy(image, strength, rng):
    "Colour grain, stronger in brighter areas."
    values = np.random.default_rng(rng.getrandbits(32)).normal(0, 1, (*image.size[::-1], 3))
    return _photo(np.asarray(image) * (1 + 0.5 * strength * values))


def _flat(image, strength, rng):
    "Weak colours, and few shades of them."
    grey = np.asarray(ImageEnhance.Color(image).enhance(1 - strength), float)
    step = 1 + 63 * strength
    return _photo(np.round(grey / step) * step)


def _photo(values):
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _mean(images):
    return _photo(np.mean([np.asarray(image, float) for image in images], axis=0))


def _shifted(image, across, down):
    moved = image.transform(image.size, Image.Transform.AFFINE, (1, 0, across, 0, 1, down),
                            Image.Resampling.BILINEAR)  # fmt: skip
    kept = Image.new("L", image.size, 255).transform(
        image.size, Image.Transform.AFFINE, (1, 0, across, 0, 1, down)
    )
    return Image.composite(moved, image, kept)


def _enlarged(image, factor):
    (width, height), cut = image.size, (1 - 1 / factor) / 2
    box = (width * cut, height * cut, width * (1 - cut), height * (1 - cut))
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


TRAINING = (_blurred, _dark, _bright, _pale, _noisy, _small, _compressed)  # for --aug degraded
JUDGING = (_moved, _hazy, _tinted, _specked)  # for --choose robust
SHOWING = (_zoomed, _shaded, _grainy, _flat)  # for benchmarks only


class DegradedPixels:
    """`pixels` (`Pixels`), each photo degraded by one of `family`; its content seeds which one and
    how strongly, so that every model sees the same copy."""

    def __init__(self, pixels, family):
        self.pixels, self.family = pixels, family

    def __call__(self, path):
        image, rng = self.pixels(path), random.Random(crc32(self.pixels.keys[path].encode()))
        return rng.choice(self.family)(image, rng.uniform(0.2, 1), rng)
