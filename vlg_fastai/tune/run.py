"""Run a search from its config: trials, final check, report."""

import time
from dataclasses import fields, replace
from functools import partial

from vlg_fastai.checks import check
from vlg_fastai.cli import STARTED, as_json
from vlg_fastai.config import TrainConfig, UserError, size_of
from vlg_fastai.console import Lines, bar, counted, say
from vlg_fastai.machine import device
from vlg_fastai.recipes import RECIPES, defaults_of
from vlg_fastai.runs.files import check_page
from vlg_fastai.runs.find import find
from vlg_fastai.train.prepare import prepare, settle_and_scan
from vlg_fastai.tune import report, space, study, workers
from vlg_fastai.tune.judge import FOLD, Judge, fingerprint, hash_of
from vlg_fastai.tune.known import Known
from vlg_fastai.tune.search import Search, TimeUpError
from vlg_fastai.tune.verdict import last_word

NOT_SHARED = {"folds", "hours", "devices", "dry_run"}  # options of both that mean different things


def tune(cfg, source):
    "Search as configured, from the weights of `source`; returns the path of best.json."
    check_page(cfg.out, report.TRIALS, f"--out {cfg.out}")
    asked, fixed = space.asked(cfg)
    base = base_of(cfg, source, fixed)
    search = search_of(cfg, base, source, asked)
    begin(cfg, base, search, asked)
    try:
        look(cfg, source, search)
        settle(cfg, search)
        say("search finished; judging the best trials again on other splits")
        verdict = last_word(search)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command resumes {cfg.out}") from None
    finally:
        report.write_trials(cfg, search)
    say(verdict.in_words())
    return report.write(cfg, search, verdict)


def base_of(cfg, source, fixed):
    "The TrainConfig to beat."
    shared = {one.name for one in fields(TrainConfig)} & {one.name for one in fields(cfg)}
    given = {name: getattr(cfg, name) for name in shared - NOT_SHARED}
    told = {**given, **defaults_of(cfg.recipe, source.arch), **fixed}
    base = TrainConfig(**{**told, "arch": source.arch, "keep": "last"})
    check(base)
    if not base.epochs:
        raise UserError("--fix epochs=0: a probe has no options to search; give 1 or more")
    return replace(base, size=size_of(base, source.arch))


def search_of(cfg, base, source, asked):
    "The `Search` over the options `asked`, with photos read and the study open."
    machine = device.prepare(cfg)
    base, scanned = settle_and_scan(base, source)
    prepared = prepare(base, source, scanned, machine)
    if not prepared.held.any():
        raise UserError(f"--data {cfg.data}: no photo can be held out, and a search needs some")
    about = {
        **fingerprint(prepared, cfg), "weights": hash_of(cfg.weights), "defaults": defaults(base),
        "space": dict(space.rows(asked, {})),
    }  # fmt: skip
    opened = study.opened(cfg, about)
    default = space.of(as_json(base), asked)
    known = Known(opened, Judge(prepared, source, cfg.folds))
    deadline = STARTED + 3600 * cfg.hours if cfg.hours else None
    return Search(asked, default, known, cfg.folds, cfg.seed, deadline)


def defaults(base):
    "Text of those options to beat that affect the trained net."
    away = {one.name for one in fields(TrainConfig)} & {"data", "runs", "cache", "cache_gb",
        "clear_cache", "device", "workers", "decisions", "weights", "labels", "photos"}  # fmt: skip
    told = {key: value for key, value in as_json(base).items() if key not in away}
    return ", ".join(f"{key} {value}" for key, value in sorted(told.items()))


def begin(cfg, base, search, asked):
    "Queue the defaults first, then the run of --from and the other recipes."
    starts = []
    if space.is_inside(search.default, asked):
        starts.append(search.default)
    else:
        say("the defaults lie outside --space: they are judged in addition to the trials")
    plain = {name: getattr(TrainConfig(), name) for name in asked}
    options = [{**as_json(base), **plain, **defaults_of(name, base.arch)} for name in RECIPES]
    if cfg.from_run:
        run = find(cfg.runs, (cfg.from_run,))[0]
        rates = {name: getattr(run.facts, name) for name in ("lr", "lr_body")}
        found = rates if run.config["lr"] == "find" else {}
        if found and found["lr"] is None:
            raise UserError(f"--from {cfg.from_run}: its --lr find found no rate (stopped early,"
                            " or --epochs 0); name another run, or leave --from out")  # fmt: skip
        options.insert(0, {**as_json(base), **run.config, **found})
    starts += [space.nearest(space.of(one, asked), asked) for one in options]
    study.enqueue(search.known.study, starts)


def look(cfg, source, search):
    "Run the trials, in this process or in one process per device of --devices."
    if not space.is_inside(search.default, search.space):
        for number in range(cfg.folds):
            search.fitted(search.default, (FOLD, number))
    if cfg.devices:
        workers.search(cfg, source, search)
    else:
        one_by_one(cfg, search)


def settle(cfg, search):
    "Judge the defaults on every fold; UserError if no trial was."
    if not search.whole():
        given = f"--hours {cfg.hours}" if cfg.hours else f"--trials {cfg.trials}"
        raise UserError(f"{given}: no trial was judged on every fold; give more to resume")
    for number in range(cfg.folds):
        search.fitted(search.default, (FOLD, number))


def one_by_one(cfg, search):
    "Run trials until there are as many as requested, or the time is up."
    opened, watch = search.known.study, study.Pulse(search.known.study, bool(cfg.storage))
    with bar() as live:
        search.tell = told(live, cfg, search)
        while True:
            watch.tend()
            done, running = study.counts(opened)
            if done >= cfg.trials:
                return
            try:
                if done + running >= cfg.trials:  # others are running them
                    search.check_time()
                    time.sleep(study.PAUSE)
                    continue
                do_one(opened, search)
            except TimeUpError:
                say(f"--hours {cfg.hours}: {counted(done, 'trial')} fitted")
                return


def do_one(opened, search):
    "Run the next trial; if another process took it for dead meanwhile, leave it to that one."
    try:
        ended = [lambda _, trial: search.say(trial)]
        opened.optimize(partial(one_trial, search), n_trials=1, callbacks=ended)
    except ValueError:  # Optuna's: a trial that failed cannot be told a value
        if not study.lost(opened):
            raise
        say("another process took this trial for dead and tries it again; its folds are kept")


def one_trial(search, trial):
    "The loss of a `trial`, which sends a heartbeat meanwhile."
    study.begin(trial)
    with study.beating(trial):
        return search.objective(trial)


def told(live, cfg, search):
    "A function that shows how many folds of all trials are done."
    what, total = "folds of trials", cfg.trials * cfg.folds
    before = min(len(search.done()) * cfg.folds, total)
    task = live.add_task(what, total=total, completed=before)
    lines = Lines(what, total, before)

    def tell(trial, done):
        place = min(len(search.done()) * cfg.folds + done, total)
        live.update(task, completed=place)
        lines.update(place)

    return tell


def trials_only(cfg, source, number):
    "Run trials of an existing study, as the worker process of that number."
    asked, fixed = space.asked(cfg)
    search = search_of(cfg, base_of(cfg, source, fixed), source, asked)
    search.known.study.sampler = study.sampler_of(
        cfg, 1 + number + len(search.known.study.get_trials(deepcopy=False))
    )
    one_by_one(cfg, search)
