"""Make the small pictures embedded in a page: each photo once, up to what a page can hold."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from vlg_fastai.console import track
from vlg_fastai.data.images import BrokenImageError, quiet_decoders, read_image
from vlg_fastai.machine.device import cpus

SIDE = 144  # pixels of a picture's long side: about 4 kB
QUALITY = 72  # of WebP
MOST = 2_500  # pictures: about 14 MB of a page


class Album:
    "Numbers the photos that a page requests, until it is full, and then makes their pictures."

    def __init__(self, most=MOST):
        self.most, self.left_out, self.numbers, self.sources = most, set(), {}, []

    def add(self, path):
        "The number of the picture of the photo at `path`; None where the album is full."
        if path not in self.numbers:
            if len(self.sources) >= self.most:
                self.left_out.add(path)
                return None
            self.numbers[path] = self.put(path)
        return self.numbers[path]

    def put(self, image):
        "The number of an existing picture; it is accepted even when the album is full."
        self.sources.append(image)
        return len(self.sources) - 1

    def pictures(self):
        "One data URI per number; an empty string for an unreadable photo."
        with quiet_decoders(), ThreadPoolExecutor(cpus()) as pool:
            return list(track(pool.map(_uri, self.sources), "pictures", len(self.sources)))


def _uri(source):
    try:
        image = source if isinstance(source, Image.Image) else read_image(source, SIDE)
    except BrokenImageError:
        return ""
    image = image.copy()
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
