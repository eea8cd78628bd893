"""Build a run's candidate models, with their predictions on held-out photos and degraded copies.

A probe, a warm start, the fine-tuned net, weight averages between the last two, and blends of the
probabilities of probe and net.
"""

from copy import deepcopy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from vlg_fastai.console import say
from vlg_fastai.data import loaders
from vlg_fastai.machine.precision import release
from vlg_fastai.model import bundle, inference, probe
from vlg_fastai.model.blend import Blend
from vlg_fastai.runs.facts import AVERAGE, BLEND, FINE_TUNED, PROBE, WARM
from vlg_fastai.runs.run import OOF
from vlg_fastai.train import warm
from vlg_fastai.train.evaluate import write_predictions
from vlg_fastai.train.mixing import average

ALPHAS = (0.25, 0.5, 0.75)  # shares of the way from the warm start to the fine-tuned net
SHARES = (0.25, 0.5, 0.75)  # of the net in a blend with the probe
CHEAP, NET, NETS = range(3)  # what a prediction costs: cached features, a net of its own, two


@dataclass(frozen=True)
class Candidate:
    """A model, the head it is rebuilt with, its logits (n, classes) for the held-out photos, and
    for degraded copies of them if requested."""

    name: str
    head: str
    model: torch.nn.Module
    logits: np.ndarray
    degraded: np.ndarray | None = None
    temperature: float | None = None  # set if fitted on more than the held-out photos
    cost: int = NET
    members: list = field(default_factory=list)  # of a blend: {head, share, temperature} of each

    @property
    def answers(self):
        "The logits it is judged by: (n, classes) for the photos, and for their copies."
        return [z for z in (self.logits, self.degraded) if z is not None]

    def among(self, rows):
        "The same, with its predictions on the held-out photos `rows` only."
        worse = None if self.degraded is None else self.degraded[rows]
        return replace(self, logits=self.logits[rows], degraded=worse)


def fit_probe(prepared, run):
    """Return (the probe as a Candidate, its out-of-fold figures), or (None, None) if not wanted.

    It is judged by logits of probes that saw neither the photo nor its near-duplicates; they go to
    oof.csv. The probe that is kept was fitted on all photos, including held-out ones.
    """
    cfg, extractor = prepared.cfg, prepared.extractor
    if extractor is None or not (cfg.probe or not cfg.epochs):
        return None, None
    y, groups, classes = prepared.labels, prepared.groups, len(prepared.spec.classes)
    x = extractor.features(prepared.table, prepared.pixels)
    more = prepared.more
    given = x, y, groups, classes, prepared.store, cfg.seed
    fold = probe.out_of_fold_beside(more, *given)
    head = probe.fit(x, y, fold.strength, classes, more).to(prepared.machine.device)
    temperature = inference.fit_temperature(fold.logits, y)
    write_predictions(run.path / OOF, prepared, fold.logits, temperature)
    figures = fold.figures(y, groups)
    say(probe.in_words(figures))
    model = nn.Sequential(extractor.backbone, head)
    worse = None
    if prepared.copies:
        asked, rows = prepared.copy_features, np.flatnonzero(prepared.held)
        shown = x, y, groups, classes, more
        worse = probe.elsewhere(asked, rows, fold.strength, shown, cfg.seed)
    logits = fold.logits[prepared.held]
    return Candidate(PROBE, "linear", model, logits, worse, temperature, CHEAP), figures


def probe_apart(prepared):
    """Return a probe of the training side alone as a Candidate, or None if not wanted.

    Its predictions on the held-out photos are those of the model itself, which never saw them.
    """
    cfg, extractor = prepared.cfg, prepared.extractor
    if extractor is None or not (cfg.probe or not cfg.epochs):
        return None
    x, y, fold = prepared.training_side
    classes, more = len(prepared.spec.classes), prepared.more
    head = probe.fit(x, y, fold.strength, classes, more).to(prepared.machine.device)
    model = nn.Sequential(extractor.backbone, head)
    temperature = inference.fit_temperature(fold.logits, y)
    return Candidate(PROBE, "linear", model, *_through(head, prepared), temperature, CHEAP)


def _through(head, prepared):
    "[logits of `head` for the held-out photos, for their copies or None], from cached features."
    held = prepared.extractor.features(prepared.table[prepared.held], prepared.pixels)
    shown = [held, prepared.copy_features if prepared.copies else None]
    return [None if x is None else inference.through(head, x, prepared.machine) for x in shown]


