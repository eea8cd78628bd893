"""Named sets of defaults for the options of train.py; options given still win."""

STRONG = "strong"
RECIPES = {  # recipe -> its own defaults for other options
    "original": {},
    STRONG: {
        "epochs": 5,
        "head": "linear",
        "lr": 3e-4,
        "lr_body": 3e-4,
        "layer_decay": 0.8,
        "wd": 0.05,
        "label_smoothing": 0.0,
        "targets": "soft",
        "aug": "degraded",
        "freeze_bn": True,
        "ema": True,
        "keep": "last",
    },
}
