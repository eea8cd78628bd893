"""Turn a config into a finished run: the steps of training, one per line."""

import time
from functools import partial

from vlg_fastai.config import UserError
from vlg_fastai.data import split
from vlg_fastai.machine import device
from vlg_fastai.runs.facts import FACTS, UNFINISHED, called
from vlg_fastai.runs.resume import locked, to_resume
from vlg_fastai.runs.run import Run
from vlg_fastai.train import candidates, choosing, others
from vlg_fastai.train.evaluate import finish
from vlg_fastai.train.finetune import FitResult, fine_tune
from vlg_fastai.train.folds import in_folds
from vlg_fastai.train.following import lead
from vlg_fastai.train.keeping import KeepBetter
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.opening import facts_of, open_run, resumed
from vlg_fastai.train.prepare import prepare, settle_and_scan
from vlg_fastai.train.result import settled
from vlg_fastai.train.stopping import stoppable
from vlg_fastai.train.trackers import tracked


def train(cfg, source, cbs=()):
    """Train or resume the run that `cfg` asks for, from the weights of `source`; return its Run.

    cbs: the caller's fastai callbacks for the fit: to prune, to stop in time, to observe.
    """
    if cfg.folds:
        return settled(in_folds(cfg, source, cbs))
    start, machine = time.monotonic(), device.prepare(cfg)
    earlier = to_resume(cfg.runs, cfg.resume) if cfg.resume else None
    cfg, scanned = settle_and_scan(cfg, source)
    prepared = prepare(cfg, source, scanned, machine, split.of_run(earlier))
    learn = learner_for(prepared, source)
    run = earlier or open_run(prepared, source, learn)
    with locked(run), stoppable(run), tracked(cfg, run, learn) as tell:
        about = partial(facts_of, source, machine, start, resumed(earlier))
        probe, fold = candidates.fit_probe(prepared, run)
        if probe and learn and not (run.path / FACTS).exists():
            # from here on the run is usable, whatever ends it
            finish(run, prepared, probe, {**FitResult(UNFINISHED).facts(), **about(probe=fold)})
        warm = candidates.warm_start(prepared, learn)
        keep = partial(KeepBetter, prepared, run, partial(about, probe=fold), probe)
        lead(prepared, run)
        fit = fine_tune(prepared, learn, run, cbs, candidates.nets_of(prepared, probe, warm), keep)
        tuned = candidates.of_fit(prepared, learn, fit, probe, warm)
        found = [one for one in (probe, warm, *tuned) if one is not None]
        kept, rows, nested = choose(found, prepared, fit)
        known = {**about(probe=fold), **fit.facts(), "candidates": rows, "nested": nested}
        others.keep(run, prepared, known, [one for one in found if one is not kept])
        tell(finish(run, prepared, kept, known))
    return settled(Run(run.path))


def choose(found, prepared, fit):
    "Report the choice; return (the candidate to keep, rows of all figures, nested figures)."
    if not found:
        raise UserError(f"--lr {fit.lr:g}: training diverged; try a tenth of it")
    held = prepared.held
    kept, rows, nested = choosing.best(
        found, prepared.labels[held], prepared.groups[held], prepared.cfg.metric
    )
    choosing.say_choice(rows, called(kept.name))
    return kept, rows, nested
