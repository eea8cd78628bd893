"""Run each command: parse its arguments, import what is heavy, call one function."""

import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from vlg_fastai import launch
from vlg_fastai.checks import check_extra
from vlg_fastai.cli import parse, plain_errors
from vlg_fastai.config import (
    ARCH,
    AuditConfig,
    CompareConfig,
    InterpretConfig,
    PredictConfig,
    TrainConfig,
    UserError,
)
from vlg_fastai.data.folder import TEST, child, defaults_for, descend, test_of
from vlg_fastai.data.walking import SUFFIXES
from vlg_fastai.export.options import ExportConfig
from vlg_fastai.generate.options import GenerateConfig
from vlg_fastai.model.sources import choose
from vlg_fastai.runs import resume
from vlg_fastai.runs.blends import names_of
from vlg_fastai.runs.find import find, finished
from vlg_fastai.runs.run import EXPORTED
from vlg_fastai.tune.options import TuneConfig
from vlg_fastai.tune.space import say_plan


def train(argv=None):
    with plain_errors():
        if launch.follows():
            from vlg_fastai.train.following import follow

            follow()
        else:
            cfg, source = with_source(partial(parse, TrainConfig, argv, earlier=resume.earlier))
            launch.check(cfg)
            from vlg_fastai.train.run import train  # torch loads here, after what can do without

            train(cfg, source).check_finished()


@contextmanager
def alone():
    "Show a mistake as one line; torchrun is one, for all but training."
    with plain_errors():
        launch.refuse(Path(sys.argv[0]).name)
        yield


def with_source(read):
    """(config, `Source` of its weights), read with `read(adapt=...)`.

    It is read again if another net replaces the default: a recipe's values depend on the net.
    """
    cfg = read(adapt=defaults_for)
    resume.check_same(cfg)
    source = choose(cfg.arch, cfg.weights, cfg.pretrained)
    if cfg.arch is None and source.arch != ARCH:  # its values were first read for ARCH
        cfg = read(adapt=lambda first: {**defaults_for(first), "arch": source.arch})
    return cfg, source


def predict(argv=None):
    with alone():
        predict_with(parse(PredictConfig, argv))


def predict_with(cfg):
    "Predict a folder, or single photos on screen, with runs or with an export."
    cfg = with_photos(cfg)
    home = exported(cfg.run)
    if home:
        check_extra("onnxruntime", f"--run {home}", "export")
        from vlg_fastai.export import use

        return use.classify(cfg, home) if cfg.photos else use.predict(cfg, home, given_test(cfg))
    chosen = find(cfg.runs, names_of(cfg))
    if cfg.photos:
        from vlg_fastai.predict.onscreen import classify

        return classify(cfg, chosen)
    test = test_of(cfg, chosen[0])
    from vlg_fastai.predict.run import predict

    return predict(cfg, chosen, test)


def with_photos(cfg):
    "The config with files that were taken for names of runs, as in `--run 3 photo.jpg`, as photos."
    files = tuple(
        Path(name)
        for name in cfg.run
        if Path(name).is_file() and Path(name).suffix.lower() in SUFFIXES
    )
    runs = tuple(name for name in cfg.run if Path(name) not in files)
    for path in cfg.photos:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; predict it with --test {path}")
    return replace(cfg, run=runs, photos=(*cfg.photos, *files))


def exported(names):
    "The export folder that is named as the only run, or None."
    alone = Path(names[0]) if len(names) == 1 else None
    return alone if alone and (alone / EXPORTED).is_file() else None


def given_test(cfg):
    "The folder of test photos for an export, which knows of none itself."
    found = cfg.test or (cfg.data and child(descend(cfg.data), TEST))
    if not found:
        raise UserError("--test: an export knows no test photos; give --test DIR, or name photos")
    return found


def interpret(argv=None):
    with alone():
        cfg = parse(InterpretConfig, argv)
        chosen = find(cfg.runs, cfg.run)
        from vlg_fastai.report.interpret import interpret  # pandas and matplotlib load here

        interpret(cfg, chosen)


def audit(argv=None):
    with alone():
        cfg = parse(AuditConfig, argv, adapt=defaults_for)
        source = choose(cfg.arch, cfg.weights, True)
        from vlg_fastai.audit.run import audit

        audit(cfg, source)


def tune(argv=None):
    with alone():
        cfg = parse(TuneConfig, argv, adapt=defaults_for)
        if cfg.dry_run:
            say_plan(cfg)
            return
        check_extra("optuna", "tune.py", "tune")
        source = choose(cfg.arch, cfg.weights, cfg.pretrained)
        from vlg_fastai.tune.run import tune

        tune(cfg, source)


def export(argv=None):
    with alone():
        export_with(parse(ExportConfig, argv), "export.py")


def export_with(cfg, called):
    "Export the runs of `cfg` for the command or function that is `called` so."
    for package in ("onnx", "onnxscript", "onnxruntime") if cfg.onnx else ():
        check_extra(package, called, "export")
    chosen = find(cfg.runs, cfg.run)
    from vlg_fastai.export.run import export_runs

    return export_runs(cfg, chosen)


def generate(argv=None):
    with alone():
        cfg = parse(GenerateConfig, argv, adapt=defaults_for)
        from vlg_fastai.generate.run import generate

        generate(cfg)


def compare(argv=None):
    with alone():
        cfg = parse(CompareConfig, argv)
        chosen, reference = finished(cfg.runs, cfg.run, cfg.against)
        from vlg_fastai.compare.run import compare  # pandas and scipy load here, but no torch

        compare(cfg, chosen, reference)


COMMANDS = {
    "train": train, "predict": predict, "interpret": interpret, "audit": audit, "compare": compare,
    "tune": tune, "export": export, "generate": generate,
}  # fmt: skip


def main(argv=None):
    "The command `vlg`: `vlg train --epochs 20` is `python train.py --epochs 20`."
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    with plain_errors():
        if name in ("-h", "--help"):
            print(f"usage: vlg {{{','.join(COMMANDS)}}} [OPTIONS]; see vlg NAME --help for each")
            return
        if name not in COMMANDS:
            raise UserError(f"vlg {name}: no such command; give one of {', '.join(COMMANDS)}")
    sys.argv = [f"vlg {name}", *rest]  # its name in --help, and what a run records
    COMMANDS[name](rest)
