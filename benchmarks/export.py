"""What an export answers and how fast: onnxruntime beside torch, and predict.py's own path.

    python benchmarks/export.py DATA [ARCH ...]

DATA has class folders and a test folder. A bundled architecture is exported as a probe, any other
after one epoch from random weights. A row for each: size of the folder, the
largest difference to predict.py's probabilities, other classes, photos a second of both engines on
decoded photos in batches of 16, and the milliseconds from a file to its answer, alone.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlg_fastai.config import BUNDLED, PredictConfig, TrainConfig
from vlg_fastai.console import muted
from vlg_fastai.data import scan
from vlg_fastai.data.store import Store
from vlg_fastai.export import graph, samples
from vlg_fastai.export.options import ExportConfig
from vlg_fastai.export.run import PLAIN, export_runs
from vlg_fastai.export.standalone.classifier import Classifier
from vlg_fastai.machine import device
from vlg_fastai.model.sources import choose
from vlg_fastai.predict.blending import Blended
from vlg_fastai.runs.run import Run
from vlg_fastai.train.run import train

ARCHS = (
    "tf_efficientnet_lite0", "convnext_tiny", "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224", "resnet18",
)  # fmt: skip
PHOTOS, BATCH, ROUNDS = 200, 16, 3
SPREAD = 2.0  # standard deviation of a photo's logits, as trained nets have


def main(data, *archs):
    print("| | MB | largest difference | other classes | onnxruntime, photos/s | torch fp32 | ratio"
          " | ms for one file |\n| - | - | - | - | - | - | - | - |")  # fmt: skip
    for arch in archs or ARCHS:
        with tempfile.TemporaryDirectory() as folder:
            print(row(Path(data), arch, Path(folder)), flush=True)


def row(data, arch, folder):
    "The table's row of one architecture."
    with muted():
        run = trained(data, arch, folder / "runs")
        home = export_runs(ExportConfig(out=folder / "export", samples=8), [run])
        photos = scan.scan_files(data / "test").head(PHOTOS)
        photos = photos[photos["problem"].isna()].reset_index(drop=True)
        means = device.prepare(PLAIN), Store.asked_for(PredictConfig(cache="off"))
        blend = Blended.evenly([run])
        want, _ = samples.expected(blend, photos, means)
        module = graph.whole(blend, means[0])
    classifier = Classifier(home)
    x = np.stack([classifier.pixels(path) for path in photos["path"]])
    found, ours = timed(lambda part: classifier.of_pixels(part)[0], x)
    _, torchs = timed(lambda part: module(torch.as_tensor(part))[0].numpy(), x)
    lead = want.max(1) - want[np.arange(len(want)), found.argmax(1)]
    size = sum(path.stat().st_size for path in home.rglob("*")) / 1e6
    return (
        f"| `{arch}` | {size:.0f} | {np.abs(found - want).max():.1g} | {(lead > 1e-4).sum()} |"
        f" {ours:.0f} | {torchs:.0f} | {ours / torchs:.1f} | {alone(classifier, photos):.0f} |"
    )


def trained(data, arch, runs):
    "A probe of a bundled net, or one of random weights."
    bundled = arch in BUNDLED
    more = {} if bundled else {"probe": False, "warm_start": False, "head": "linear"}
    cfg = TrainConfig(data=data, runs=runs, arch=arch, pretrained=bundled, size=224,
                      epochs=int(not bundled), **more)  # fmt: skip
    run = train(cfg, choose(arch, None, bundled))
    return run if bundled else sharpened(run)


def sharpened(run):
    "The run with a temperature that spreads its probabilities: those of random weights are alike."
    held = pd.read_csv(run.path / "valid.csv")[run.facts.classes].to_numpy()
    spread = np.log(held).std(axis=1).mean()
    replace(run.facts, temperature=run.facts.temperature * spread / SPREAD).write(run.path)
    return Run(run.path)


def timed(answer, x):
    "(answers, photos a second): the best of some rounds."
    rates = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            start = time.perf_counter()
            parts = [answer(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
            rates.append(len(x) / (time.perf_counter() - start))
    return np.concatenate(parts), max(rates)


def alone(classifier, photos):
    "Median milliseconds from one file to its answer."
    took = []
    for path in photos["path"][:40]:
        start = time.perf_counter()
        classifier([path])
        took.append(time.perf_counter() - start)
    return 1000 * float(np.median(took))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
