"""Draw pictures of animals from the attributes of their species, each in its own pose and light."""

import math
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

SIDE = 160  # pixels of a finished picture
BIG = 2 * SIDE  # drawn twice as large and reduced, which smooths the edges
SHEET = 400  # pixels of the sheet for one animal alone: room for a long neck and horns
DARK, PALE = (38, 32, 30), (240, 232, 214)
COLOURS = {
    "sand": (214, 178, 116), "brown": (134, 92, 60), "grey": (136, 140, 148),
    "rust": (192, 96, 48), "cream": (236, 226, 204), "ink": (66, 62, 70),
}  # fmt: skip
SKIES = ((198, 220, 236), (240, 214, 180), (210, 216, 220), (176, 206, 228))
INKS = ((20, 20, 30), (50, 34, 24), (24, 30, 80))
PAPERS = ((250, 250, 248), (244, 234, 212), (232, 232, 236))
GROUNDS = ((146, 178, 110), (214, 196, 146), (176, 160, 138), (236, 238, 240), (120, 150, 104))
# body -> half length and half height of the trunk, height of the head above the back
BODIES = {"slim": (76, 36, 34), "stout": (82, 52, 26), "long": (98, 32, 22), "tall": (68, 38, 96)}


@dataclass(frozen=True)
class Species:
    "What all animals of a kind share; in attributes.csv each field is a column."

    body: str  # slim, stout, long, tall (with a long neck)
    coat: str  # plain, stripes, spots, patches
    ears: str  # round, pointed, long, floppy
    tail: str  # short, thin, bushy
    horns: str  # none, straight, curled, antlers
    legs: str  # short, long
    colour: str


def picture(species, rng):
    "One picture (RGB, `SIDE` pixels) of an animal of `species`."
    scenery = background(rng)
    _paste(species, scenery, rng)
    return light(scenery.resize((SIDE, SIDE), Image.Resampling.LANCZOS), rng)


def drawing(species, rng):
    "The same animals in ink on paper: no colour, no scenery, no shading."
    sheet = Image.new("RGB", (BIG, BIG), (255, 255, 255))
    _paste(species, sheet, rng)
    lines = sheet.convert("L").filter(ImageFilter.GaussianBlur(1.5)).filter(ImageFilter.FIND_EDGES)
    ink = ImageOps.invert(ImageOps.autocontrast(lines, cutoff=(0, 2)))
    ink = ink.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return ImageOps.colorize(ink, rng.choice(INKS), rng.choice(PAPERS))


def _paste(species, scenery, rng):
    "Draw an animal of `species` somewhere in `scenery`, large enough to be seen."
    animal = figure(species, rng)
    if rng.random() < 0.5:
        animal = animal.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    animal = _turned(animal, rng.uniform(-10, 10))
    size = round(SHEET * rng.uniform(0.64, 0.92))
    animal = animal.resize((size, size), Image.Resampling.BICUBIC)
    spare = BIG - size
    at = tuple(rng.randint(min(0, spare), max(0, spare)) for _ in range(2))
    scenery.paste(animal, at, animal)


def _turned(animal, degrees):
    "`Image.rotate`, computed only where the `animal` is: most of its sheet is empty."
    turn, middle = math.radians(degrees), SHEET / 2
    cos, sin = math.cos(turn), math.sin(turn)
    left, top, right, bottom = animal.getbbox()
    corners = [(x - middle, y - middle) for x in (left, right) for y in (top, bottom)]
    across = [middle + x * cos + y * sin for x, y in corners]
    down = [middle - x * sin + y * cos for x, y in corners]
    # what a pixel is interpolated from reaches two pixels beyond it
    x0, y0 = (max(0, math.floor(min(side)) - 3) for side in (across, down))
    x1, y1 = (min(SHEET, math.ceil(max(side)) + 3) for side in (across, down))
    x, y = x0 - middle, y0 - middle
    back = (cos, -sin, middle + x * cos - y * sin, sin, cos, middle + x * sin + y * cos)
    part = animal.transform(
        (x1 - x0, y1 - y0), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC
    )
    sheet = Image.new("RGBA", animal.size)
    sheet.paste(part, (x0, y0))
    return sheet


