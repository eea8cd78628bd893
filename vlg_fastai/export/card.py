"""Write a model card, README.md, from the facts of a run."""

import shutil

from jinja2 import Environment, PackageLoader, StrictUndefined

from vlg_fastai.config import InterpretConfig, TrainConfig, UserError
from vlg_fastai.console import muted
from vlg_fastai.export.likeness import UNLIKE
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.facts import merged_extra
from vlg_fastai.runs.files import read_json

# versions that were tried together; gradio needs a pillow that is older than ours may be
APP = {"gradio": "6.31.0", "numpy": "2.4.6", "onnxruntime": "1.32.0", "pillow": "12.3.0"}
PICTURES = {"confusion.png": "Confusion matrix of the held-out photos",
            "reliability.png": "Accuracy by confidence, held-out photos"}  # fmt: skip
PERSONAL = {"data", "runs", "weights", "cache", "decisions", "labels", "photos", "config", "name",
            "wandb", "device", "devices", "extra", "workers", "cache_gb",
            "tensorboard"}  # fmt: skip


def write(home, blend, told):
    "Write README.md from the facts of the `Blended` runs and what the export `told`."
    run, facts = blend.runs[0], blend.runs[0].facts
    archs = dict.fromkeys(one.facts.arch for one in blend.runs)
    values = {
        "classes": facts.classes, "arch": "`, `".join(archs), "blend": shares(blend),
        "photos": {"train": 0, "valid": 0, **facts.photos},
        "scores": blended(blend) or scores(run), "scored": scored(facts),
        "pictures": [] if len(blend.runs) > 1 else pictures(home, run),
        "extra": merged_extra(blend.runs), "options": options(run), "gradio": APP["gradio"],
        "unlike": UNLIKE,
        "versions": sorted((k, v) for k, v in facts.versions.items() if v), **told,
    }  # fmt: skip
    made = Environment(
        loader=PackageLoader("vlg_fastai.export", "standalone"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, autoescape=False,  # Markdown
    )  # fmt: skip
    text = made.get_template("card.md").render(values)
    (home / "README.md").write_text(text, encoding="utf-8", errors="backslashreplace")


def shares(blend):
    "What each of several runs counts, in words; [] of a single one."
    if len(blend.runs) < 2:
        return []
    pairs = zip(blend.runs, blend.shares, strict=True)
    return [
        f"{share:.2f} of {run.facts.arch} at {run.facts.view['size']} px" for run, share in pairs
    ]


def blended(blend):
    "[(name, figure)] of several runs: their blend on photos that none saw, and each alone."
    if len(blend.runs) < 2:
        return []
    judged = (blend.facts or {}).get("judged") or {}
    rows = [
        (f"accuracy of the {name}, judged on photos that no run saw", spanned(one))
        for name, one in judged.items()
        if isinstance(one, dict)  # others say which way was kept, and on how many photos
    ]
    alone = [
        (f"accuracy of {run.facts.arch} alone", spanned(vars(run.facts))) for run in blend.runs
    ]
    return rows + [(name, told) for name, told in alone if told]


def spanned(figures):
    "An accuracy with its interval; empty where there is none."
    if figures.get("accuracy") is None:
        return ""
    low, high = figures.get("accuracy_interval") or (None, None)
    span = "" if low is None else f" (95 %: {low:.3f} to {high:.3f})"
    return f"{figures['accuracy']:.4f}{span}"


def scores(run):
    "[(name, figure)] of a run."
    facts, rows = run.facts, []
    if facts.accuracy is not None:
        rows.append(("accuracy", spanned(vars(facts))))
    if facts.nested:
        rows.append(("accuracy, model selected without the photo", spanned(facts.nested)))
    rows += forecast(run)
    for name, value in (("macro-F1", facts.macro_f1), ("NLL", facts.nll),
                        ("expected calibration error", facts.ece)):  # fmt: skip
        if value is not None:
            rows.append((name, f"{value:.4f}"))
    return rows


def forecast(run):
    "The row of what predict.py last expected of `run` on its test photos; [] if of none."
    found = run.forecast
    if "accuracy_interval" not in found:
        return []
    low, high = found["accuracy_interval"]
    span = f"{found['accuracy']:.2f} (95 %: {low:.2f} to {high:.2f})"
    return [(f"accuracy expected on {found['photos']} unlabelled test photos", span)]


def scored(facts):
    "On what those figures were measured."
    if facts.folds:
        return "Out of fold: every photo predicted by a net that did not see it."
    if facts.is_probe:
        return "A linear probe: held-out photos predicted out of fold; the model itself saw all."
    return "On held-out photos; near-duplicates count once in the intervals."


def pictures(home, run):
    "[(file, words)] of the report pictures that are copied into the card."
    config = InterpretConfig(confusion=True, reliability=(10,), device="cpu")
    try:
        with muted():
            interpret(config, [run])
    except (UserError, OSError):  # no held-out photo; a run that may only be read
        return []
    found = [(run.reports / name, words) for name, words in PICTURES.items()]
    for path, _ in found:
        shutil.copyfile(path, home / path.name)
    return [(path.name, words) for path, words in found]


def options(run):
    "Options that differ from the defaults of train.py, without those that name places."
    asked, plain = read_json(run.path / "config.json"), vars(TrainConfig())
    return [
        flag(key, value)
        for key, value in asked.items()
        if key in plain and key not in PERSONAL and value not in (None, plain[key])
    ]


def flag(key, value):
    "An option as it is typed."
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value}"
