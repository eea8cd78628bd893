"""Render a photo as if photographed or drawn differently: styles for simulated tests.

They stand for shifts of a whole test: a medium (line, paint, print), a light, a camera.
Degradations of single photos are in `data.degrade`.
"""

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps


def _grey(image, strength):
    return ImageEnhance.Color(image).enhance(1 - strength)


def _lines(image, strength):
    "A pencil drawing: dark lines where brightness changes (colour dodge of the blurred negative)."
    grey = ImageOps.grayscale(image)
    radius = (3 - 2 * strength) * max(image.size) / 100
    soft = ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(radius))
    dodge = np.asarray(grey, float) * 255 / np.maximum(256 - np.asarray(soft, float), 1)
    return _picture(255 - np.minimum(255 - np.minimum(dodge, 255), 255) * (1 + 2 * strength))


def _edges(image, strength):
    "A sketch: thin lines on white."
    soft = ImageOps.grayscale(image).filter(ImageFilter.GaussianBlur(max(image.size) / 150))
    found = np.asarray(soft.filter(ImageFilter.FIND_EDGES), float)
    return _picture(255 - found * (2 + 6 * strength))


def _painted(image, strength):
    "Patches of one colour, like brush strokes: the most common value nearby, more vivid."
    side = 3 + 2 * round(3 * strength)
    small = image.resize([max(16, length * 160 // max(image.size)) for length in image.size])
    flat = small.filter(ImageFilter.ModeFilter(side)).resize(image.size, Image.Resampling.BICUBIC)
    return ImageEnhance.Color(flat).enhance(1 + strength)


def _cartoon(image, strength):
    "Few flat colours with dark outlines."
    small = image.resize([max(16, length * 160 // max(image.size)) for length in image.size])
    flat = ImageOps.posterize(small.filter(ImageFilter.MedianFilter(5)), 4 - round(2 * strength))
    lines = ImageOps.grayscale(small.filter(ImageFilter.GaussianBlur(1))).filter(
        ImageFilter.FIND_EDGES
    )
    ink = ImageOps.invert(lines.point(lambda v: 255 if v > 60 - 40 * strength else 0))
    made = ImageChops.multiply(flat, ink.convert("RGB")).resize(
        image.size, Image.Resampling.BICUBIC
    )
    return ImageEnhance.Color(made).enhance(1.3 + strength)


def _inverted(image, strength):
    return Image.blend(image, ImageOps.invert(image), 0.55 + 0.45 * strength)


def _embossed(image, strength):
    return Image.blend(image, image.filter(ImageFilter.EMBOSS), 0.5 + 0.5 * strength)


def _printed(image, strength):
    "Black and white only, dithered, like a newspaper."
    side = round(200 - 130 * strength)
    small = image.resize([max(16, length * side // max(image.size)) for length in image.size])
    return small.convert("1").convert("RGB").resize(image.size, Image.Resampling.BILINEAR)


def _silhouette(image, strength):
    "What is darker than the median, black on white."
    grey = np.asarray(ImageOps.autocontrast(ImageOps.grayscale(image)), float)
    steep = 0.02 + 0.2 * strength
    return _picture(255 / (1 + np.exp(np.clip(-steep * (grey - np.median(grey)), -30, 30))))


def _night(image, strength):
    "Little light, with a blue cast."
    values = np.asarray(image, float) / 255
    dark = values ** (1 + 1.5 * strength) * (1 - 0.6 * strength)
    return _picture(255 * dark * [0.7, 0.85, 1.1])


def _rotated_hue(image, strength):
    "Colours that occur nowhere in nature."
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point(lambda v: int(v + 40 + 88 * strength) % 256)
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _coarse(image, strength):
    "Taken from afar and enlarged: large square pixels."
    side = round(56 - 36 * strength)
    small = image.resize(
        [max(8, length * side // max(image.size)) for length in image.size], Image.Resampling.BOX
    )
    return small.resize(image.size, Image.Resampling.NEAREST)


def _blurred(image, strength):
    return image.filter(ImageFilter.GaussianBlur((0.01 + 0.03 * strength) * max(image.size)))


def _far(image, strength):
    "The subject small on a plain background."
    scale = 0.75 - 0.4 * strength
    small = image.resize([max(8, round(length * scale)) for length in image.size])
    ground = Image.new("RGB", image.size, small.resize((1, 1)).getpixel((0, 0)))
    ground.paste(
        small, [(length - part) // 2 for length, part in zip(image.size, small.size, strict=True)]
    )
    return ground


def _near(image, strength):
    "Only the middle."
    cut = 0.1 + 0.2 * strength
    width, height = image.size
    box = (width * cut, height * cut, width * (1 - cut), height * (1 - cut))
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


def _turned(image, strength):
    return image.rotate(20 + 70 * strength, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128))


def _picture(values):
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")


STYLES = {
    "grey": _grey, "lines": _lines, "edges": _edges, "painted": _painted, "cartoon": _cartoon,
    "inverted": _inverted, "embossed": _embossed, "printed": _printed, "silhouette": _silhouette,
    "night": _night, "hue": _rotated_hue, "coarse": _coarse, "blurred": _blurred, "far": _far,
    "near": _near, "turned": _turned,
}  # fmt: skip
