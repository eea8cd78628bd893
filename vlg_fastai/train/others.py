"""Write candidates that were not chosen to run folders of their own: nothing fitted is lost."""

import shutil

from vlg_fastai.model import bundle
from vlg_fastai.runs.facts import AVERAGE
from vlg_fastai.runs.run import CANDIDATES, CONFIG, SPLIT, Run, safe_name
from vlg_fastai.train import choosing
from vlg_fastai.train.evaluate import finish


def keep(run, prepared, known, found):
    """Write the candidates `found` that were not chosen into the folder of `run`, each as a run:
    `--run 7:fine-tuned`. Only the best average is written; a blend consists of two others.

    known: facts of the run that hold for all of them.
    """
    if prepared.cfg.lean:
        return
    best = choosing.best_average(known["candidates"])
    for one in found:
        worth = not one.name.startswith(AVERAGE) or one.name == best
        if worth and not one.members and bundle.finite(one.model):
            written(run, prepared, {**known, "nested": None}, one)


def written(run, prepared, known, one):
    "Write the candidate `one`: weights, held-out predictions, facts, options and split."
    beside = Run(run.path / CANDIDATES / safe_name(one.name))
    beside.path.mkdir(parents=True, exist_ok=True)  # a resumed run may have held one
    for name in (CONFIG, SPLIT):
        shutil.copy(run.path / name, beside.path / name)
    finish(beside, prepared, one, known)
