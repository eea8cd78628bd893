"""Put tiny pictures of many photos into one image, which a page cuts apart again."""

import base64
import io
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image, ImageOps

from vlg_fastai.console import track
from vlg_fastai.data.images import BrokenImageError, quiet_decoders, read_image
from vlg_fastai.machine.device import cpus

SIDE = 56  # pixels of a tile: about 1 kB
QUALITY = 60  # of WebP


@dataclass(frozen=True)
class Tiles:
    "uri: the image as a data URI; side: of a tile, in pixels; across: tiles in a row."

    uri: str
    side: int
    across: int

    @classmethod
    def of(cls, paths):
        "The squares of the photos at `paths`, row by row; grey where one cannot be read."
        paths = list(paths)
        across = max(1, math.isqrt(len(paths)))
        sheet = Image.new("RGB", (across * SIDE, math.ceil(len(paths) / across) * SIDE), "#808080")
        with quiet_decoders(), ThreadPoolExecutor(cpus()) as pool:
            made = track(pool.map(_tile, paths), "tiles of the map", len(paths))
            for i, tile in enumerate(made):
                if tile is not None:
                    sheet.paste(tile, (i % across * SIDE, i // across * SIDE))
        buffer = io.BytesIO()
        sheet.save(buffer, "WEBP", quality=QUALITY)
        uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
        return cls(uri, SIDE, across)


def _tile(path):
    try:
        return ImageOps.fit(read_image(path, SIDE), (SIDE, SIDE), Image.Resampling.LANCZOS)
    except (BrokenImageError, OSError):
        return None
