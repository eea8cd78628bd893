"""Are unseen classes detected, named and forecast? On challenges whose truth is available.

    python benchmarks/unseen.py CHALLENGE [SIZE]      train/, test/, unseen.txt, truth/test.csv
    python benchmarks/unseen.py recut DATA SEED       one cut from DATA/train: 8 of its classes
                                                      unseen, a quarter of the photos tests
    python benchmarks/unseen.py drawn SEED            a generated challenge with 600 test photos

The bundled net, --epochs 0. Truth is read only to score, never to choose anything. Names are
described by attributes.csv if the challenge has one, else by sentences.
"""

import csv
import dataclasses
import json
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from sklearn.metrics import roc_auc_score  # noqa: E402

from vlg_fastai.config import BUNDLED_ARCH, PredictConfig, TrainConfig  # noqa: E402
from vlg_fastai.data import scan  # noqa: E402
from vlg_fastai.data.store import Store  # noqa: E402
from vlg_fastai.demo import challenge  # noqa: E402
from vlg_fastai.demo.score import score  # noqa: E402
from vlg_fastai.machine import device  # noqa: E402
from vlg_fastai.model.sources import choose  # noqa: E402
from vlg_fastai.predict import known  # noqa: E402
from vlg_fastai.predict.answer import beside  # noqa: E402
from vlg_fastai.predict.blending import Blended  # noqa: E402
from vlg_fastai.predict.run import predict  # noqa: E402
from vlg_fastai.train.run import train  # noqa: E402
from vlg_fastai.unseen import figures, mixture, outlook, regression  # noqa: E402
from vlg_fastai.unseen.forecast import forecast  # noqa: E402

SHARES, RESAMPLES = (0.0, 0.1, 0.2, 0.3), 10
# names that match no photo of these challenges, to make the list twice as long
NOWHERE = [
    "zebra", "walrus", "koala", "penguin", "toucan", "camel", "bat", "seal", "hamster", "jellyfish",
    "peacock", "sloth", "hyena", "chameleon", "woodpecker", "hippopotamus",
]  # fmt: skip


