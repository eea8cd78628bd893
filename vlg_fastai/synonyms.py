"""Answer options that go by another name elsewhere with the name they have here."""

from vlg_fastai.config import UserError

# what fastai, timm, ultralytics, Keras and Lightning call it -> ours
NAMES = {
    "batch-size": "bs", "batch": "bs", "b": "bs", "learning-rate": "lr", "lr0": "lr",
    "model": "arch", "backbone": "arch", "architecture": "arch", "image-size": "size",
    "img-size": "size", "imgsz": "size", "input-size": "size", "resolution": "size",
    "output": "out", "output-dir": "out", "output-file": "out", "lr-find": "lr find",
    "find-lr": "lr find", "num-epochs": "epochs", "n-epochs": "epochs", "max-epochs": "epochs",
    "num-workers": "workers", "weight-decay": "wd", "smoothing": "label-smoothing",
    "val-pct": "valid-pct", "val-split": "valid-pct", "validation-split": "valid-pct",
    "drop": "dropout", "amp": "precision fp16", "fp16": "precision fp16",
    "bf16": "precision bf16", "data-dir": "data", "dataset": "data", "data-path": "data",
    "kfold": "folds", "k-folds": "folds", "n-folds": "folds", "cv": "folds", "augment": "aug",
    "augmentation": "aug", "early-stopping": "patience", "optimizer": "", "opt": "",
    "time-limit": "hours", "random-seed": "seed", "n-trials": "trials", "checkpoint": "run",
    "ckpt": "run", "test-dir": "test",
}  # fmt: skip
NONE = {"optimizer": "AdamW is the only one", "opt": "AdamW is the only one"}


def check(argv, options):
    """UserError for a flag of `argv` that is not among `options` and has another name here.

    options: {flag without dashes: ...} of the command.
    """
    for word in argv:
        name = word.removeprefix("--").partition("=")[0].replace("_", "-")
        if not word.startswith("--") or name in options:
            continue
        if name in NONE:
            raise UserError(f"--{name}: there is no such option; {NONE[name]}")
        ours = NAMES.get(name)
        if ours and ours.split()[0] in options:
            raise UserError(f"--{name}: it is called --{ours} here")


def check_rates(argv):
    "UserError for `--lr 1e-3,1e-4`, one rate for each group, as some write it."
    for flag, value in zip(argv, argv[1:], strict=False):
        rates = value.split(",")
        if flag == "--lr" and len(rates) > 1 and all(map(_number, rates)):
            first, *rest = sorted(rates, key=_number)
            raise UserError(
                f"--lr {value}: takes the head's rate alone; the backbone's is --lr-body:"
                f" --lr {rest[-1]} --lr-body {first}"
            )


def _number(text):
    try:
        return float(text)
    except ValueError:
        return 0.0
