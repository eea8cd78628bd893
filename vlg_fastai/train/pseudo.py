"""Learn from the test photos that are surely right (pseudo-labels, Lee, 2013).

Their labels come from probes of the training side alone. The answers of an earlier run would carry
the labels of held-out photos into the fit that these judge: with random labels, a probe that
learned from such answers was right about 0.99 of the held-out photos, instead of 0.17.
"""

import numpy as np
from scipy.special import softmax

from vlg_fastai.config import UserError
from vlg_fastai.console import muted
from vlg_fastai.data import folder, scan
from vlg_fastai.data.extra import NEVER
from vlg_fastai.data.shares import weights
from vlg_fastai.model import probe
from vlg_fastai.model.more import More
from vlg_fastai.train import worth
from vlg_fastai.unseen import figures
from vlg_fastai.unseen.folds import Labelled, UnavailableError, gather
from vlg_fastai.unseen.mixture import mixture
from vlg_fastai.unseen.regression import shipped

PURE = 0.9  # share of the photos taken that have to be right: labels made by people are no better
SMALL = 0.01  # error rate of labelled photos, at least: few are wrong by chance
FEWEST = 20  # labelled photos that tell how many of the surest are right


def asked(cfg):
    "The test photos of the data folder as a scanned table; UserError if there are none."
    with muted():
        there = folder.layout(cfg.data, cfg=cfg).test
        table = there and scan.scan_files(there)
    if there is None or table.empty:
        raise UserError(f"--pseudo {cfg.pseudo}: {cfg.data} has no folder of test photos")
    table = table[table["problem"].isna()].drop_duplicates("content", ignore_index=True)
    return table.assign(made_from="", about="", kin=NEVER, source="pseudo")


def taken(prepared, side):
    """(the test photos to learn from, with their predicted label; facts) for the training `Side`.

    None are taken where they gain nothing. UserError where the test is unlike all simulated ones,
    or where not even the surest photos are right.
    """
    table, most = prepared.extra.asked, prepared.cfg.pseudo
    table = table[prepared.extractor.look(table, prepared.pixels)]
    x = prepared.extractor.features(table, prepared.pixels)
    try:
        evidence, share, worse = _expected(prepared, side, table, x)
    except UnavailableError as reason:
        raise UserError(f"--pseudo {most}: {reason}") from None
    least = threshold(evidence, share, worse)
    if least is None:
        raise UserError(f"--pseudo {most}: even of the test photos that are surest, more than"
                        f" {1 - PURE:.0%} would be wrong")  # fmt: skip
    sure = evidence.test[:, 1]
    rows = sure >= max(least, np.quantile(sure, 1 - most))
    found = gain(side, x, least)
    verdict = ": used" if found["clear"] else ": no clear gain, so they are left out"
    what = f"--pseudo: {rows.sum()} of {len(rows)} test photos, out of fold"
    worth.say_gain(what, found, verdict)
    classes = np.array(prepared.spec.classes, dtype=object)
    labels = classes[side.answers(x[rows], None).argmax(1)]
    told = {"photos": int(rows.sum()), "of": len(rows), "gain": found}
    return table[rows].assign(label=labels, used=found["clear"]), told


def _expected(prepared, side, table, x):
    "(`Evidence`, share of unseen classes, errors on known ones relative to labelled photos)."
    labelled = Labelled(side.x, side.y, side.groups, side.fold, prepared.cfg.seed)
    evidence = gather(labelled, x.astype(np.float32))
    shown = prepared.table[~prepared.held]
    own = [prepared.extractor.own_logits(one, prepared.pixels) for one in (shown, table)]
    mixed = mixture(evidence, evidence.right.mean())
    told, odd = shipped()(figures.of(labelled, evidence, mixed, x, own))
    if odd:
        raise UnavailableError("no simulated test resembles this one, so nothing says who is right")
    worse = (1 - told["known"].value) / max(1 - evidence.right.mean(), SMALL)
    return evidence, told["unseen"].value, max(worse, 1.0)


def threshold(evidence, share, worse=1.0):
    """The least certainty from which on `PURE` of the photos are right; None if there is none.

    share: of the test photos, whose classes are unseen; they are wrong whatever is predicted.
    worse: how many times as often as labelled photos those of the test are wrong, if known.
    """
    sure = np.sort(evidence.known[:, 1])[: 1 - FEWEST]
    return next((float(c) for c in sure if pure(evidence, share, worse, c) >= PURE), None)


def pure(evidence, share, worse, least):
    """The share of photos with a certainty of `least` or more that is right, by labelled photos.

    One more of them counts as wrong: none so far is not never. Those of held-out classes are wrong.
    """
    known = evidence.known[:, 1] >= least
    strange = np.concatenate([fold.scores[fold.new, 1] for fold in evidence.folds]) >= least
    wrong = (1 + (known & ~evidence.right).sum()) / (2 + known.sum())
    mass = (1 - share) * known.mean(), share * strange.mean()
    return float((1 - worse * wrong) * mass[0] / max(sum(mass), 1e-9))


def gain(side, x, least):
    """The `worth.gain` of labelled photos from probes that learn from test photos `x` (m, d) too.

    In each fold a probe of the other folds labels them, so that no photo helps to judge itself.
    """
    logits = side.logits.copy()
    for train, held in probe.folds(side.y, side.groups, 0):
        part = side.among(train)
        z = part.answers(x, None)
        rows = softmax(z / side.temperature, axis=1).max(1) >= least
        y = z[rows].argmax(1)
        more = More(x[rows], y, np.full(len(y), NEVER), weights(y, part.own))
        logits[held] = part.answers(side.x[held], more)
    return worth.gain(side, side.fold, probe.OutOfFold(logits, side.strength))
