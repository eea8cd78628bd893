"""What does fine-tuning gain over the probe that it starts from, on the same photos?

    python benchmarks/finetuning.py SHARED [VARIANT ...]     # SHARED/animals/train/<class>/* ...

Each of `PAIRS` is a folder of training photos, as it is or cut and restyled, and a seed that
samples the 30 % held out. Probe, fine-tuned net and mixtures of both predict the held-out photos
and copies of them degraded in ways that training never saw: the family that chooses (judging), and
a third one that decides nothing (showing). No test photo and no truth is read. Rows are appended to
benchmarks/finetuning.csv as they come; existing rows are not computed again.
"""

import copy
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from backbones import styled

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlg_fastai.config import BUNDLED_ARCH, DEMO, TrainConfig  # noqa: E402
from vlg_fastai.data import degrade, loaders  # noqa: E402
from vlg_fastai.data.degrade import DegradedPixels  # noqa: E402
from vlg_fastai.demo import challenge  # noqa: E402
from vlg_fastai.machine import device  # noqa: E402
from vlg_fastai.model import inference, scores  # noqa: E402
from vlg_fastai.model.sources import choose  # noqa: E402
from vlg_fastai.recipes import RECIPES  # noqa: E402
from vlg_fastai.runs.run import Run  # noqa: E402

ROWS = Path(__file__).with_name("finetuning.csv")
PAIRS = [  # data, style, cut, seed
    ("objects", "as it is", "all", 0), ("paintings", "as it is", "all", 0),
    ("animals", "as it is", "few photos", 2), ("demo", "as it is", "all", 0),
    ("animals", "grey", "every other class", 3), ("objects", "posterised", "all", 2),
    ("paintings", "blurred", "all", 2), ("animals", "as it is", "all", 0),
    ("objects", "as it is", "all", 1), ("paintings", "as it is", "all", 1),
    ("demo", "as it is", "all", 1), ("animals", "as it is", "all", 1),
]  # fmt: skip
STRONG = RECIPES["strong"]
VARIANTS = {
    "strong": STRONG,
    "labels as given": {**STRONG, "targets": "given"},
    "not degraded": {**STRONG, "aug": "basic"},
    "12 epochs": {**STRONG, "epochs": 12},
    "twice the rate": {**STRONG, "lr": 6e-4, "lr_body": 6e-4},
    "third of the rate": {**STRONG, "lr": 1e-4, "lr_body": 1e-4},
    "own statistics": {**STRONG, "freeze_bn": False},
    "cleaned": {**STRONG, "targets": "cleaned"},
    "L2-SP": {**STRONG, "l2_sp": 30.0},
    "layers more alike": {**STRONG, "layer_decay": 0.95, "lr_body": 1.5e-4},
}
FAMILIES = {"clean": None, "judging": degrade.JUDGING, "showing": degrade.SHOWING}
ALPHAS = (0.25, 0.5, 0.75)
ARCH = os.environ.get("ARCH", BUNDLED_ARCH)
KEEP = os.environ.get("ANSWERS") and Path(os.environ["ANSWERS"])  # folder for logits of all models
HELD, FEW = 0.3, 16  # share held out; photos per class in the small cut
SOME = 7  # pairs on which variants are tried
CUTS = {"all": slice(None), "every other class": slice(None), "few photos": slice(FEW)}


def main(shared, names):
    done = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["pair", "variant"])
    known = set(zip(done["pair"], done["variant"], strict=True))
    for name in names or VARIANTS:
        for pair in PAIRS if name == "strong" else PAIRS[:SOME]:
            told = " ".join(map(str, pair))
            if (told, name) not in known:
                for row in measured(Path(shared), pair, VARIANTS[name]):
                    add({"pair": told, "variant": name, **row})
    report(pd.read_csv(ROWS))


