"""Predict calibrated probabilities of the trained classes, with one run or several."""

from contextlib import suppress

import numpy as np
import torch

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say
from vlg_fastai.data import folder, listing, loaders
from vlg_fastai.data.images import problem
from vlg_fastai.model import bundle, inference, scores
from vlg_fastai.model.features import FeatureExtractor
from vlg_fastai.unseen.features import started_from
from vlg_fastai.unseen.folds import UnavailableError

NO_NUMBERS = "the model returns no finite numbers for it"


def answers(run, photos, cfg, means):
    """(probabilities of `photos`, classes) by `run`; NaN for a photo that it cannot predict.

    For a run of folds, the mean over its nets, at the temperature of all of them.
    """
    if not run.members:
        return alone(run, photos, cfg, means)
    say_folds(run)
    probs, classes = average([alone(member, photos, cfg, means) for member in run.members])
    return inference.retempered(probs, run.facts.temperature), classes


def say_folds(run):
    "Report which nets predict, and which are missing."
    asked, there = run.config["folds"], len(run.members) - run.refitted
    missing = f", {asked - there} of {asked} are missing" if there < asked else ""
    more = " and a net of all photos" if run.refitted else ""
    say(f"{run.path}: mean of {there} folds{more}{missing}")


def alone(run, photos, cfg, means):
    "The same for a run of one model."
    machine, _ = means
    model, spec = bundle.load(run, machine)
    notes = [
        ", a dry run: only for trying things out" * (run.facts.status == "dry run"),
        ", worse than guessing" * scores.guesses(run.facts),
    ]
    accuracy = told(run.facts.accuracy)
    say(f"{run.path}: {spec.arch}, validation accuracy {accuracy}{''.join(notes)}")
    good = photos["problem"].isna().to_numpy()
    probs = np.full((len(photos), len(spec.classes)), np.nan)
    if good.any():
        z = logits(run, (model, spec), photos[good], cfg, means)
        probs[good] = blended(inference.probabilities(z, spec.temperature), cfg.tta)
    if cfg.tta:
        say_tta(run, model, spec, cfg, means)
    return probs, spec.classes


def logits(run, loaded, photos, cfg, means):
    """Logits (photos, classes), or (2, photos, classes) with --tta, for the table `photos`.

    A probe's backbone is shared with other runs, so its features are cached for all of them.
    """
    (model, spec), (machine, store) = loaded, means
    pixels = spec.view.pixels(photos, store)
    if not run.facts.is_probe:
        dl = loaders.plain(photos["path"], spec.view, cfg.bs, machine, pixels)
        return inference.logits(model, dl, machine, cfg.tta, f"predicting with {run.path.name}")
    extractor = probed(run, loaded, cfg, means)
    seen = extractor.look(photos, pixels, mirrored=cfg.tta)
    z = np.full((1 + cfg.tta, len(photos), len(spec.classes)), np.nan, np.float32)
    for flip in range(1 + cfg.tta):
        x = extractor.features(photos[seen], pixels, flip)
        z[flip, seen] = inference.through(model[1], x, machine)
    return z if cfg.tta else z[0]


def probed(run, loaded, cfg, means):
    """The FeatureExtractor of a probe's backbone: the net it was fitted on, with its classifier
    where a forecast will need both, since one pass over the photos gives both."""
    (model, spec), (machine, store) = loaded, means
    own = model[0].net
    if cfg.forecast:
        with suppress(UnavailableError):
            start = started_from(run, spec, machine, store)
            kept, there = own.state_dict(), start.net.state_dict()
            if all(torch.equal(tensor, there[key]) for key, tensor in kept.items()):
                return start
    return FeatureExtractor(own, spec.view, machine, store)


def told(figure):
    return "unknown" if figure is None else f"{figure:.4f}"


def blended(probs, tta):
    "Mean probabilities of a photo and its mirror image, where there are both."
    return probs.mean(0) if tta else probs


def say_tta(run, model, spec, cfg, means):
    "Report whether mirroring helped on the validation photos of `run`, if they are available."
    if run.facts.is_probe:
        say(f"{run.path.name}: a probe fitted on all photos: none is left to judge --tta")
        return
    machine, store = means
    photos = listing.of_run(run, folder.of_run(cfg, run))
    valid = photos[photos["split"] == "valid"]
    paths = list(valid["path"])
    if not paths or not all(path.is_file() for path in paths):
        say(f"{run.path.name}: its validation photos are missing; --tta cannot be judged")
        return
    dl = loaders.plain(paths, spec.view, cfg.bs, machine, spec.view.pixels(valid, store))
    z = inference.logits(model, dl, machine, True, "checking --tta")
    sure = np.isfinite(z).all((0, 2))
    both = inference.probabilities(z[:, sure], spec.temperature)
    y = np.array([spec.classes.index(label) for label in valid["label"][sure]])
    plain, mean = both[0], both.mean(0)
    verdict = "helped" if scores.nll_of(mean, y) < scores.nll_of(plain, y) else "did not help"
    say(
        f"{run.path.name}: --tta {verdict} on validation: NLL {scores.nll_of(plain, y):.4f} ->"
        f" {scores.nll_of(mean, y):.4f}, accuracy {(plain.argmax(1) == y).mean():.4f} ->"
        f" {(mean.argmax(1) == y).mean():.4f}"
    )


def settled(chosen, photos, probs, classes):
    """(photos, probabilities), with the training prior where none of the runs `chosen` predicts.

    The reason goes into the column problem of the table `photos`, where that was empty.
    """
    lost = np.isnan(probs).any(1)
    priors = [(np.array(run.facts.prior)[None], run.facts.classes) for run in chosen]
    by_name = dict(zip(priors[0][1], average(priors)[0][0], strict=True))
    probs = np.where(lost[:, None], [by_name[name] for name in classes], probs)
    new = lost & photos["problem"].isna().to_numpy()
    if not new.any():
        return photos, probs
    pairs = zip(photos["path"][new], photos["content"][new], strict=True)
    reasons = [problem(*pair) or NO_NUMBERS for pair in pairs]
    more = counted(len(reasons), "more photo")
    say(f"the training prior stands in for {more}, e.g. {reasons[0]}")
    photos = photos.copy()
    photos.loc[new, "problem"] = reasons
    return photos, probs


def average(answered, shares=None):
    """(mean probabilities, classes) over runs with the same classes, in any order.

    A photo that one of them cannot predict (NaN) gets the mean of the others. shares: (runs,)
    weight of each; None: equal weights.
    """
    classes = answered[0][1]
    aligned = []
    for probs, names in answered:
        if set(names) != set(classes):
            odd = sorted(set(names) ^ set(classes))[:3]
            raise UserError(f"--run: cannot average runs with different classes, e.g. {odd}")
        aligned.append(probs[:, [names.index(name) for name in classes]])
    shares = np.full(len(aligned), 1 / len(aligned)) if shares is None else shares
    told = ~np.isnan(aligned) * shares[:, None, None]
    sums = (told * np.nan_to_num(aligned)).sum(0)
    return sums / np.where(told.any(0), told.sum(0), np.nan), classes
