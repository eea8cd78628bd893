"""Predict single photos and print the answers."""

import numpy as np

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.console import muted, say, show
from vlg_fastai.data import scan
from vlg_fastai.data.store import Store
from vlg_fastai.machine import device
from vlg_fastai.predict import known
from vlg_fastai.predict.run import blended, voters

TOP = 3  # classes shown
LONGEST = 24  # letters of a path
ALONE = {"photos", "runs", "run", "data", "device", "precision", "deterministic", "workers",
         "cache", "cache_gb", "clear_cache", "bs", "tta", "blend", "soup", "forecast", "adapt",
         "decisions"}  # fmt: skip
FAMILIAR = ["familiar"]
WHAT = (
    "familiar: share of held-out photos that look less like the known classes; below 0.05 the photo"
    " probably shows none of them"
)


def classify(cfg, chosen):
    "Print what the runs `chosen` say of `cfg.photos`: (labels, (n, classes) probabilities)."
    means = device.prepare(cfg), Store.asked_for(cfg)
    chosen = voters(cfg, chosen)
    blend = blended(cfg, chosen, means)

    def answers(photos):
        told = [known.answers(run, photos, cfg, means) for run in blend.runs]
        return *blend.mixed(told, known.average), None

    return answered(cfg, answers)


def answered(cfg, answers):
    """Print a row for each photo; answers(photos) gives (probabilities, classes, shares or None).

    shares: (n,) of held-out photos that look less like the known classes.
    """
    check(cfg)
    with muted():
        photos = scan.scan_named(cfg.photos)
    good = photos["problem"].isna()
    if not good.any():
        raise UserError(f"{photos['file'].iloc[0]}: {photos['problem'].iloc[0]}; name a photo")
    probs, classes, shares = answers(photos[good].reset_index(drop=True))
    heads = ["photo", "answer", "second", "third"][: 1 + min(TOP, len(classes))]
    files = [shortened(file) for file in photos["file"][good]]
    told = [[file, *row] for file, row in zip(files, rows_of(probs, classes, shares), strict=True)]
    show("answers, with calibrated probabilities", heads + FAMILIAR[: shares is not None], told)
    for file, problem in photos.loc[~good, ["file", "problem"]].itertuples(index=False):
        say(f"{file}: no answer: {problem}")
    if shares is not None:
        say(WHAT)
    return classes, probs


def shortened(file):
    "The end of a long path: a table of 80 columns has more to show."
    return file if len(file) <= LONGEST else f"...{file[3 - LONGEST :]}"


def check(cfg):
    "UserError for an option that single photos have no use for."
    plain = PredictConfig()
    odd = [name for name, value in vars(cfg).items()
           if name not in ALONE and value != getattr(plain, name)]  # fmt: skip
    if odd:
        flag = odd[0].replace("_", "-")
        raise UserError(f"--{flag}: is for a folder of test photos; leave it out, or name no photo")


def rows_of(probs, classes, shares):
    "For each photo its likeliest classes with their probabilities, and how familiar it looks."
    for i, row in enumerate(probs):
        best = [f"{classes[k]} {row[k]:.2f}" for k in np.argsort(-row)[:TOP]]
        yield best if shares is None else [*best, f"{shares[i]:.2f}"]
