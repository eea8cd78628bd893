"""Config and runs in, pictures and tables in each run's reports folder out."""

from vlg_fastai.console import say
from vlg_fastai.data.folder import of_run
from vlg_fastai.report import confusion, losses
from vlg_fastai.report.stored import held_out


def interpret(cfg, chosen):
    "Make the reports that `cfg` names, or all, for each of the runs `chosen`; paths of the files."
    return [path for run in chosen for path in interpret_one(cfg, run)]


def interpret_one(cfg, run):
    held = held_out(run)
    every = not cfg.confusion and cfg.top_losses is None
    files = confusion.report(held, run.reports) if cfg.confusion or every else []
    if cfg.top_losses is not None or every:
        count = (cfg.top_losses or (losses.MOST,))[0]
        files += losses.report(held, run.reports, of_run(cfg, run), count)
    for path in files:
        say(f"written: {path}")
    return files
