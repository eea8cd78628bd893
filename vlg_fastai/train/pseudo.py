"""Take the surest test photos of an earlier run as extra photos (pseudo-labels, Lee, 2013).

How sure is sure enough is measured: on labelled photos by probes that did not see them, and on
photos of classes that were held out, which count as wrong in the share that the forecast expects.
"""

import numpy as np

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import folder, scan
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.find import newest_with_answers
from vlg_fastai.runs.run import TEST
from vlg_fastai.unseen.features import RunFeatures
from vlg_fastai.unseen.folds import UnavailableError
from vlg_fastai.unseen.outlook import Outlook, judge

PURE = 0.95  # share of the photos taken that have to be right


def found(cfg, machine, store):
    """(table of the test photos to learn from, with their predicted label; facts).

    UserError where there is no such run, no forecast, or none that holds.
    """
    run = newest_with_answers(cfg.runs, cfg.data)
    asked = f"--pseudo {cfg.pseudo}: not with {run.path.name}"
    photos = scan.scan_files(folder.test_of(_beside(cfg), run))
    answered = read_csv(run.path / TEST).drop_duplicates("content").set_index("content")
    photos = photos[photos["problem"].isna() & photos["content"].isin(answered.index)]
    view = _view(cfg, run, photos.drop_duplicates("content"), (machine, store))
    least, precision = surest(view, cfg.pseudo, asked)
    sure = view.run_features.evidence.test[:, 1]
    table = view.run_features.asked[sure >= least]
    labels = answered.loc[table["content"], "closed_set"].astype(str).to_numpy()
    say(f"--pseudo: {len(table)} of {len(sure)} test photos, as {run.path.name} predicted them;"
        f" {precision:.0%} of them should be right")  # fmt: skip
    table = table.assign(label=labels, made_from="", about="", source="pseudo")
    return table, {"run": run.path.name, "photos": len(table), "precision": precision}


def surest(view, most, asked):
    """(least certainty of the test photos to take, share of them that should be right) by the
    `Outlook`.

    most: share of the photos to take at most; asked: start of the UserError where there are none.
    """
    expected, evidence = view.forecast, view.run_features.evidence
    if expected is None or expected.odd:
        why = "too few test photos" if expected is None else "no simulated test resembles this one"
        raise UserError(f"{asked}: {why}")
    least = threshold(evidence, expected.share)
    if least is None:
        raise UserError(f"{asked}: even of the test photos it is surest of, more than"
                        f" {1 - PURE:.0%} would be wrong")  # fmt: skip
    least = max(least, float(np.quantile(evidence.test[:, 1], 1 - most)))
    return least, pure(evidence, expected.share, least)


def _beside(cfg):
    "The options that say where the test photos are."
    return type("Places", (), {"data": cfg.data, "test": None})


def _view(cfg, run, photos, means):
    try:
        features = RunFeatures.of_run(run, cfg, photos, *means)
        return Outlook(features, [judge(run, features)], "off")
    except UnavailableError as reason:
        raise UserError(f"--pseudo {cfg.pseudo}: not with {run.path.name}: {reason}") from None


def threshold(evidence, share):
    """The least certainty from which on `PURE` of the photos are right; None if there is none.

    share: of the test photos, whose classes are unseen; they are wrong whatever is predicted.
    """
    sure = np.sort(evidence.known[evidence.right, 1])
    return next((float(c) for c in sure if pure(evidence, share, c) >= PURE), None)


def pure(evidence, share, least):
    "The share of photos with a certainty of `least` or more that is right, by `Evidence`."
    known = evidence.known[:, 1] >= least
    strange = np.concatenate([fold.scores[fold.new, 1] for fold in evidence.folds]) >= least
    taken = (1 - share) * known.mean() + share * strange.mean()
    return float((1 - share) * (known & evidence.right).mean() / max(taken, 1e-9))