def background(rng):
    "Sky over ground, hills and trees between them, blurred as if out of focus."
    sky, ground = rng.choice(SKIES), rng.choice(GROUNDS)
    scenery = Image.new("RGB", (BIG, BIG), sky)
    pen = ImageDraw.Draw(scenery)
    horizon = rng.randint(BIG * 3 // 10, BIG * 6 // 10)
    for _ in range(rng.randint(1, 3)):
        x, r = rng.randint(0, BIG), rng.randint(60, 150)
        pen.ellipse((x - r, horizon - r // 2, x + r, horizon + r), fill=shade(ground, 0.86))
    pen.rectangle((0, horizon, BIG, BIG), fill=ground)
    for _ in range(rng.randint(2, 6)):
        x, y, r = rng.randint(0, BIG), horizon + rng.randint(-14, 60), rng.randint(10, 34)
        pen.rectangle((x - 3, y, x + 3, y + r), fill=(112, 88, 66))
        pen.ellipse(
            (x - r, y - 1.6 * r, x + r, y + 4), fill=shade((104, 138, 88), rng.uniform(0.8, 1.2))
        )
    return scenery.filter(ImageFilter.GaussianBlur(rng.uniform(2, 5)))


def light(image, rng):
    "Vary brightness, contrast and the warm or cold colour of the light."
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.78, 1.14))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.85, 1.15))
    warmth = rng.uniform(-0.07, 0.07)
    red, green, blue = image.split()
    red = red.point(lambda v: min(255, int(v * (1 + warmth))))
    return Image.merge("RGB", (red, green, blue.point(lambda v: min(255, int(v * (1 - warmth))))))


