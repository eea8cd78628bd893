"""Log a run to TensorBoard or Weights & Biases with fastai's own callbacks."""

import shutil
from contextlib import contextmanager

from vlg_fastai.cli import as_json
from vlg_fastai.config import UserError
from vlg_fastai.runs.run import CONFIG

FIGURES = ("accuracy", "macro_f1", "nll", "ece", "seconds")  # of the model that is kept


class TensorBoard:
    "Log curves of the fit and, at its end, options and figures to the run's folder `tensorboard`."

    def __init__(self, cfg, run):
        self.options, self.folder = as_json(cfg), run.path / "tensorboard"

    def attach(self, learn):
        from fastai.callback.tensorboard import TensorBoardCallback

        learn.add_cb(TensorBoardCallback(self.folder, trace_model=False, log_preds=False))

    def tell(self, figures):
        from torch.utils.tensorboard import SummaryWriter

        options = {key: value for key, value in self.options.items() if _simple(value)}
        with SummaryWriter(self.folder) as writer:
            kept = {f"kept/{key}": value for key, value in figures.items()}  # not points of a curve
            writer.add_hparams(options, kept, run_name=".")

    def close(self, failed):
        "Nothing to do: every writer is closed where it was opened."


class WandB:
    "Log the same as a run of a Weights & Biases project, named after the run folder."

    def __init__(self, cfg, run):
        import wandb

        about = {"project": cfg.wandb, "name": named(run), "config": as_json(cfg)}
        try:
            self.run = wandb.init(dir=run.path, **about)
        except wandb.errors.Error as error:
            raise UserError(
                f"--wandb {cfg.wandb}: {error}; without a network, set WANDB_MODE=offline"
            ) from None

    def attach(self, learn):
        from fastai.callback.wandb import WandbCallback

        # the callback walks through everything the learner was built with and fails on objects
        # without attributes (fastai 2.8.12); the options are already in the run's config
        learn.gather_args = dict
        learn.add_cb(WandbCallback(log_preds=False))

    def tell(self, figures):
        self.run.summary.update(figures)

    def close(self, failed):
        self.run.finish(exit_code=int(failed))


TRACKERS = {"tensorboard": TensorBoard, "wandb": WandB}


@contextmanager
def tracked(cfg, run, learn):
    """Log the fit of `learn`, or a run without one, to the trackers that `cfg` names.

    Yields a function to call with the facts of the run at its end.
    """
    made, failed = [], True
    try:
        for option, tracker in TRACKERS.items():
            if getattr(cfg, option):
                made.append(_begun(tracker, cfg, run))
        for tracker in made if learn else ():
            tracker.attach(learn)
        yield lambda facts: [tracker.tell(_figures(facts)) for tracker in made]
        failed = False
    finally:
        for tracker in made:
            tracker.close(failed)


def _begun(tracker, cfg, run):
    "Start the tracker; if it refuses a new run, remove the run's folder: nothing is in it yet."
    try:
        return tracker(cfg, run)
    except UserError:
        if not cfg.resume:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def named(run):
    "Name of `run` in a project's list of runs; a fold is prefixed with the name of its run."
    home = run.path.parent
    return f"{home.name}/{run.path.name}" if (home / CONFIG).exists() else run.path.name


def _figures(facts):
    return {key: v for key in FIGURES if (v := getattr(facts, key)) is not None}


def _simple(value):
    return isinstance(value, bool | int | float | str)
