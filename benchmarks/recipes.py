"""Compare sets of options on held-out photos: which fine-tunes best, and how certain is that?

    python benchmarks/recipes.py DATA EPOCHS SEEDS [VARIANT ...]

One run for each variant and seed; each seed has its own random split. Prints mean and standard
deviation of the calibrated validation NLL and the accuracy of the fine-tuned net before any choice
among candidates, and appends every run to benchmarks/recipes.csv. No test truth is read.
"""

import csv
import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlg_fastai.config import BUNDLED_ARCH, TrainConfig
from vlg_fastai.model.sources import choose

LESS = {"label_smoothing": 0.05, "wd": 0.05, "layer_decay": 0.8}
# what --recipe strong was before benchmarks/finetuning.py
EARLIER = {**LESS, "ema": True, "lr_body": 4e-4}
VARIANTS = {
    "original": {},
    "original fp32": {"precision": "fp32"},
    "ema": {"ema": True},
    "layers": {"layer_decay": 0.8},
    "less": LESS,
    "less+ema": {**LESS, "ema": True},
    "earlier strong": EARLIER,
    "earlier strong+aug": {**EARLIER, "aug": "strong"},
    "gentle": {**LESS, "ema": True, "lr": 3e-4, "lr_body": 1e-4},
    "gentle+body": {**LESS, "ema": True, "lr": 5e-4, "lr_body": 2e-4},
    "less+ema+aug": {**LESS, "ema": True, "aug": "strong"},
    "earlier strong+mixup": {**EARLIER, "mixup": 0.2},
}
COLUMNS = ["data", "epochs", "seed", "variant", "nll", "accuracy", "kept", "kept_nll"]


def run(cfg, seed, options):
    "(figures of the fine-tuned net, name and NLL of the selected candidate)."
    from vlg_fastai.train.run import train

    cfg = dataclasses.replace(cfg, seed=seed, **options)
    facts = train(cfg, choose(cfg.arch, None, True)).facts
    rows = {row["model"]: row for row in facts.candidates}
    return rows["fine-tuned"], facts.model, rows[facts.model]["nll"]


def compare(data, epochs, seeds, names):
    "Yield (variant, its NLLs, its accuracies); append every run to recipes.csv."
    with tempfile.TemporaryDirectory() as scratch:
        size = 128 if (data / "demo.json").exists() else 224
        cfg = TrainConfig(
            data=data, arch=BUNDLED_ARCH, size=size, epochs=epochs, runs=Path(scratch)
        )
        for name in names:
            nlls, accuracies = [], []
            for seed in range(seeds):
                tuned, kept, kept_nll = run(cfg, seed, VARIANTS[name])
                nlls.append(tuned["nll"])
                accuracies.append(tuned["accuracy"])
                keep([data.name, epochs, seed, name, nlls[-1], accuracies[-1], kept, kept_nll])
            yield name, nlls, accuracies


def keep(row):
    path = Path(__file__).with_name("recipes.csv")
    new = not path.exists()
    with path.open("a", newline="") as file:
        csv.writer(file).writerows([COLUMNS, row] if new else [row])


def told(values):
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.3f} +- {spread:.3f}"


def main(argv):
    if len(argv) < 3:
        raise SystemExit(f"{__doc__}\nVARIANT: {', '.join(VARIANTS)}")
    data, epochs, seeds = Path(argv[0]), int(argv[1]), int(argv[2])
    done = list(compare(data, epochs, seeds, argv[3:] or VARIANTS))
    print(f"\n{data.name}, {epochs} epochs, {seeds} seeds\n\n| variant | NLL | accuracy |")
    print("| - | - | - |")
    for name, nlls, accuracies in done:
        print(f"| {name} | {told(nlls)} | {told(accuracies)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
