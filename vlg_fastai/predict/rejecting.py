"""Label photos that look like no known class, and draw sheets of look-alikes."""

import itertools
import re

import numpy as np
import pandas as pd

from vlg_fastai.console import say
from vlg_fastai.data.neighbours import unit
from vlg_fastai.data.walking import UNKNOWN
from vlg_fastai.pages import sheet
from vlg_fastai.runs.files import write_csv
from vlg_fastai.unseen import groups

SHEET = re.compile(r"unknown-\d+\.png")
SHOWN = 24  # photos on a sheet
KEPT = 0.05  # share of known photos that the threshold gives up


def reject(cfg, answer, view):
    """(answer with the label of --reject on photos below the threshold, facts).

    Writes unknown/unknown-1.png, ... and unknown/unknown.csv beside the submission, so that a
    person can name them for --unseen; into another folder if a class, say, has that one.
    """
    evidence = view.seen_evidence
    odd = evidence.test[:, 0] < evidence.threshold(KEPT)
    # photos of classes that only extra photos show look like no labelled one
    odd &= ~np.isin(answer.closed_set[answer.good], view.run_features.spec.strange)
    say(
        f"{odd.sum()} of {len(odd)} photos are below the threshold and get {cfg.reject!r}; so are"
        f" {KEPT:.0%} of known photos and {1 - evidence.missed():.0%} of classes held out in turn"
    )
    folder = beside(cfg.out)
    sweep(folder)
    written = draw(view, odd, folder) if odd.any() else []
    for path in written:
        say(f"written: {path}")
    facts = {"label": cfg.reject, "photos": int(odd.sum()), "missed": evidence.missed()}
    return answer.rejected(cfg.reject, odd), facts


def beside(out):
    "The folder `unknown` beside the submission `out`, or `unknown-1`, ... if it is a user's own."
    names = itertools.chain(["unknown"], (f"unknown-{n}" for n in itertools.count(1)))
    folders = map(out.with_name, names)
    return next(one for one in folders if (one / UNKNOWN).is_file() or not taken(one))


def taken(folder):
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def sweep(folder):
    "Remove table and sheets of an earlier --reject from `folder`; whatever else is there stays."
    (folder / UNKNOWN).unlink(missing_ok=True)
    for old in list(folder.glob("*.png")):
        if SHEET.fullmatch(old.name):
            old.unlink()


def draw(view, odd, folder):
    "Draw one sheet per group of look-alikes, those nearest to its mean first; return the paths."
    photos = view.run_features.asked[odd].reset_index(drop=True)
    found, distance = groups.alike(unit(view.seen[odd]))
    table = pd.DataFrame({"file": photos["file"], "group": [f"unknown-{g + 1}" for g in found]})
    write_csv(folder / UNKNOWN, table)
    paths = [folder / UNKNOWN]
    for group in np.unique(found):
        rows = np.flatnonzero(found == group)
        rows = rows[np.argsort(distance[rows], kind="stable")]
        cells = [sheet.Cell([sheet.thumbnail(photos["path"][i])], [photos["file"][i]])
                 for i in rows[:SHOWN]]  # fmt: skip
        paths.append(folder / f"unknown-{group + 1}.png")
        title = f"unknown-{group + 1}: {len(rows)} similar photos"
        sheet.draw(cells, paths[-1], title=title)
    return paths
