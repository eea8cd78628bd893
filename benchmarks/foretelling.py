"""Simulate tests from labelled photos, and fit the forecast's table to them: unseen/foretold.json.

    python benchmarks/foretelling.py features SHARED KINDS WORK [CHALLENGE ...]  of every picture
    python benchmarks/foretelling.py tests WORK [CHALLENGE ...]   simulated tests: figures and truth
    python benchmarks/foretelling.py fit WORK                     left-out figures, and the table

SHARED holds animals/train, objects/train, paintings/train; KINDS holds the output of kinds.py; the
generated challenge is generated. Truth of a real test is never read. The lists below were committed
before the table was fitted; a family is a style or a way of cutting, the same in training and test.
Of two domains, another "hand" draws the same way (emoji of another maker), another "medium" does
not (photos, then clip art).
"""

import csv
import random
import sys
import zlib
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

import styles  # noqa: E402
from foretelling_cuts import STRENGTHS, cut  # noqa: E402
from foretelling_names import named  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from vlg_fastai.config import BUNDLED_ARCH, TrainConfig, size_of  # noqa: E402
from vlg_fastai.data import degrade, scan, twins  # noqa: E402
from vlg_fastai.data.folder import layout  # noqa: E402
from vlg_fastai.data.store import Store  # noqa: E402
from vlg_fastai.demo import animals, challenge  # noqa: E402
from vlg_fastai.machine import device  # noqa: E402
from vlg_fastai.model import backbone, probe, sources  # noqa: E402
from vlg_fastai.model.features import FeatureExtractor  # noqa: E402
from vlg_fastai.unseen import figures, folds, mixture  # noqa: E402
from vlg_fastai.unseen.adapt import Model  # noqa: E402

ROUNDS = 3  # simulated tests of each family and challenge, each with its own seed
TAUGHT = ("grey", "lines", "painted", "cartoon", "night", "edges")  # styles of training photos
DEGRADED = {"degraded": degrade.TRAINING, "degraded otherwise": degrade.JUDGING}
DRAWN = 60  # generated pictures per class in each hand
# challenge: (most pictures, domains of which the first is styled, trained on > tested on: another
# hand's, another medium's)
CHALLENGES = {
    "paintings": (700, ["train"], [], []),
    "objects": (700, ["train"], [], []),
    "animals": (700, ["train"], [], []),
    "animals, all": (1600, ["train"], [], []),
    "drawn": (700, ["drawn", "ink"], ["drawn>ink", "ink>drawn"], []),
    "drawn, all": (1600, ["drawn", "ink"], ["drawn>ink", "ink>drawn"], []),
    "emoji": (700, ["apple", "google", "twitter", "facebook", "outlines", "photos"], [
        "apple>google", "apple>twitter", "apple>facebook", "twitter>google", "google>facebook",
        "facebook>apple"], [
        "photos>apple", "photos>twitter", "photos>outlines", "apple>photos", "apple>outlines",
        "outlines>google", "outlines>photos"]),
    "clips": (700, ["clipart", "stamps", "photos"], ["clipart>stamps", "stamps>clipart"], [
        "photos>clipart", "photos>stamps", "clipart>photos", "stamps>photos"]),
    "glyphs": (700, ["upright", "slanted", "heavy", "script"], [
        "upright>slanted", "upright>heavy", "upright>script", "slanted>heavy", "heavy>script",
        "heavy>upright"], []),
}  # fmt: skip
WRONG = {"animals": 0.05, "animals, all": 0.05}  # known share of wrong labels of these photos


def families(name):
    "The families of tests simulated from photos of the challenge `name`, in order."
    cut = ["plain", "plain", "plain", "clusters", "clusters"]
    degraded = [f"degraded:{kind}" for kind in DEGRADED]
    styled = [f"style:{style}" for style in styles.STYLES]
    taught = [f"taught:{style}" for style in TAUGHT]
    hands, media = CHALLENGES[name][2:]
    pairs = [f"hand:{pair}" for pair in hands] + [f"medium:{pair}" for pair in media]
    return [*cut, *degraded, *styled, *taught, *pairs]


