"""Compute the features of pictures that tests are simulated from, plain, styled and degraded."""

import csv
import random
import zlib
from dataclasses import asdict, fields

import numpy as np
import pandas as pd
import styles
from foretelling_cuts import STRENGTHS
from foretelling_lists import CHALLENGES, DEGRADED, TAUGHT

from vlg_fastai.config import BUNDLED_ARCH, TrainConfig, size_of
from vlg_fastai.data import degrade, scan, twins
from vlg_fastai.data.folder import layout
from vlg_fastai.data.store import Store
from vlg_fastai.demo import animals, challenge
from vlg_fastai.machine import device
from vlg_fastai.model import backbone, sources
from vlg_fastai.model.features import FeatureExtractor

DRAWN = 60  # generated pictures per class in each hand


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
