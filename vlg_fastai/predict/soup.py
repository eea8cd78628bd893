"""Average the weights of runs of one architecture into a new run.

The runs to include are chosen greedily on photos that none saw (a greedy soup: Wortsman et al.,
2022) and judged on parts of these not used to choose. Where that is worse, the best run predicts.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.model_selection import GroupKFold

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import folder, listing, loaders
from vlg_fastai.machine.versions import made_on
from vlg_fastai.model import bundle, inference, scores
from vlg_fastai.model.intervals import interval
from vlg_fastai.predict import blending
from vlg_fastai.runs.facts import SOUP, Facts, merged_extra
from vlg_fastai.runs.files import write_csv, write_json
from vlg_fastai.runs.landing import together
from vlg_fastai.runs.run import CONFIG, SPLIT, VALID, create
from vlg_fastai.train.mixing import mean

SAME = "arch", "head", "classes", "view"  # facts that all nets of a soup must share


def stirred(cfg, chosen, means):
    "A new Run that holds the soup of the runs `chosen`, or the best of them where that is worse."
    start = time.monotonic()
    check_alike(chosen)
    found = blending.enough(blending.shared(chosen), len(chosen), "--soup")
    kitchen = Kitchen(cfg, found, means)
    judged = {"best run": nested(kitchen, most=1), "soup": nested(kitchen)}
    figures = {name: blending.figures(found, probs) for name, probs in judged.items()}
    taken = greedy(kitchen)
    best = chosen[taken[0]]
    good = len(taken) > 1 and figures["soup"]["nll"] <= figures["best run"]["nll"]
    blending.say_figures(figures, len(found.y), "soup" if good else best.called)
    if not good:
        say(f"--soup: no mean of weights is as good as {best.called}, which predicts alone")
        return best
    run = kept(cfg, kitchen, taken, {"nested": figures["soup"], **made_on(means[0], start)})
    parts = ", ".join(chosen[i].called for i in taken)
    say(f"{run.path}: mean of the weights of {parts}")
    return run


def check_alike(chosen):
    "UserError where the weights of the runs `chosen` cannot be averaged."
    if len(chosen) < 2:
        raise UserError("--soup: needs two or more runs of one architecture: --run 3 4 --soup")
    for run in chosen:
        own = run.facts
        if own.folds or own.members or own.is_probe:
            raise UserError(
                f"--soup: {run.path} is not a single fine-tuned net ({own.model}); if it stored one"
                f" beside the selected model, use --run {run.number}:fine-tuned"
            )
        odd = [name for name in SAME if getattr(own, name) != getattr(chosen[0].facts, name)]
        if odd:
            pair = f"{chosen[0].called} and {run.called}"
            raise UserError(
                f"--soup: {pair} differ in {odd[0]}; --blend averages their predictions"
            )


class Kitchen:
    "The nets of runs, and the predictions of every mean evaluated so far on the shared photos."

    def __init__(self, cfg, found, means):
        self.found, (self.machine, store) = found, means
        loaded = [bundle.load(run, self.machine) for run in found.runs]
        self.models, self.spec = [model for model, _ in loaded], loaded[0][1]
        self.photos = sides(cfg, found)
        pixels = self.spec.view.pixels(self.photos, store)
        self.shown = partial(
            loaders.plain, view=self.spec.view, bs=cfg.bs, machine=self.machine, pixels=pixels
        )
        self.answers = {}

    @property
    def held(self):
        "The table of the photos that no net saw, in the order of the predictions."
        return self.photos.set_index("file", drop=False).loc[self.found.files[0]]

    def model(self, taken):
        "The mean of the nets numbered `taken`, with BatchNorm statistics from training photos."
        if len(taken) == 1:
            return self.models[taken[0]]
        learned = self.photos[self.photos["split"] == "train"]
        batches = self.shown(learned["path"].sample(frac=1, random_state=0))
        return mean([self.models[i] for i in taken], batches, self.machine)

    def logits(self, taken):
        "Logits (n, classes) of that mean on the shared photos."
        key = tuple(sorted(taken))
        if key not in self.answers:
            names = ", ".join(self.found.runs[i].called for i in key)
            dl = self.shown(self.held["path"])
            self.answers[key] = inference.logits(self.model(key), dl, self.machine, what=names)
        return self.answers[key]


def sides(cfg, found):
    "The photos of the first run, with only those that no run saw as held out."
    run = found.runs[0]
    photos = listing.of_run(run, folder.of_run(cfg, run))
    used = photos["split"] != "unused"
    gone = [path for path in photos["path"][used] if not path.is_file()]
    if gone:
        raise UserError(f"--soup: {gone[0]}, a photo of {run.path.name}, is missing; set --data"
                        " to where the photos are now")  # fmt: skip
    held = photos["file"].isin(found.files[0])
    return photos.assign(split=np.select([held, used], ["valid", "train"], "unused"))


def greedy(kitchen, rows=slice(None), most=None):
    """Numbers of the runs to include, the best first, by their loss on the photos `rows` alone: a
    run joins if the mean with it is no worse. most: the most runs to include."""
    y = kitchen.found.y[rows]

    def loss(taken):
        z = kitchen.logits(taken)[rows]
        return inference.nll(z, y, inference.fit_temperature(z, y))

    first, *others = sorted(range(len(kitchen.models)), key=lambda i: loss([i]))
    taken, least = [first], loss([first])
    for i in others[: None if most is None else most - 1]:
        if (new := loss([*taken, i])) <= least:
            taken, least = [*taken, i], new
    return taken


def nested(kitchen, most=None):
    "Probabilities (n, classes) from runs and temperatures chosen on other photos."
    y, groups = kitchen.found.y, kitchen.found.groups
    probs = np.zeros(kitchen.found.probs.shape[1:])
    for others, part in GroupKFold(min(blending.PARTS, len(np.unique(groups)))).split(y, y, groups):
        z = kitchen.logits(greedy(kitchen, others, most))
        warmth = inference.fit_temperature(z[others], y[others])
        probs[part] = inference.probabilities(z[part], warmth)
    return probs


def kept(cfg, kitchen, taken, known):
    "Write the mean of the nets `taken` into a new run folder; return its Run."
    found, first = kitchen.found, kitchen.found.runs[0]
    z, y = kitchen.logits(taken), found.y
    spec = replace(kitchen.spec, temperature=inference.fit_temperature(z, y))
    before, after = (inference.probabilities(z, t) for t in (1.0, spec.temperature))
    run = create(cfg.runs, SOUP)
    write_csv(run.path / SPLIT, kitchen.photos.drop(columns="path"))
    write_json(run.path / CONFIG, {**first.config, "name": SOUP})
    with together(run.path) as place:
        bundle.save(place, kitchen.model(taken))
        write_csv(place / VALID, blending.as_table(found, 0, after))
        told = {
            **known, **spec.facts(), **scores.summary(before, after, y, spec.classes),
            "status": "finished", "model": SOUP, "weights": first.facts.weights,
            "soup": [found.runs[i].called for i in taken],
            "extra": merged_extra([found.runs[i] for i in taken]),
            "accuracy_interval": interval(after.argmax(1) == y, found.groups),
            "photos": kitchen.photos["split"].value_counts().to_dict(),
        }  # fmt: skip
        Facts(**told).write(place)
    return run