class Styled:
    "`pixels` with every photo in one style at one strength."

    def __init__(self, pixels, style, strength):
        self.pixels, self.keys = pixels, pixels.keys
        self.style, self.strength = styles.STYLES[style], strength

    def __call__(self, path):
        return self.style(self.pixels(path), self.strength)


def write_features(shared, kinds, work, names):
    "Write a file per challenge: features, labels, groups and halves of plain and styled pictures."
    if any(name.startswith("drawn") for name in names or CHALLENGES):
        draw(work / "drawn")
    machine, cfg = device.prepare(TrainConfig()), TrainConfig()
    drawn = work / "drawn"
    roots = {"drawn": drawn, "drawn, all": drawn, "animals, all": shared / "animals"}
    for name in names or CHALLENGES:
        most, domains, *_ = CHALLENGES[name]
        root = roots.get(name, (shared if (shared / name).exists() else kinds) / name)
        size = 128 if name.startswith("drawn") else size_of(cfg, BUNDLED_ARCH)
        view = backbone.view(BUNDLED_ARCH, size, cfg.crop_pct)
        extractor = FeatureExtractor.load(
            sources.choose(BUNDLED_ARCH, None, True), view, machine, Store()
        )
        made = {}
        for domain in domains:
            table = listed(root / domain, domain, most)
            made |= of_domain(extractor, table, domain, first=domain == domains[0])
        np.savez(work / f"{name}.npz", **made)
    classifier = extractor.net.get_classifier()
    weight, bias = classifier.weight.detach().numpy(), classifier.bias.detach().numpy()
    np.savez(work / "classifier.npz", weight=weight, bias=bias)


def draw(folder):
    "Generate pictures of every animal by both hands, and the table of their attributes."
    for domain, hand in (("drawn", animals.picture), ("ink", animals.drawing)):
        for kind, species in challenge.SEEN.items():
            (folder / domain / kind).mkdir(parents=True, exist_ok=True)
            for i in range(DRAWN):
                image = hand(species, random.Random(f"{domain}{kind}{i}"))
                image.save(folder / domain / kind / f"{domain}{i}.png")
    with (folder / "attributes.csv").open("w", newline="", encoding="utf-8") as file:
        columns = [field.name for field in fields(animals.Species)]
        rows = [[name, *asdict(one).values()] for name, one in challenge.SEEN.items()]
        csv.writer(file).writerows([["class", *columns], *rows])


def listed(folder, domain, most):
    """The table of pictures; `half`: 0 is trained on, 1 is tested on.

    Pictures of one name by two hands or fonts form one group, with all their near-duplicates.
    """
    table = scan.scan_classes(layout(folder))
    table = table[table["problem"].isna()].reset_index(drop=True)
    alike = [f"{domain}{group}" for group in twins.groups_of(table)]
    named = domain in {hand for name in ("emoji", "glyphs") for hand in CHALLENGES[name][1]}
    name = [path.stem for path in table["path"]] if named else alike
    table = table.assign(name=name, group=first_of(name, alike))
    some = np.sort(np.random.default_rng(0).permutation(len(table))[:most])
    table = table.iloc[some].reset_index(drop=True)
    return table.assign(half=[zlib.crc32(name.encode()) % 2 for name in table["name"]])


def first_of(names, groups):
    "Each name replaced by the first name of its group."
    pairs = pd.DataFrame({"name": names, "group": groups})
    first = pairs.groupby("group")["name"].min()
    joined = pairs.assign(first=pairs["group"].map(first)).groupby("name")["first"].min()
    return pairs["name"].map(joined).map(joined).to_numpy()


def of_domain(extractor, table, domain, first):
    pixels = extractor.view.pixels(table)
    columns = {"y": "label", "g": "group"}
    made = {f"{domain}|{key}": table[name].to_numpy(str) for key, name in columns.items()}
    made[f"{domain}|h"] = table["half"].to_numpy()
    made[f"{domain}|x"] = extractor.features(table, pixels)
    if not first:
        return made
    sides = {half: table[table["half"] == half].reset_index(drop=True) for half in (0, 1)}
    for style in styles.STYLES:
        for strength in STRENGTHS:
            styled = Styled(pixels, style, strength)
            made[f"style:{style}|{strength}"] = extractor.of_copies(sides[1], styled)
    for kind, family in DEGRADED.items():
        copies = degrade.DegradedPixels(pixels, family)
        made[f"degraded:{kind}|"] = extractor.of_copies(sides[1], copies)
    for style in TAUGHT:
        made[f"taught:{style}|"] = extractor.of_copies(sides[0], Styled(pixels, style, 1.0))
    return made


