"""Named sets of defaults for the options of train.py; options that are given still win."""

from vlg_fastai.config import BUNDLED

STRONG = "strong"
RECIPES = {  # recipe -> its own defaults for other options
    "original": {},
    # how much each helps: benchmarks/finetuning.py, docs/benchmarks.md
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
# what strong changes for nets other than the bundled ones: not measured, as published for
# ConvNeXt (Liu et al., 2022), whose features are better to begin with
NOT_MEASURED = {"epochs": 10, "lr": 1e-4, "lr_body": 1e-4, "drop_path": 0.1}


def measured(recipe, arch):
    "Whether the values of `recipe` were measured with a net like `arch`, a timm name."
    return recipe != STRONG or arch.split(".")[0] in BUNDLED


def but_for(stored, recipe):
    "The options `stored` with a run, without what recipes set where `recipe` is another than its."
    if stored.get("recipe", recipe) == recipe:
        return stored
    set_by_one = {*NOT_MEASURED, *(key for options in RECIPES.values() for key in options)}
    return {key: value for key, value in stored.items() if key not in set_by_one}


def defaults_of(recipe, arch):
    "The options that `recipe` sets for `arch`."
    return {**RECIPES[recipe], **({} if measured(recipe, arch) else NOT_MEASURED)}
