"""Write a model card, README.md, from the facts of a run."""

import shutil

from jinja2 import Environment, PackageLoader, StrictUndefined

from vlg_fastai.config import InterpretConfig, PredictConfig, TrainConfig, UserError
from vlg_fastai.console import muted
from vlg_fastai.export.likeness import UNLIKE
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.files import read_json

# versions that were tried together; gradio needs a pillow that is older than ours may be
APP = {"gradio": "6.31.0", "numpy": "2.4.6", "onnxruntime": "1.32.0", "pillow": "12.3.0"}
PICTURES = {"confusion.png": "Confusion matrix of the held-out photos",
            "reliability.png": "Accuracy by confidence, held-out photos"}  # fmt: skip
PERSONAL = {"data", "runs", "weights", "cache", "decisions", "labels", "photos", "config", "name",
            "wandb", "device", "devices", "workers", "cache_gb", "tensorboard"}  # fmt: skip


def write(home, run, told):
    "Write README.md from the facts of `run` and what the export `told` ({name: value})."
    facts = run.facts
    values = {
        "classes": facts.classes, "arch": facts.arch,
        "photos": {"train": 0, "valid": 0, **facts.photos},
        "scores": scores(run), "scored": scored(facts), "pictures": pictures(home, run),
        "options": options(run), "gradio": APP["gradio"], "unlike": UNLIKE,
        "versions": sorted((k, v) for k, v in facts.versions.items() if v), **told,
    }  # fmt: skip
    made = Environment(
        loader=PackageLoader("vlg_fastai.export", "standalone"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, autoescape=False,  # Markdown
    )  # fmt: skip
    text = made.get_template("card.md").render(values)
    (home / "README.md").write_text(text, encoding="utf-8")


def scores(run):
    "[(name, figure)] of a run."
    facts, rows = run.facts, []
    if facts.accuracy is not None:
        low, high = facts.accuracy_interval or (None, None)
        span = "" if low is None else f" (95 %: {low:.3f} to {high:.3f})"
        rows.append(("accuracy", f"{facts.accuracy:.4f}{span}"))
    if facts.nested:
        low, high = facts.nested["accuracy_interval"]
        span = f"{facts.nested['accuracy']:.4f} (95 %: {low:.3f} to {high:.3f})"
        rows.append(("accuracy, model selected without the photo", span))
    rows += forecast(run)
    for name, value in (("macro-F1", facts.macro_f1), ("NLL", facts.nll),
                        ("expected calibration error", facts.ece)):  # fmt: skip
        if value is not None:
            rows.append((name, f"{value:.4f}"))
    return rows


def forecast(run):
    "The row of what predict.py expects on its test photos, where its forecast.json is of `run`."
    path = PredictConfig().out.with_name("forecast.json")
    try:
        told = read_json(path)
        found = told["forecast"] if told["run"] == run.path.name else {}
        low, high = found["accuracy_interval"]
    except (UserError, KeyError, TypeError):
        return []
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
    except UserError:  # no held-out photo
        return []
    found = [(run.reports / name, words) for name, words in PICTURES.items()]
    for path, _ in found:
        shutil.copyfile(path, home / path.name)
    return [(path.name, words) for path, words in found]


def options(run):
    "[(option, value)] that differ from the defaults of train.py and are nobody's business."
    asked, plain = read_json(run.path / "config.json"), vars(TrainConfig())
    return [
        (f"--{key.replace('_', '-')}", value)
        for key, value in asked.items()
        if key in plain and key not in PERSONAL and value not in (None, plain[key])
    ]
