"""The commands as functions, for notebooks: options are keywords, mistakes are exceptions.

    from vlg_fastai.api import train

    run = train(data="path/to/challenge", epochs=5)
    run.predict(unseen="names.txt")
    run.page()

Nothing heavy is imported before a function is called.
"""

from functools import partial
from pathlib import Path

from vlg_fastai import launch
from vlg_fastai.checks import check_extra
from vlg_fastai.cli import configured, quiet_start
from vlg_fastai.commands import export_with, predict_with, with_source
from vlg_fastai.config import (
    AuditConfig,
    CompareConfig,
    InterpretConfig,
    PredictConfig,
    TrainConfig,
    UserError,
)
from vlg_fastai.data.folder import defaults_for
from vlg_fastai.export.options import ExportConfig
from vlg_fastai.generate.options import GenerateConfig
from vlg_fastai.model.sources import choose
from vlg_fastai.runs.find import find, finished
from vlg_fastai.runs.resume import earlier
from vlg_fastai.runs.run import Run as RunFolder
from vlg_fastai.tune.options import TuneConfig
from vlg_fastai.tune.space import say_plan

__all__ = [
    "Run", "UserError", "audit", "compare", "export", "generate", "interpret", "predict", "show",
    "train", "tune",
]  # fmt: skip


class Run(RunFolder):
    "A run folder: `path`, `config` and `facts`, and the commands that work on it."

    def predict(self, **options):
        return predict(run=self, **options)

    def interpret(self, **options):
        return interpret(run=self, **options)

    def page(self, **options):
        "Write the HTML page of the run; return its path."
        return self.interpret(page=True, **options)[0]


def train(cbs=(), **options):
    """Train as `train.py` does; return the `Run`. cbs: fastai callbacks for the fit.

    resume: a number, name or path of a run, or a `Run`.
    """
    launch.refuse("a call of train()")
    options = {**options, "resume": _name(options.get("resume"))}
    cfg, source = with_source(partial(configured, TrainConfig, options, earlier=earlier))
    quiet_start()
    from vlg_fastai.train.run import train

    return Run(train(cfg, source, cbs).path)


def predict(**options):
    """Predict as `predict.py` does; the path of the submission.

    With photos=[...], print the answers and return (classes, probabilities (photos, classes)).
    """
    cfg = configured(PredictConfig, _named(options))
    quiet_start()
    return predict_with(cfg)


def interpret(**options):
    "Draw as `interpret.py` does; return the paths of what was written."
    cfg = configured(InterpretConfig, _named(options))
    chosen = find(cfg.runs, cfg.run)
    quiet_start()
    from vlg_fastai.report.interpret import interpret

    return interpret(cfg, chosen)


def audit(**options):
    """Check a folder as `audit.py` does; return the path of issues.csv.

    compare=True: return what decisions gain in out-of-fold accuracy instead, or None.
    """
    cfg = configured(AuditConfig, options, adapt=defaults_for)
    source = choose(cfg.arch, cfg.weights, True)
    quiet_start()
    from vlg_fastai.audit.run import audit

    return audit(cfg, source)


def compare(**options):
    "Compare as `compare.py` does; return the path of the page."
    cfg = configured(CompareConfig, _named(options))
    chosen, reference = finished(cfg.runs, cfg.run, cfg.against)
    from vlg_fastai.compare.run import compare

    return compare(cfg, chosen, reference)


def tune(**options):
    "Search as `tune.py` does; return best.json's path for `train(config=...)`; None in a dry run."
    cfg = configured(TuneConfig, {**options, "from_run": _name(options.get("from_run"))},
                     adapt=defaults_for)  # fmt: skip
    if cfg.dry_run:
        return say_plan(cfg)
    check_extra("optuna", "tune", "tune")
    source = choose(cfg.arch, cfg.weights, cfg.pretrained)
    quiet_start()
    from vlg_fastai.tune.run import tune

    return tune(cfg, source)


def generate(**options):
    "Generate photos as `generate.py` does; return the folder of them, for `train(extra=[...])`."
    cfg = configured(GenerateConfig, options, adapt=defaults_for)
    quiet_start()
    from vlg_fastai.generate.run import generate

    return generate(cfg)


def show(path, height=800):
    "Show a page (.html) or a picture in the notebook, as the last line of a cell."
    from vlg_fastai.pages.inline import Inline

    return Inline(Path(path), height)


def export(**options):
    "Export as `export.py` does; the path of the folder."
    cfg = configured(ExportConfig, _named(options))
    quiet_start()
    return export_with(cfg, "export")


def _named(options):
    "`options` with runs as strings, whether given as objects, paths or numbers."
    given = options.get("run", ())
    runs = given if isinstance(given, list | tuple) else [given]
    return {**options, "run": tuple(_name(run) for run in runs)}


def _name(run):
    "What --run or --resume takes for `run`: an object, a path, a number, a name, or None."
    path = run.path if isinstance(run, RunFolder) else run
    if path is None:
        return None
    return str(path.resolve()) if isinstance(path, Path) else str(path)
