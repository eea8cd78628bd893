"""Judge labels with a run of folds: its nets' predictions on photos that they never saw."""

from dataclasses import replace

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.model.inference import fit_temperature, logs, probabilities
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.find import find
from vlg_fastai.runs.predictions import answers
from vlg_fastai.runs.run import Run


def judging(cfg, root):
    "The run of folds whose nets judge the labels below `root`: the one named, the newest, or None."
    if cfg.run:
        run = find(cfg.runs, (cfg.run,))[0]
        if not run.facts.folds:
            raise UserError(f"--run {cfg.run}: is not a run of folds; train.py --folds 5 makes one")
        return run
    found = [Run(path.parent) for path in sorted(cfg.runs.glob("[0-9]*/fold-0"))]
    mine = [run for run in found if run.done and run.config["data"] == str(root.resolve())]
    return mine[-1] if mine else None


def judged(known, photos, run):
    """The `Labelled` photos with out-of-fold predictions of the nets of `run` where it has some.

    photos: their table, matched to the run by content; its labels are the current ones.
    """
    classes = sorted(photos["label"].unique())
    if set(classes) != set(run.facts.classes):
        odd = sorted(set(classes) ^ set(run.facts.classes))[:3]
        say(f"{run.path}: was trained on other classes, e.g. {odd}: the probe judges the labels")
        return known
    table = read_csv(run.answers, np.float64)
    _, probs = answers(run, table)
    content = run.split.set_index("file")["content"].reindex(table.iloc[:, 0]).to_numpy()
    first = pd.Series(np.arange(len(content)), index=content)
    rows = first[~first.index.duplicated()].reindex(photos["content"]).to_numpy()
    there = ~np.isnan(rows)
    logits = np.log(probabilities(known.fold.logits, fit_temperature(known.fold.logits, known.y)))
    order = [run.facts.classes.index(name) for name in classes]
    logits[there] = logs(probs[rows[there].astype(int)][:, order])
    say(f"{run.path}: its nets judge the labels of {there.sum()} of {len(photos)} photos")
    return replace(known, fold=replace(known.fold, logits=logits))