def measured(shared, pair, options):
    "Yield the figures of each model from a fit of `pair` with `options`."
    from vlg_fastai.train import candidates, finetune, learner, mixing, prepare

    name, style, cut, seed = pair
    with tempfile.TemporaryDirectory() as place:
        cfg = TrainConfig(
            data=folder_of(shared / name, style, cut, Path(place)), arch=ARCH, seed=seed,
            valid_pct=HELD, size=DEMO["size"] if name == "demo" else None, **options,
        )  # fmt: skip
        source, machine = choose(ARCH, None, True), device.prepare(cfg)
        cfg, scanned = prepare.settle_and_scan(cfg, source)
        prepared = prepare.prepare(cfg, source, scanned, machine)
        start = time.monotonic()
        learn = learner.learner_for(prepared, source)
        candidates.warm_start(prepared, learn)
        first = copy.deepcopy(learn.model)
        finetune.fine_tune(prepared, learn, Run(Path(place)))
        seconds = time.monotonic() - start
        models = {"probe": first, "fine-tuned": learn.model}
        for alpha in ALPHAS:
            models[f"average {alpha}"] = mixing.average(first, learn.model, alpha, [], machine)
        answers = {model: answered(made, prepared) for model, made in models.items()}
        labels, groups = prepared.labels[prepared.held], prepared.groups[prepared.held]
        if KEEP:
            flat = {f"{m}/{f}": z for m, by in answers.items() for f, z in by.items()}
            file = KEEP / f"{'-'.join(map(str, pair))}.npz"
            np.savez(file, labels=labels, groups=groups, **flat)
        yield from figures(answers, labels, len(prepared.table) - len(labels), seconds)


def folder_of(data, style, cut, place):
    "A folder of the training photos of `data` in the given style and cut."
    if data.name == "demo":
        challenge.draw(data := place / "demo", seed=0)
    made = styled(data, style, place / "styled")
    for number, label in enumerate(sorted((made / "train").iterdir())):
        if cut == "every other class" and number % 2:
            continue
        target = place / "data/train" / label.name
        target.mkdir(parents=True)
        for photo in sorted(label.iterdir())[CUTS[cut]]:
            (target / photo.name).symlink_to(photo.resolve())
    return place / "data"


def answered(model, prepared):
    "{family: logits (held-out photos, classes)} of `model`."
    table, cfg, machine = prepared.table[prepared.held], prepared.cfg, prepared.machine
    found = {}
    for name, family in FAMILIES.items():
        pixels = DegradedPixels(prepared.pixels, family) if family else prepared.pixels
        dl = loaders.plain(table["path"], prepared.spec.view, cfg.bs, machine, pixels)
        found[name] = inference.logits(model, dl, machine)
    return found


def figures(answers, y, photos, seconds):
    "Yield NLL and accuracy of each model, and of the mean of both ends' probabilities."
    probs = {
        name: {
            f: inference.probabilities(z, inference.fit_temperature(by["clean"], y))
            for f, z in by.items()
        }
        for name, by in answers.items()
    }
    ends = probs["probe"], probs["fine-tuned"]
    probs["blend 0.5"] = {f: (ends[0][f] + ends[1][f]) / 2 for f in FAMILIES}
    for name, by in probs.items():
        row = {"model": name, "photos": photos, "held_out": len(y), "seconds": round(seconds, 1)}
        for family, p in by.items():
            row[f"nll {family}"] = round(scores.nll_of(p, y), 4)
            row[f"accuracy {family}"] = round(float((p.argmax(1) == y).mean()), 4)
        yield row


def add(row):
    new = not ROWS.exists()
    with ROWS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def report(rows):
    "Print what each model gains over its probe: mean over pairs with standard error."
    kinds = [c for c in rows.columns if c.startswith(("nll", "accuracy"))]
    for variant, some in rows.groupby("variant", sort=False):
        probe = some[some["model"] == "probe"].set_index("pair")[kinds]
        print(f"{variant}: {len(probe)} pairs, the probe {told(probe.mean(), kinds)}")
        for model, own in some[some["model"] != "probe"].groupby("model", sort=False):
            gain = own.set_index("pair")[kinds] - probe
            print(f"  {model:<14}", told(gain.mean(), kinds, gain.std() / len(gain) ** 0.5))
    against(rows, kinds)


def against(rows, kinds):
    "Print what the fine-tuned net of each variant gains over the recipe's, on the same pairs."
    tuned = rows[rows["model"] == "fine-tuned"].set_index(["variant", "pair"])[kinds]
    for variant in tuned.index.unique("variant").drop("strong", errors="ignore"):
        gain = (tuned.loc[variant] - tuned.loc["strong"]).dropna()
        error = gain.std() / len(gain) ** 0.5
        print(f"{variant} over strong, {len(gain)} pairs:", told(gain.mean(), kinds, error))


def told(means, kinds, errors=None):
    if errors is None:
        return "  ".join(f"{kind} {means[kind]:.4f}" for kind in kinds)
    return "  ".join(f"{kind} {means[kind]:+.4f} +- {errors[kind]:.4f}" for kind in kinds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
