"""Train a run of several nets, each fitted without its part of the photos."""

import time
from dataclasses import dataclass, field, replace
from functools import partial

from vlg_fastai.cli import as_json
from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import folding, split
from vlg_fastai.machine import device
from vlg_fastai.machine.versions import circumstances
from vlg_fastai.model import sources
from vlg_fastai.runs.facts import UNFINISHED
from vlg_fastai.runs.files import write_json
from vlg_fastai.runs.resume import locked, to_resume
from vlg_fastai.runs.run import CONFIG, FOLD, REFIT, SPLIT, Run
from vlg_fastai.train import earning, elsewhere, fold
from vlg_fastai.train.assembling import DONE, Fold, assemble, refitted
from vlg_fastai.train.learner import learner_for
from vlg_fastai.train.opening import noted, open_run
from vlg_fastai.train.prepare import Prepared, in_use, prepare, settle_and_scan
from vlg_fastai.train.side_by_side import LOG, fit_all
from vlg_fastai.train.stopping import GO_ON, stoppable


def in_folds(cfg, source, cbs=()):
    """Train or resume the run of folds that `cfg` asks for; return its Run.

    It can be used from its first fold on. cbs: the caller's callbacks for every fit.
    """
    if cfg.devices and cbs:
        raise UserError("--devices: callbacks cannot go to other processes; use only one of them")
    start = time.monotonic()
    machine = device.prepare(first_of(cfg))
    earlier = to_resume(cfg.runs, cfg.resume) if cfg.resume else None
    cfg, scanned = settle_and_scan(cfg, source)
    prepared = prepare(cfg, source, scanned, machine, split.of_run(earlier))
    work = Work(prepared, source, cbs)
    run = earlier or open_run(prepared, source, learner_for(work.of_fold(0), source))
    with locked(run), stoppable(run):
        times = noted(earlier) if earlier else []
        folds = [work.opened(run, number) for number in range(cfg.folds)]
        about = {"start": start, "resumed_at": times}
        work.fit(run, folds, about)
    return Run(run.path)


def first_of(cfg):
    "`cfg` with the first of --devices as its device, after checking all of them."
    if not cfg.devices:
        return cfg
    return replace(cfg, device=devices_of(cfg)[0])


def devices_of(cfg):
    names = [name.strip() for name in cfg.devices.split(",")]
    if not all(names):
        raise UserError(f"--devices {cfg.devices}: give names like cuda:0,cuda:1")
    return [str(device.pick(name, "--devices")) for name in names]


@dataclass(frozen=True)
class Work:
    "What all folds of a run share."

    prepared: Prepared
    source: sources.Source
    cbs: tuple
    parts: dict = field(default_factory=dict)

    def of_fold(self, number):
        "The `Prepared` of one fold, its photos held out; none are held out for `REFIT`."
        if number not in self.parts:
            self.parts[number] = self._of_fold(number)
        return self.parts[number]

    def _of_fold(self, number):
        every = folding.of_fold(self.prepared.every, number)
        cfg = fold.of_fold(self.prepared.cfg)
        given = self.source, self.prepared.spec.view, every, self.prepared.extra
        table, spec = in_use(cfg, *given)
        part = replace(self.prepared, cfg=cfg, every=every, table=table, spec=spec)
        if part.extra:
            say(f"{number if number == REFIT else FOLD.format(number)}:")
        return earning.judged(part)

    def opened(self, run, number):
        "The Fold with that number; its folder is created if missing."
        name = REFIT if number == REFIT else FOLD.format(number)
        own, part = Run(run.path / name), self.of_fold(number)
        if not (own.path / CONFIG).exists():
            own.path.mkdir(exist_ok=True)
            split.save(part.every, own.path / SPLIT)
            elsewhere.save(part, own)
            write_json(own.path / CONFIG, as_json(part.cfg))
        one = Fold(own, part)
        if fold.is_done(own) and not one.fits:
            say(f"{name}: its photos or classes have changed; fitting it again")
            fold.undo(own)
        return one

    def fit(self, run, folds, about):
        "Fit the `folds` that are not done, and write the combined result to `run`."
        todo = [one for one in folds if not fold.is_done(one.run)]
        cfg, settle = self.prepared.cfg, partial(self.settle, run, folds, about)
        if cfg.devices:
            given = todo, devices_of(cfg), self.source, settle, cfg.refit
            whole = fit_all(*given) if todo else True
        else:
            whole = self.one_by_one(todo, settle)
        settle(("dry run" if cfg.dry_run else "finished") if whole else "interrupted")

    def one_by_one(self, todo, settle):
        "Fit the folds `todo` in this process, calling `settle` after each; False if stopped."
        for at, one in enumerate(todo):
            say(f"{one.run.path.name}, {at + 1} of {len(todo)} to do:")
            rounds = len(todo) - at + self.prepared.cfg.refit
            hours = fold.part_of(one.prepared.cfg.hours, rounds)
            timed = replace(one.prepared, cfg=replace(one.prepared.cfg, hours=hours))
            if not fold.fit(timed, self.source, one.run, self.cbs):
                return False
            settle()
        return True

    def settle(self, run, folds, about, status=UNFINISHED):
        "Write the combined result of the finished `folds` to `run`."
        done = [one for one in folds if fold.is_done(one.run)]
        if not done and status == "interrupted":
            raise KeyboardInterrupt(GO_ON.format(run.words))
        if not done:
            raise UserError(f"{run.path}: no fold finished; see {LOG} in their folders")
        known = {**circumstances(self.source, self.prepared.machine, about["start"]),
                 "resumed_at": about["resumed_at"], "status": status}  # fmt: skip
        whole = status in DONE and len(done) == len(folds)
        if whole and self.prepared.cfg.refit:
            assemble(run, self.prepared, done, {**known, "status": UNFINISHED}, len(folds))
            known["refit"] = self.refitted(run, done)
            known["status"] = "interrupted" if known["refit"] is None else status
        assemble(run, self.prepared, done, known, len(folds))
        if whole and self.prepared.cfg.lean and known["status"] in DONE:
            for one in folds:
                fold.slim(one.run)

    def refitted(self, run, done):
        "[entry in facts.json of a net fitted on all photos], None if it was stopped."
        say(f"{REFIT}: fitting a net on all photos")
        whole = self.opened(run, REFIT)
        return refitted(whole, done, self.source, self.cbs)
