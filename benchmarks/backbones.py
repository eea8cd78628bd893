"""Which bundled net replaces a missing default: out-of-fold NLL of its probe on many challenges.

    python benchmarks/backbones.py DATA [DATA ...]         # DATA/train/<class>/*

Each DATA is used as it is, in `STYLES`, and in `CUTS` (every other class; few photos of each). No
test photo and no truth is read. Rows are appended to benchmarks/backbones.csv as they come, and
existing rows are not computed again. Ends with the mean over all rows, and over those of each DATA.
"""

import csv
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter, ImageOps

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlg_fastai.config import BUNDLED, TrainConfig  # noqa: E402
from vlg_fastai.data import folder, scan, twins  # noqa: E402
from vlg_fastai.data.images import BrokenImageError, read_image  # noqa: E402
from vlg_fastai.data.store import Store  # noqa: E402
from vlg_fastai.machine import device  # noqa: E402
from vlg_fastai.model import backbone, probe, sources  # noqa: E402
from vlg_fastai.model.features import FeatureExtractor  # noqa: E402
from vlg_fastai.model.inference import fit_temperature, nll  # noqa: E402

ROWS = Path(__file__).with_name("backbones.csv")
COLUMNS = [
    "data",
    "style",
    "cut",
    "arch",
    "size",
    "photos",
    "classes",
    "nll",
    "accuracy",
    "seconds",
]
STYLES = {
    "as it is": lambda image: image,
    "grey": lambda image: image.convert("L").convert("RGB"),
    "posterised": lambda image: ImageOps.posterize(image, 2),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(max(image.size) / 80)),
    "edges": lambda image: ImageOps.invert(image.convert("L").filter(ImageFilter.FIND_EDGES)),
}
SIDE, FEW, SEED = (
    320,
    8,
    0,
)  # pixels of a styled photo's long side; photos per class in a small cut
CUTS = {
    "all": lambda y, rng: np.arange(len(y)),
    "every other class": lambda y, rng: np.flatnonzero(y % 2 == 0),
    "few photos": lambda y, rng: np.sort(np.concatenate(
        [rng.permutation(np.flatnonzero(y == k))[:FEW] for k in np.unique(y)])),
}  # fmt: skip


def styled(data, style, place):
    "A folder with `data` in the given style; `data` itself if the style changes nothing."
    if style == "as it is":
        return data
    for path in sorted((data / "train").rglob("*")):
        if path.is_file():
            target = (place / path.relative_to(data)).with_suffix(".jpg")
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                image = read_image(path, SIDE)
            except BrokenImageError:
                continue
            image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
            STYLES[style](image).convert("RGB").save(target, quality=90)
    return place


def scored(table, source, size, means):
    "Yield (cut, figures) of the probe on `source` at `size` pixels."
    machine, store = means
    start = time.monotonic()
    view = backbone.view(source.arch, size, 1.0)
    extractor = FeatureExtractor.load(source, view, machine, store)
    x = extractor.features(table, view.pixels(table, store))
    labels = table["label"].astype("category").cat.codes.to_numpy(int)
    kin = twins.groups_of(table, x)
    for cut, choose in CUTS.items():
        rows = choose(labels, np.random.default_rng(SEED))
        y = np.unique(labels[rows], return_inverse=True)[1]
        if y.max() < 1:
            continue
        z = probe.out_of_fold(x[rows], y, kin[rows], int(y.max()) + 1, store, SEED).logits
        yield cut, {
            "photos": len(y), "classes": int(y.max()) + 1, "nll": nll(z, y, fit_temperature(z, y)),
            "accuracy": float((z.argmax(1) == y).mean()), "seconds": time.monotonic() - start,
        }  # fmt: skip


def main(challenges):
    done = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=COLUMNS)
    known = set(zip(done["data"], done["style"], done["arch"], strict=True))
    machine = device.prepare(TrainConfig())
    for data in map(Path, challenges):
        for style in STYLES:
            missing = [arch for arch in BUNDLED if (data.name, style, arch) not in known]
            if not missing:
                continue
            with tempfile.TemporaryDirectory() as place:
                store = Store(Path(place) / "cache")
                made = styled(data, style, Path(place) / "data")
                table = scan.scan_classes(folder.layout(made))
                table = table[table["problem"].isna()].reset_index(drop=True)
                for arch in missing:
                    means = machine, store
                    for cut, found in scored(table, sources.bundled(arch), BUNDLED[arch], means):
                        add({"data": data.name, "style": style, "cut": cut, "arch": arch,
                             "size": BUNDLED[arch], **found})  # fmt: skip
    report(pd.read_csv(ROWS))


def add(row):
    new = not ROWS.exists()
    with ROWS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()})


def report(rows):
    """Print the mean NLL over all rows, which decides, and over those of each DATA.

    The mean over photos is printed as well: cuts of few photos are noisy, and weigh less there.
    """
    keys = ["data", "style", "cut", "photos"]
    table = rows.pivot_table(index=keys, columns="arch", values="nll").dropna()
    weights = table.index.get_level_values("photos").to_numpy()
    by_photo = pd.Series(np.average(table, axis=0, weights=weights), table.columns)
    means = pd.concat({"all": table.mean(), "by photo": by_photo}, axis=1)
    print(table.groupby("data").mean().T.join(means).round(4).to_string())
    first = table.columns[0]
    for other in table.columns[1:]:
        gain = table[first] - table[other]
        error = gain.std() / len(gain) ** 0.5
        print(f"{other}: NLL lower than {first}'s by {gain.mean():.4f} +- {error:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