def warm_start(prepared, learn):
    """Fit the head of `learn` in place on training-side features; return a copy as a Candidate.

    None without pretrained features, without epochs, or if the options say so.
    """
    cfg, extractor = prepared.cfg, prepared.extractor
    if learn is None or extractor is None or not cfg.warm_start:
        return None
    head = learn.model[1]
    warm.STARTS[cfg.head](head, prepared)
    return Candidate(WARM, cfg.head, deepcopy(learn.model), *_through(head, prepared))


def nets_of(prepared, *found):
    "The nets that exist before a fit: the frozen one, and those of the candidates `found`."
    frozen = [prepared.extractor.net] if prepared.extractor else []
    return [*frozen, *(one.model for one in found if one)]


def of_fit(prepared, learn, fit, start, warmed):
    """The Candidates that result from `fit`, with the fine-tuned net as the last of the nets.

    start: the probe, warmed: the warm start; either may be None.
    """
    begun = fit.epochs or fit.status == "interrupted" or not (start or warmed)
    if learn is None or not begun:
        return []
    if not bundle.finite(learn.model):
        say("discarding the fine-tuned net: it has non-finite weights")
        return []
    last = net(FINE_TUNED, learn.model, prepared)
    if fit.status == "interrupted":
        return [last]
    between = [] if warmed is None else list(averages(prepared, learn, warmed))
    y = prepared.labels[prepared.held]
    return [*between, last, *([] if start is None else blends(start, last, y))]


def net(name, model, prepared):
    "Score `model` on the held-out photos; return it as a Candidate."
    return Candidate(name, prepared.cfg.head, model, *held_out_logits(model, prepared))


def averages(prepared, learn, warmed):
    "Yield Candidates between the warm start and the net of `learn`, as far as memory allows."
    given = learn.dls.train, prepared.machine
    try:
        for alpha in ALPHAS:
            model = average(warmed.model, learn.model, alpha, *given)
            yield net(f"{AVERAGE} {alpha:g}", model, prepared)
    except torch.OutOfMemoryError:
        release(prepared.machine)
        say("out of memory: adding no more weight averages to the candidates")


def blends(start, last, y):
    "Candidates that mix the probabilities of the probe `start` and the net `last`; y: labels."
    warmth = [one.temperature or inference.fit_temperature(one.logits, y) for one in (start, last)]
    return [blend(start, last, share, warmth) for share in SHARES]


def blend(start, last, share, warmth):
    "The Candidate with a `share` of `last`, each of the two calibrated by its `warmth`."
    shares = 1 - share, share
    model = Blend([start.model, last.model], shares, warmth)
    pairs = zip(start.answers, last.answers, strict=True)
    z = [model.mixed([torch.as_tensor(part) for part in pair]).numpy() for pair in pairs]
    told = zip((start.head, last.head), shares, warmth, strict=True)
    members = [{"head": h, "share": s, "temperature": t} for h, s, t in told]
    return Candidate(f"{BLEND} {share:g}", last.head, model, *z, cost=NETS, members=members)


def held_out_logits(model, prepared):
    "[(held-out photos, classes)] logits, and those of their degraded copies if requested."
    shown = [prepared.pixels, *([prepared.copies] if prepared.copies else [])]
    return [_answers(model, prepared, pixels) for pixels in shown]


def _answers(model, prepared, pixels):
    paths = prepared.table.loc[prepared.held, "path"]
    if paths.empty:
        return np.zeros((0, len(prepared.spec.classes)), np.float32)
    view, machine = prepared.spec.view, prepared.machine
    bs = loaders.per_step(prepared.cfg.bs)
    while True:
        try:
            dl = loaders.plain(paths, view, bs, machine, pixels)
            z = inference.logits(model, dl, machine, what="scoring")
            break
        except torch.OutOfMemoryError:  # never lose an epoch for lack of memory to score it
            if bs == 1:
                raise
            bs //= 2
            release(machine)
    for i, path in enumerate(paths):
        if np.isnan(z[i]).any() and prepared.pixels.problem(path):
            # what predict.py outputs for unreadable files
            z[i] = inference.logs(np.array(prepared.spec.prior))
    return z