def recut(data, seed, scratch):
    "A challenge with known and unseen classes, cut from the labelled photos of DATA/train."
    rng, rows = random.Random(seed), []
    kinds = sorted(path for path in (data / "train").iterdir() if path.is_dir())
    unseen = set(rng.sample(kinds, 8))
    (scratch / "test").mkdir()
    for kind in kinds:
        photos = sorted(kind.iterdir())
        rng.shuffle(photos)
        tests = len(photos) // (2 if kind in unseen else 4)
        for photo in photos[:tests]:
            name = f"{len(rows):05d}{photo.suffix}"
            (scratch / "test" / name).symlink_to(photo.resolve())
            rows.append([name, kind.name, int(kind in unseen), 0])
        if kind not in unseen:
            (scratch / "train" / kind.name).mkdir(parents=True)
            for photo in photos[tests:]:
                (scratch / "train" / kind.name / photo.name).symlink_to(photo.resolve())
    (scratch / "unseen.txt").write_text("\n".join(sorted(kind.name for kind in unseen)))
    (scratch / "truth").mkdir()
    with (scratch / "truth/test.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["Id", "Category", "unseen", "degraded"], *rows])
    return scratch


def drawn(seed, scratch):
    challenge.TESTS = 600
    challenge.draw(scratch / "drawn", seed)
    return scratch / "drawn"


def facts_of(challenge, files):
    with (challenge / "truth/test.csv").open(encoding="utf-8") as file:
        truth = {row["Id"]: row for row in csv.DictReader(file)}
    rows = [truth[name] for name in files]
    return np.array([r["Category"] for r in rows]), *(
        np.array([r[key] == "1" for r in rows]) for key in ("unseen", "degraded")
    )


def told(challenge, size, scratch, left_out):
    "Measure a challenge; returns lines of Markdown."
    made = train(TrainConfig(data=challenge, arch=BUNDLED_ARCH, size=size, epochs=0,
                             runs=scratch / "runs"), choose(BUNDLED_ARCH, None, True))  # fmt: skip
    cfg = PredictConfig(runs=scratch / "runs", out=scratch / "s.csv")
    means = device.prepare(cfg), Store.asked_for(cfg)
    photos = scan.scan_files(challenge / "test")
    view = outlook.of(cfg, Blended.evenly([made]), photos, means, required="the benchmark")
    probs, classes = known.answers(made, view.run_features.asked, cfg, means)
    label, unseen, degraded = facts_of(challenge, view.run_features.asked["file"])
    right = np.array(classes)[probs.argmax(1)] == label
    lines = ["| | |", "| - | - |", ordered(view, unseen)]
    for words, wanted in (("undegraded", ~degraded), ("all photos", degraded | True)):
        if wanted.all() and not degraded.any() and words == "all photos":
            continue
        for share in SHARES:
            lines.append(sweep(view, words, share, wanted & unseen, wanted & ~unseen, right))
    adapted = np.array(classes)[adapted_to(view.run_features)] == label
    every = slice(None)
    for words, table in (("shipped", {}), ("without this challenge", without(left_out))):
        lines.append(whole(words, foretold(view, every, table), unseen, right, adapted))
    given = dataclasses.replace(view, given=float(unseen.mean())).forecast
    lines.append(whole("with the share given", given, unseen, right, adapted))
    return lines + [named(challenge, scratch, made, *case) for case in cases(challenge, scratch)]


def ordered(view, unseen):
    "How well each score separates photos of unseen classes, and the forecast by class folds."
    evidence = view.run_features.evidence
    scores = {
        "likeness": evidence.test[:, 0], "certainty": evidence.test[:, 1],
        "p_unseen": 1 - view.unlike,
    }  # fmt: skip
    found = ", ".join(
        f"{name} {roc_auc_score(~unseen, values):.3f}" for name, values in scores.items()
    )
    promised = np.mean(evidence.auroc("likeness"))
    return f"| AUROC of unseen | {found} (forecast by class folds {promised:.3f}) |"


def adapted_to(features):
    "(m,) number of the class that each test photo is predicted as after adaptation."
    return features.model.kinds[features.model.adapted(features.moved).argmax(1)]


def whole(words, expected, unseen, right, adapted):
    "The scores `expected` of all test photos, with the true ones of plain and adapted predictions."
    return (
        f"| the whole test, {words} | share {ranged(expected.share, expected.share_interval)},"
        f" true {unseen.mean():.3f}; accuracy"
        f" {ranged(expected.plain.value, expected.plain.interval)}, true {right.mean():.3f};"
        f" adapted {ranged(expected.adapted.value, expected.adapted.interval)}, true"
        f" {adapted.mean():.3f} (known {right[~unseen].mean():.3f} ->"
        f" {adapted[~unseen].mean():.3f}, {expected.gain:+.3f} forecast) |"
    )


def ranged(value, interval):
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def without(left_out):
    "The shipped table without the tests simulated from this challenge's photos."
    table = json.loads(regression.TABLE.read_text(encoding="utf-8"))
    kept = [name != left_out for name in table["challenges"]]
    return regression.only(table, kept)


def foretold(view, at, table=None):
    "The `Forecast` for the test photos `at`, by the shipped table or another one."
    features = view.run_features
    part = dataclasses.replace(features.evidence, tests=features.evidence.tests[:, at])
    mixed, own = mixture.mixture(part, part.right.mean()), features.own_logits
    found = figures.of(features.labelled, part, mixed, features.test[at], (own[0], own[1][at]))
    made = regression.Regression(table) if table else regression.shipped()
    return forecast(made(found), mixed, part, view.accuracy, view.photos, "off")


def sweep(view, words, share, unseen, seen, right):
    "Means over resamples of test photos with a planted `share` of unseen classes."
    rng, rows = np.random.default_rng(0), []
    old, new = np.flatnonzero(seen), np.flatnonzero(unseen)
    size = 0.8 * min(len(old) / (1 - share), len(new) / share if share else np.inf)
    for _ in range(RESAMPLES):
        at = np.concatenate([rng.choice(old, int(size * (1 - share)), replace=False),
                             rng.choice(new, int(size * share), replace=False)])  # fmt: skip
        found = foretold(view, at)
        low, high = found.accuracy_interval
        truth = right[at].mean()
        rows.append((found.share, found.accuracy, truth, low <= truth <= high))
    mean = np.mean(rows, axis=0)
    return (
        f"| {words}, share {share} | share {mean[0]:.3f}; accuracy {mean[1]:.3f}, true"
        f" {mean[2]:.3f}, inside the interval {mean[3]:.0%} |"
    )


def cases(challenge, scratch):
    "(words, names file, transductive)."
    names = challenge / "unseen.txt"
    yield "closed set", None, False
    yield "names", names, False
    yield "names, self-training", names, True
    if not (challenge / "attributes.csv").exists():
        listed = names.read_text(encoding="utf-8").split()
        taken = {path.name for path in (challenge / "train").iterdir()} | set(listed)
        more = [name for name in NOWHERE if name not in taken][: len(listed)]
        long = scratch / "long.txt"
        long.write_text("\n".join([*listed, *more]), encoding="utf-8")
        yield "names, list twice as long", long, False


def named(challenge, scratch, run, words, names, transductive):
    table = challenge / "attributes.csv"
    given = {"attributes": table} if names and table.exists() else {}
    out = scratch / "named.csv"
    cfg = PredictConfig(runs=scratch / "runs", out=out, unseen=names, transductive=transductive,
                        forecast=bool(names), **given)  # fmt: skip
    predict(cfg, [run], challenge / "test")
    facts = json.loads(beside(out)[1].read_text(encoding="utf-8")) if names else {}
    found = score(out, challenge / "truth/test.csv")
    seen, unseen = found["seen"], found["unseen"]
    mean = 2 * seen * unseen / (seen + unseen) if unseen else 0.0
    said = facts.get("names", {}).get("expected")
    told = f"; forecast {ranged(said['accuracy'], said['interval'])}" if said else ""
    return (
        f"| {words} | all {found['all']:.3f}, seen {seen:.3f}, unseen {unseen:.3f}, H"
        f" {mean:.3f}{told} |"
    )


def main(argv):
    if not argv:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as name:
        scratch, size = Path(name), 224
        left_out = Path(argv[1] if argv[0] == "recut" else argv[0]).name
        if argv[0] == "recut":
            challenge = recut(Path(argv[1]), int(argv[2]), scratch)
        elif argv[0] == "drawn":
            challenge, size = drawn(int(argv[1]), scratch), 128
        else:
            challenge, size = Path(argv[0]), int(argv[1]) if argv[1:] else 224
        lines = told(challenge, size, scratch, left_out)
    print("\n".join(["", " ".join(map(str, argv)), "", *lines]))


if __name__ == "__main__":
    main(sys.argv[1:])
