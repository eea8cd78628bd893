"""Runs and photos in, calibrated probabilities of the classes that were trained on out."""

import numpy as np

from vlg_fastai import runs
from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import folder, loaders
from vlg_fastai.model import bundle, inference, scores
from vlg_fastai.model.features import Frozen


def answers(run, photos, cfg, means):
    "(probabilities of `photos`, classes) by `run`; what cannot be read gets the training prior."
    machine, _ = means
    model, card = bundle.load(run, machine)
    dry = ", a dry run: of no use but to try" if run.facts["status"] == "dry run" else ""
    say(f"{run.path}: {card.arch}, validation accuracy {told(run.facts['accuracy'])}{dry}")
    good = photos["problem"].isna().to_numpy()
    probs = np.tile(np.asarray(card.prior), (len(photos), 1))
    if good.any():
        z = logits(run, (model, card), photos[good], cfg, means)
        probs[good] = blended(inference.probabilities(z, card.temperature), cfg.tta)
    if cfg.tta:
        report_tta(run, model, card, cfg, machine)
    return probs, card.classes


def logits(run, loaded, photos, cfg, means):
    """(photos, classes), or (2, photos, classes) with --tta, of the table `photos`.

    A probe's backbone is one that other runs share: its features are kept for all of them.
    """
    (model, card), (machine, store) = loaded, means
    pixels = card.view.pixels(photos, store)
    if run.facts.get("model") != "probe":
        dl = loaders.plain(photos["path"], card.view, cfg.bs, machine, pixels)
        return inference.logits(model, dl, machine, cfg.tta, f"predicting with {run.path.name}")
    frozen = Frozen(model[0].net, card.view, machine, store)
    views = [frozen.features(photos, pixels, flip) for flip in range(1 + cfg.tta)]
    z = np.stack([inference.through(model[1], x, machine) for x in views])
    return z if cfg.tta else z[0]


def told(figure):
    return "unknown" if figure is None else f"{figure:.4f}"


def blended(probs, tta):
    "The mean of a photo's and its mirror image's probabilities where there are both."
    return probs.mean(0) if tta else probs


def report_tta(run, model, card, cfg, machine):
    "Say whether mirroring helped on the validation photos of `run`, if they can tell."
    if run.facts.get("model") == "probe":
        say(f"{run.path.name}: a probe, fitted on all photos: none is left to judge --tta by")
        return
    split = runs.read_csv(run.path / runs.SPLIT)
    valid = split[split["split"] == "valid"]
    paths = [folder.of_run(cfg, run) / file for file in valid["file"]]
    if not paths or not all(path.is_file() for path in paths):
        say(f"{run.path.name}: its validation photos are not there to tell whether --tta helps")
        return
    dl = loaders.plain(paths, card.view, cfg.bs, machine)
    z = inference.logits(model, dl, machine, True, "checking --tta")
    both = inference.probabilities(z, card.temperature)
    y = np.array([card.classes.index(label) for label in valid["label"]])
    plain, mean = both[0], both.mean(0)
    verdict = "helped" if scores.nll_of(mean, y) < scores.nll_of(plain, y) else "did not help"
    say(
        f"{run.path.name}: --tta {verdict} on validation: NLL {scores.nll_of(plain, y):.4f} ->"
        f" {scores.nll_of(mean, y):.4f}, accuracy {(plain.argmax(1) == y).mean():.4f} ->"
        f" {(mean.argmax(1) == y).mean():.4f}"
    )


def average(answered):
    "(mean probabilities, classes) over runs; their classes may be in any order but are the same."
    classes = answered[0][1]
    aligned = []
    for probs, names in answered:
        if set(names) != set(classes):
            odd = sorted(set(names) ^ set(classes))[:3]
            raise UserError(f"--run: runs of different classes cannot be averaged, e.g. {odd}")
        aligned.append(probs[:, [names.index(name) for name in classes]])
    return np.mean(aligned, axis=0), classes
