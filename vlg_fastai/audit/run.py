"""Audit an image folder: write issues.csv and a page for decisions; needs no run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vlg_fastai.audit import compare, issues, labels, nets, oddities, page, pairs
from vlg_fastai.config import UserError, size_of
from vlg_fastai.console import counted, say, show
from vlg_fastai.data import decisions, scan, twins
from vlg_fastai.data.pixels import Pixels
from vlg_fastai.data.store import Store
from vlg_fastai.data.walking import ISSUES
from vlg_fastai.demo import challenge
from vlg_fastai.machine import device
from vlg_fastai.model import backbone, probe
from vlg_fastai.model.features import FeatureExtractor
from vlg_fastai.runs.files import check_page, check_room, write_csv
from vlg_fastai.unseen import shift
from vlg_fastai.unseen.folds import Labelled

SHIFTED = 20  # test photos listed as the most shifted
CROP = 1.0  # of the short side, as in train.py


@dataclass(frozen=True)
class Look:
    "Readable photos (columns of the scan, name, side), their features, pixels and cache."

    photos: pd.DataFrame
    x: np.ndarray
    pixels: Pixels
    store: Store

    @property
    def labelled(self):
        "(n,) True where the photo has a label."
        return (self.photos["side"] != "test").to_numpy()


def audit(cfg, source):
    """Check every photo of the folder that `cfg` names; write to `cfg.out` and return issues.csv.

    With `compare` return what decisions gain instead.
    """
    check_room(cfg.out, 0, f"--out {cfg.out}")
    check_page(cfg.out, ISSUES, f"--out {cfg.out}")
    machine, layout = device.prepare(cfg), challenge.layout_of(cfg)
    made = decisions.read(decisions.find(cfg.decisions, layout.root))
    table = scanned(cfg, layout, made)
    table, look = looked(cfg, source, machine, table)
    known = labelled(look, cfg.seed)
    if cfg.compare:
        return compare.say_worth(look, known, made)
    found, sure = listed(table, look, known, nets.judging(cfg, layout.root))
    found = undecided(found, made)
    path = cfg.out / ISSUES
    write_csv(path, found[issues.COLUMNS])
    summary(found)
    if cfg.auto:
        automatic(look, found, sure, made)
        made = decisions.read(made.path)
    pictures = page.write(cfg.out, found, look, made)
    say(f"{counted(len(found), 'row')} in {path}; review them on {pictures}")
    return path


def scanned(cfg, layout, made):
    "The table of all files, with decisions applied; `name` is class/file, or test/file."
    shown = made.replayed(scan.scan_classes(layout, cfg=cfg))
    made.say(shown)
    scan.check(shown)
    train = layout.train.relative_to(layout.root).as_posix() + "/"  # valid/ stays in the name
    shown["name"] = shown["file"].str.removeprefix(train)
    if layout.test is None:
        return shown
    asked = scan.scan_files(layout.test)
    name = asked["file"].map(lambda file: f"{layout.test.name}/{file}")
    asked = asked.assign(side="test", label="", folder="", name=name)
    return pd.concat([shown, asked], ignore_index=True)


def looked(cfg, source, machine, table):
    """(table, the `Look` at its readable photos); the table marks photos deleted since the scan.

    UserError without trained weights: their features say nothing about likeness.
    """
    good = table[table["problem"].isna()]
    store, size = Store.asked_for(cfg), size_of(cfg, source.arch)
    view = backbone.view(source.arch, size, CROP)
    if source.kind == "nothing":
        raise UserError("--no-pretrained: an audit needs a trained backbone")
    pixels = view.pixels(good, store)
    extractor = FeatureExtractor.load(source, view, machine, store)
    seen = extractor.look(good, pixels)
    table = scan.without(table, good[~seen])
    good = good[seen].reset_index(drop=True)
    return table, Look(good, extractor.features(good, pixels), pixels, store)


def labelled(look, seed):
    "The `Labelled` photos with near-duplicates grouped by hash and by features."
    rows = look.labelled
    photos, x = look.photos[rows], look.x[rows]
    kin = twins.groups_of(photos, x)
    y = pd.Categorical(photos["label"]).codes.astype(int)
    fold = probe.out_of_fold(x, y, kin, int(y.max()) + 1, look.store, seed)
    return Labelled(x, y, kin, fold, seed)


def listed(table, look, known, folds=None):
    """(all issues in one table, (n,) True where --auto may act on a label).

    folds: run whose nets judge labels, instead of the probe.

    The columns content and folder, which identify decisions, are added to those of issues.csv.
    """
    photos = look.photos[look.labelled].reset_index(drop=True)
    doubts, sure = labels.find(photos, nets.judged(known, photos, folds) if folds else known)
    found = issues.joined(
        [
            doubts,
            *pairs.find(look.photos, look.x),
            oddities.broken(table[table["problem"] != decisions.DROPPED]),
            oddities.odd(look.photos, look.pixels),
            oddities.nuisance(photos, known.groups),
            shifted(look, known),
        ]
    )
    keys = table.drop_duplicates("name").set_index("name")[["content", "folder"]]
    return found.join(keys, on="file"), sure


def shifted(look, known):
    "The test photos that are easiest to tell from training photos."
    test = look.photos[~look.labelled]
    if test.empty:
        return issues.table("shift", [])
    kin = twins.groups_of(test)
    found = shift.measure(known.x, known.groups, look.x[~look.labelled], kin, known.seed)
    told = f"test and training photos can be told apart with AUC {found.auc:.2f}"
    most = found.most(SHIFTED)
    rows = [
        {"file": test["name"].iloc[i], "suggested": told, "score": found.certainty[i]}
        for i in most
    ]  # fmt: skip
    return issues.table("shift", rows)


def undecided(found, made):
    "`found` without photos decided to be kept, and without doubts about labels already decided."
    actions = {key: decision.action for key, decision in made.made.items()}
    done = [actions.get(key, "") for key in zip(found["content"], found["folder"], strict=True)]
    told = found["issue"] == "doubtful_label"
    settled = pd.Series(done, index=found.index)
    return found[~((settled == "keep") | (told & (settled == "relabel")))].reset_index(drop=True)


def summary(found):
    counts = found["issue"].value_counts()
    there = [name for name in issues.ORDER if name in counts]
    rows = [(name, int(counts[name]), issues.WORDS[name]) for name in there]
    show("issues found", ["issue", "rows", "meaning"], rows)


def automatic(look, found, sure, made):
    "Decide what is nearly certain: relabel photos that held-out models doubt by both filters."
    photos = look.photos[look.labelled].reset_index(drop=True)[sure]
    doubts = found[found["issue"] == "doubtful_label"].set_index("file")["suggested"]
    photos = photos[photos["name"].isin(doubts.index)]
    rows = [
        {"content": row.content, "label": row.folder, "action": "relabel",
         "new_label": doubts[row.name_], "file": row.name_}
        for row in photos.rename(columns={"name": "name_"}).itertuples()
    ]  # fmt: skip
    rows = decisions.append_undecided(made.path, rows)
    say(
        f"--auto: changed {counted(len(rows), 'label')} in {made.path}: those that held-out models"
        " doubt by class and by noise rate; everything else is left to you"
    )
