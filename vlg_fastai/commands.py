"""Run each command: parse its arguments, import what is heavy, call one function."""

import sys
from functools import partial

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
from vlg_fastai.data.folder import defaults_for, test_of
from vlg_fastai.model.sources import choose
from vlg_fastai.runs import resume
from vlg_fastai.runs.blends import names_of
from vlg_fastai.runs.find import find, finished
from vlg_fastai.tune.options import TuneConfig
from vlg_fastai.tune.space import say_plan


def train(argv=None):
    with plain_errors():
        cfg, source = with_source(partial(parse, TrainConfig, argv, earlier=resume.earlier))
        from vlg_fastai.train.run import train  # torch loads here, after what can do without it

        train(cfg, source).check_finished()


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
    with plain_errors():
        cfg = parse(PredictConfig, argv)
        chosen = find(cfg.runs, names_of(cfg))
        test = test_of(cfg, chosen[0])
        from vlg_fastai.predict.run import predict

        predict(cfg, chosen, test)


def interpret(argv=None):
    with plain_errors():
        cfg = parse(InterpretConfig, argv)
        chosen = find(cfg.runs, cfg.run)
        from vlg_fastai.report.interpret import interpret  # pandas and matplotlib load here

        interpret(cfg, chosen)


def audit(argv=None):
    with plain_errors():
        cfg = parse(AuditConfig, argv, adapt=defaults_for)
        source = choose(cfg.arch, cfg.weights, True)
        from vlg_fastai.audit.run import audit

        audit(cfg, source)


def tune(argv=None):
    with plain_errors():
        cfg = parse(TuneConfig, argv, adapt=defaults_for)
        if cfg.dry_run:
            say_plan(cfg)
            return
        check_extra("optuna", "tune.py", "tune")
        source = choose(cfg.arch, cfg.weights, cfg.pretrained)
        from vlg_fastai.tune.run import tune

        tune(cfg, source)


def compare(argv=None):
    with plain_errors():
        cfg = parse(CompareConfig, argv)
        chosen, reference = finished(cfg.runs, cfg.run, cfg.against)
        from vlg_fastai.compare.run import compare  # pandas and scipy load here, but no torch

        compare(cfg, chosen, reference)


COMMANDS = {
    "train": train, "predict": predict, "interpret": interpret, "audit": audit, "compare": compare,
    "tune": tune,
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
