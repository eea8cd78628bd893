"""Open the run folder that training writes to: a new one, or one to resume."""

from datetime import UTC, datetime

from vlg_fastai.cli import as_json
from vlg_fastai.console import say
from vlg_fastai.data import split
from vlg_fastai.machine.versions import circumstances
from vlg_fastai.model import bundle, sources
from vlg_fastai.recipes import measured
from vlg_fastai.runs.files import check_room, read_json, write_json
from vlg_fastai.runs.resume import to_resume
from vlg_fastai.runs.run import CHECKPOINT, CONFIG, SPLIT, create
from vlg_fastai.train import checkpoint, elsewhere, sheet

RESUMED = "resumed.json"  # beside the checkpoints: when the run was resumed
COPIES = 6  # of a net in a run: a blend of two, and the four that were not selected
KEPT = 14  # in two checkpoints, at most seven tensors per weight


def open_run(prepared, source, learn):
    "Create the run folder with its config and split; report what begins."
    cfg, spec, machine = prepared.cfg, prepared.spec, prepared.machine
    check_room(cfg.runs, room_for(prepared, learn), f"--runs {cfg.runs}")
    run = create(cfg.runs, cfg.name or sources.base_name(source.arch))
    split.save(prepared.every, run.path / SPLIT)
    if not cfg.folds:  # each fold has its own
        elsewhere.save(prepared, run)
    write_json(run.path / CONFIG, as_json(cfg))  # last: a run that has it can be resumed
    say(
        f"{run.path}: {source.arch} ({weights_in_words(source)}), {len(spec.classes)} classes,"
        f" {spec.view.size} px, {machine.device} {machine.precision}"
        + (f", {machine.ranks.count} processes" if machine.ranks.count > 1 else "")
    )
    if cfg.epochs and not measured(cfg.recipe, source.arch):
        say(f"--recipe {cfg.recipe}: its values for {source.arch} are not measured")
    if learn:
        say(f"training photos as the net sees them: {sheet.write(learn, spec.view, run)}")
    return run


def room_for(prepared, learn):
    "Upper bound on the bytes the run will take, not counting tables."
    cfg, net = prepared.cfg, learn.model if learn else prepared.extractor.net
    copies = 2 if not learn or (cfg.lean and not cfg.folds) else COPIES
    fits = cfg.folds + cfg.refit or 1
    at_once = len(cfg.devices.split(",")) if cfg.devices else 1
    return bundle.size_of(net) * (fits * copies + (at_once * KEPT if learn else 0))


def weights_in_words(source):
    return {
        "hub": "weights from the hub",
        "cache": "weights from the hub's cache",
        "bundled": "bundled ImageNet weights",
        "file": f"weights from {source.file}",
        "nothing": "no trained weights",
    }[source.kind]


def facts_of(source, machine, start, resumed_at, **known):
    "Facts of a run as of now, independent of its outcome."
    return {**circumstances(source, machine, start), "resumed_at": resumed_at, **known}


def resumed(run):
    "Record and report that `run` resumes now; return all such times, [] for a new run."
    if run is None:
        return []
    times = noted(run)
    say_place(run)
    return times


def noted(run):
    "Record that `run` resumes now; return all times that it did."
    to_resume(run.path.parent, run.path.name)  # check again: it may have finished meanwhile
    times, file = [], run.path / CHECKPOINT / RESUMED
    if file.exists():
        times = read_json(file)["at"]
    times.append(datetime.now(UTC).isoformat(timespec="seconds"))
    write_json(file, {"at": times})
    return times


def say_place(run):
    "Report where the fit of `run` resumes."
    kept = checkpoint.read(run.path / CHECKPOINT)
    place = kept["place"] if kept else {"epoch": 0, "batches": 0}
    done = len(kept["callbacks"]["History"]["rows"]) if kept else 0
    within = f", at batch {place['batches'] + 1}" if place["batches"] else ""
    say(f"{run.path}: resuming after epoch {done}{within}")