@cache
def kept(work, name):
    with np.load(work / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


@cache
def classifier(work):
    with np.load(work / "classifier.npz") as file:
        return file["weight"], file["bias"]


def write_tests(work, names):
    for name in names or CHALLENGES:
        rows = [
            {"challenge": name.split(",")[0], "family": family, **row}
            for turn in range(ROUNDS)
            for family in families(name)
            for row in made_up(work, name, family, turn)
        ]
        pd.DataFrame(rows).to_csv(work / f"tests-{name}.csv", index=False)


def made_up(work, name, family, turn):
    "Yield the figures and truth of one simulated test, unless it has too few photos."
    rng = np.random.default_rng([zlib.crc32(f"{name}{family}".encode()), turn])
    shown, asked = cut(kept(work, name), CHALLENGES[name][1][0], family, rng)
    table = work / "drawn/attributes.csv" if name.startswith("drawn") else None
    if len(shown[0]) >= 45 and len(asked[0]) >= 60:
        try:
            made = Simulated.of(shown, asked, classifier(work))
            yield made.judged(WRONG.get(name, 0.0), (table, Store(work / "cache")))
        except folds.UnavailableError:
            return


@dataclass(frozen=True)
class Simulated:
    """Labelled photos, features (m, d) of a test, the backbone's own logits of both, the labels of
    the test (m,) and the names of the known classes."""

    labelled: folds.Labelled
    test: np.ndarray
    own: tuple
    labels: np.ndarray
    kinds: np.ndarray

    @classmethod
    def of(cls, shown, asked, classifier):
        (x, labels, groups), (weight, bias) = shown, classifier
        kinds, y = np.unique(labels, return_inverse=True)
        groups = np.unique(groups, return_inverse=True)[1]
        fold = probe.out_of_fold(x, y, groups, len(kinds), Store(), 0)
        own = [(side.astype(np.float32) @ weight.T + bias) for side in (x, asked[0])]
        return cls(folds.Labelled(x, y, groups, fold), asked[0], own, asked[1], kinds)

    def judged(self, wrong, means):
        """Figures and true scores, corrected for the share of `wrong` labels; with names as well
        where classes are unseen, by the expert that `means` allow."""
        labelled, test = self.labelled, self.test
        evidence = folds.gather(labelled, test)
        mixed = mixture.mixture(evidence, evidence.right.mean())
        found = figures.of(labelled, evidence, mixed, test, self.own)
        model = Model.whole(labelled)
        x = test.astype(np.float32)
        answers = model.plain(x), model.adapted(model.moved(x))
        right = [self.kinds[model.kinds[one.argmax(1)]] == self.labels for one in answers]
        known, kept = np.isin(self.labels, self.kinds), 1 - wrong
        found |= {
            "photos asked": len(self.labels),
            "true plain": min(1, right[0].mean() / kept),
            "true adapted": min(1, right[1].mean() / kept),
            "true known": min(1, right[0][known].mean() / kept),
            "true known adapted": min(1, right[1][known].mean() / kept),
            "true unseen": 1 - known.mean(),
        }
        if known.all() or max(map(len, self.kinds)) == 1:  # letters: no expert has words for them
            return found
        photos = x, np.exp(answers[0]), self.own
        truth = self.kinds, self.labels
        said, right = named(labelled, evidence, photos, truth, mixed.share, means)
        return found | said | {"true named": min(1, right / kept)}


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    places = [Path(part) for part in rest]
    if command == "features":
        write_features(*places[:3], rest[3:])
    elif command == "tests":
        with threadpool_limits(1):
            write_tests(places[0], rest[1:])
    else:
        from foretelling_fit import fit

        fit(places[0])