def figure(species, rng):
    "The animal alone, looking left, on a transparent square."
    layer = Image.new("RGBA", (SHEET, SHEET))
    pen = ImageDraw.Draw(layer)
    tone = rng.randint(-14, 14)
    coat = tuple(max(0, min(255, c + tone + rng.randint(-4, 4))) for c in COLOURS[species.colour])
    far, near = shade(coat, 0.62), shade(coat, 0.82)
    half, high, lift = BODIES[species.body]
    leg = {"short": 42, "long": 84}[species.legs]
    x, y = 214, 356 - leg - high  # middle of the trunk; feet stand near the lower edge
    head = (x - half - rng.randint(2, 12), y - high // 2 - lift + rng.randint(-10, 14))
    pen.ellipse((x - half, 338, x + half, 358), fill=(0, 0, 0, 60))  # its shadow
    tail(pen, species.tail, (x + half - 6, y - high // 3), coat, far, rng)
    legs(pen, (x, y + high // 2), half, leg, far, rng)
    pen.ellipse((x - half, y - high, x + half, y + high), fill=coat)
    marks(layer, (x - half, y - high, x + half, y + high), species, rng)
    legs(pen, (x - 14, y + high // 2), half, leg, near, rng)
    pen.line((x - half + 22, y - high // 4, head[0] + 10, head[1] + 6), fill=coat, width=34)
    ears(pen, species.ears, head, far)
    horns(pen, species.horns, head)
    face(pen, head, coat, near)
    return layer


def legs(pen, at, half, length, colour, rng):
    x, y = at
    for side in (-0.62, 0.66):
        top, lean = x + side * half, rng.randint(-12, 12)
        pen.line((top, y, top + lean, y + length), fill=colour, width=15)
        pen.ellipse((top + lean - 10, y + length - 7, top + lean + 8, y + length + 6), fill=DARK)


def tail(pen, kind, at, coat, dark, rng):
    x, y = at
    wag = rng.randint(-16, 16)
    if kind == "bushy":
        pen.line((x, y, x + 34, y - 26 + wag), fill=dark, width=22)
        pen.ellipse((x + 10, y - 84 + wag, x + 58, y - 4 + wag), fill=dark)
        pen.ellipse((x + 24, y - 88 + wag, x + 52, y - 58 + wag), fill=PALE)
    elif kind == "thin":
        pen.line(
            (x, y, x + 30, y + 24 + wag, x + 40, y + 72 + wag), fill=coat, width=8, joint="curve"
        )
        pen.ellipse((x + 31, y + 64 + wag, x + 49, y + 90 + wag), fill=dark)
    else:
        pen.ellipse((x - 6, y - 18, x + 22, y + 10), fill=dark)


def ears(pen, kind, head, dark):
    x, y = head
    if kind == "round":
        pen.ellipse((x - 16, y - 44, x + 10, y - 18), fill=dark)
        pen.ellipse((x + 8, y - 40, x + 34, y - 14), fill=dark)
    elif kind == "pointed":
        pen.polygon([(x - 14, y - 18), (x - 6, y - 56), (x + 10, y - 22)], fill=dark)
        pen.polygon([(x + 6, y - 20), (x + 22, y - 54), (x + 30, y - 12)], fill=dark)
    elif kind == "long":
        pen.ellipse((x - 8, y - 94, x + 10, y - 14), fill=dark)
        pen.ellipse((x + 10, y - 90, x + 28, y - 10), fill=dark)
    else:
        pen.ellipse((x + 4, y - 24, x + 28, y + 36), fill=dark)


def horns(pen, kind, head):
    "Draw each twice: dark and wide below, so that bone stands out from a pale sky, then the bone."
    for colour, more in ((DARK, 5), ((226, 212, 182), 0)):
        _horns(pen, kind, head, colour, more)


def _horns(pen, kind, head, colour, more):
    x, y = head
    if kind == "straight":
        for start in (x - 8, x + 12):
            pen.line((start, y - 18, start + 16, y - 82), fill=colour, width=8 + more)
    elif kind == "curled":
        for grow in (0, 10):
            box = (x - 6 + grow - more // 2, y - 62 - more // 2, x + 46 + grow + more // 2, y - 4)
            pen.arc(box, 150, 60, fill=colour, width=10 + more)
    elif kind == "antlers":
        for start, way in ((x - 8, -1), (x + 14, 1)):
            tip = (start + way * 22, y - 86)
            beam = (start, y - 16, start + way * 10, y - 52, *tip)
            pen.line(beam, fill=colour, width=6 + more, joint="curve")
            for share in (0.45, 0.75):
                px, py = start + way * 14 * share + way * 4, y - 16 - 66 * share
                pen.line((px, py, px + way * 20, py - 14), fill=colour, width=5 + more)


def face(pen, head, coat, near):
    x, y = head
    pen.ellipse((x - 30, y - 28, x + 32, y + 28), fill=coat)
    pen.ellipse((x - 46, y - 8, x - 8, y + 24), fill=near)
    pen.ellipse((x - 47, y - 2, x - 36, y + 9), fill=DARK)
    pen.ellipse((x - 12, y - 14, x, y - 2), fill=DARK)
    pen.ellipse((x - 10, y - 12, x - 6, y - 8), fill="white")


def marks(layer, box, species, rng):
    "Draw stripes, spots or patches, clipped to the ellipse of the trunk."
    if species.coat == "plain":
        return
    left, top, right, bottom = box
    sheet = Image.new("L", layer.size)
    pen = ImageDraw.Draw(sheet)
    if species.coat == "stripes":
        for x in range(left + rng.randint(6, 20), right, 24):
            pen.line((x, top, x + rng.randint(-14, 8), bottom), fill=255, width=9)
    elif species.coat == "spots":
        for turn in range(34):
            x, y = (
                left + (turn * 61.8) % (right - left),
                top + (turn * 38.2 + rng.randint(0, 9)) % (bottom - top),
            )
            r = rng.randint(4, 7)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    else:
        for turn in range(5):
            x = left + (right - left) * (turn + rng.uniform(0.2, 0.8)) / 5
            y = (top + bottom) / 2 + (bottom - top) * 0.3 * math.sin(turn * 2.2 + rng.uniform(0, 1))
            pen.ellipse(
                (x - rng.randint(14, 24), y - rng.randint(12, 22), x + 20, y + 18), fill=255
            )
    trunk = Image.new("L", layer.size)
    ImageDraw.Draw(trunk).ellipse(box, fill=255)
    ink = PALE if species.colour == "ink" else shade(COLOURS[species.colour], 0.32)
    layer.paste(ink, (0, 0), ImageChops.multiply(sheet, trunk))


def shade(colour, factor):
    return tuple(max(0, min(255, int(c * factor))) for c in colour)
