"""Map augmentation names to fastai transforms; define the crop that train and predict share."""

import math
import random

import torch
from fastai.torch_core import TensorImage
from fastai.vision.augment import RandomErasing, RandTransform, aug_transforms
from fastai.vision.core import PILImage
from PIL import Image, ImageOps
from torchvision.transforms.v2 import TrivialAugmentWide

from vlg_fastai.data.degrade import TRAINING

BARS = (124, 116, 104)  # beside a padded photo: the ImageNet mean
RATIO = math.log(4 / 3)  # log of the most extreme aspect ratio of a random crop, either way


class Fit(RandTransform):
    """Cut a square out of the photo and resize it to `size` pixels; or resize the whole photo,
    squeezed (`squish`) or with grey bars (`pad`), of which training may take a part.

    Validation and prediction take the centre, a share `crop_pct` of the short side, as the
    backbone was evaluated; training takes the same share anywhere, or with `min_scale` a crop of
    random area and shape (RandomResizedCrop, Szegedy 2015). The photo is cropped before it is
    resized, so a sliver of 10,000 x 3 pixels costs no more than any other photo.
    """

    split_idx, order = None, 1

    def __init__(self, view, min_scale=None, **kwargs):
        super().__init__(**kwargs)
        self.size, self.crop_pct, self.min_scale = view.size, view.crop_pct, min_scale
        self.how, interpolation = view.how, view.interpolation
        self.resample = resampling(interpolation)
        self.at, self.shape = (0.5, 0.5), None

    def before_call(self, b, split_idx):
        self.training = not split_idx
        self.at = (random.random(), random.random()) if self.training else (0.5, 0.5)
        self.shape = self._random_shape() if self.training and self.min_scale else None

    def _random_shape(self):
        area, ratio = random.uniform(self.min_scale, 1), math.exp(random.uniform(-RATIO, RATIO))
        return math.sqrt(area * ratio), math.sqrt(area / ratio)

    def encodes(self, x: PILImage):
        return PILImage(self.cut(x))

    def cut(self, photo):
        "The square of the Pillow image `photo`: its centre, unless this was called in training."
        box, size = self.box(*photo.size), self.size
        if self.how == "pad":
            return ImageOps.pad(photo.crop(box), (size, size), self.resample, BARS)
        if self.how == "crop" and not self.shape and self._at_scale(*photo.size):
            left, top = self.corner(*photo.size)
            return photo.crop((left, top, left + size, top + size))
        return photo.resize((size, size), self.resample, box=box, reducing_gap=3.0)

    def _at_scale(self, width, height):
        short = min(width, height)
        return abs(short * self.crop_pct - self.size) < 0.5 and short >= self.size

    def corner(self, width, height):
        "(left, top) of the square, in a photo of that size that is at scale already."
        ends = zip(self.box(width, height), (width, height), strict=False)
        return tuple(min(round(at), room - self.size) for at, room in ends)

    def frame_of(self, size):
        "(width, height) of a photo of `size` at the scale at which a square is cut from it."
        if self.how != "crop":
            return self.size, self.size
        if self._at_scale(*size):
            return size
        scale = max(self.size / self.crop_pct, self.size) / min(size)
        return tuple(max(round(length * scale), self.size) for length in size)

    def framed(self, photo):
        "`photo` at that scale, or squeezed or padded to a square."
        if self.how != "crop":
            return self(PILImage(photo), split_idx=1)
        wanted = self.frame_of(photo.size)
        return (
            photo if wanted == photo.size else photo.resize(wanted, self.resample, reducing_gap=3.0)
        )

    def box(self, width, height):
        "Crop box (left, top, right, bottom), in pixels of a photo of that size."
        short = min(width, height)
        if self.how != "crop":
            w, h = (max(side * min(part, 1), 1) for side, part in
                    zip((width, height), self.shape or (1, 1), strict=True))  # fmt: skip
        elif self.shape:
            w, h = min(short * self.shape[0], width), min(short * self.shape[1], height)
        else:
            w = h = max(short * self.crop_pct, 1)
        left, top = (width - w) * self.at[0], (height - h) * self.at[1]
        return left, top, left + w, top + h


def finest(min_scale):
    "Magnification of the smallest, narrowest random crop relative to the whole view."
    return 1 / math.sqrt(min_scale * math.exp(-RATIO))


def resampling(interpolation):
    "Pillow's filter for a timm interpolation name; bicubic where Pillow has none."
    return getattr(Image.Resampling, interpolation.upper(), Image.Resampling.BICUBIC)


def none():
    return []


def basic():
    "Flips and rotations up to 30 degrees: the original recipe."
    return aug_transforms(max_rotate=30, max_zoom=1.0, max_lighting=0.0, max_warp=0.0)


def strong():
    "Flips, small rotations, brightness and contrast, an erased patch; the crop varies as well."
    # no warp: torch.linalg.solve, which it needs, is missing on MPS
    return [
        *aug_transforms(max_rotate=15, max_zoom=1.0, max_lighting=0.3, max_warp=0.0),
        RandomErasing(p=0.25, max_count=1),
    ]


class Mirror(RandTransform):
    """Flip half of the photos of a batch, drawn as by fastai's `Flip`.

    It copies pixels, and before they are floats: resampling them, as `Flip` does, takes 20 ms for
    32 photos of 224 px on two cores, a fortieth of a step of lite0, and as long in validation.
    """

    split_idx, order = 0, 9  # before IntToFloatTensor (10)

    def encodes(self, x: TensorImage):
        drawn = torch.empty(len(x), device=x.device).bernoulli_(0.5) > 0
        return torch.where(drawn[:, None, None, None], x.flip(-1), x)


def flips():
    "Flips only; everything else is changed per photo."
    return [Mirror()]


class Degrade(RandTransform):
    "One degradation at random strength, after the crop, for half of the training photos."

    split_idx, order = 0, 2

    def __init__(self, p=0.5, **kwargs):
        super().__init__(p=p, **kwargs)

    def before_call(self, b, split_idx):
        super().before_call(b, split_idx)
        self.degrade, self.strength = random.choice(TRAINING), random.random()

    def encodes(self, x: PILImage):
        return PILImage(self.degrade(x, self.strength, random))


class Trivial(RandTransform):
    "One random change at random strength, after the crop (TrivialAugment, Mueller, 2021)."

    split_idx, order = 0, 2

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.change = TrivialAugmentWide()

    def encodes(self, x: PILImage):
        return PILImage(self.change(x))


AUGMENTATIONS = {  # name -> batch transforms
    "none": none, "basic": basic, "strong": strong, "degraded": flips, "trivial": flips,
}  # fmt: skip
BY_PHOTO = {"degraded": Degrade, "trivial": Trivial}  # name -> per-photo transform
MIN_SCALE = {  # name -> smallest share of the square a crop may take
    "strong": 0.35, "degraded": 0.5, "trivial": 0.5,
}  # fmt: skip
