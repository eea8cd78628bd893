"""Write what a search found: best.json, verdict.json, trials.csv and a page."""

import json

import optuna
import pandas as pd

from vlg_fastai.cli import as_json
from vlg_fastai.console import clock, drawable, say, show
from vlg_fastai.pages import page
from vlg_fastai.pages.charts import FIRST, INK, LINE, SOFT, axis, chart, line, literal
from vlg_fastai.runs.files import write_csv, write_json
from vlg_fastai.tune.search import PARTS, STOPPED

BEST, TRIALS, PAGE, VERDICT = "best.json", "trials.csv", "index.html", "verdict.json"
OF_THE_MACHINE = {"cache", "cache_gb", "device", "precision", "workers", "runs"}
FEW = 5  # with fewer trials the page does not rank the options
DRAWN = 5  # options whose tried values are charted
SHOWN = 5  # trials in the table on the screen


def write_trials(cfg, search):
    "Write trials.csv, a row for each finished trial; returns the rows."
    rows = [row(trial, search) for trial in search.done()]
    cfg.out.mkdir(parents=True, exist_ok=True)
    columns = ["trial", "nll", "folds", "stopped", "seconds", *search.space]
    write_csv(cfg.out / TRIALS, pd.DataFrame(rows, columns=columns))
    return rows


def row(trial, search):
    "The row of a trial in trials.csv."
    return {
        "trial": trial.number, "nll": trial.value, "folds": len(trial.user_attrs.get(PARTS, [])),
        "stopped": STOPPED in trial.user_attrs,
        "seconds": round(trial.duration.total_seconds(), 1), **trial.params,
    }  # fmt: skip


def write(cfg, search, verdict):
    "Write best.json for `train.py --config`, the verdict and the page; the path of best.json."
    rows, path = write_trials(cfg, search), cfg.out / BEST
    write_json(path, options_of(search, verdict.options))
    write_json(cfg.out / VERDICT, facts(search, verdict))
    say_best(rows)
    page.write(cfg.out / PAGE, "tune.html", **on_page(cfg, search, verdict, rows))
    say(f"written: {path}, {cfg.out / VERDICT}, {cfg.out / TRIALS}, {cfg.out / PAGE}")
    say(f"next: python train.py --config {path}")
    return path


def options_of(search, values):
    "All options of train.py, with `values` for the searched ones."
    told = {**as_json(search.known.judge.prepared.cfg), **values, "name": "tuned"}
    return {key: value for key, value in told.items() if key not in OF_THE_MACHINE}


def facts(search, verdict):
    "What verdict.json holds."
    promised = search.mean(search.default) - search.whole()[0][0]
    values = {"default": search.default, "best": verdict.tried}
    return {
        "word": verdict.word, "words": verdict.in_words(), "gain": verdict.gain,
        "interval": verdict.interval, "photos": verdict.photos, "accuracies": verdict.accuracies,
        "expected": verdict.expected,  # gain on the splits that confirm
        "promised": promised,  # gain on the folds that the search itself saw
        "options": {name: options_of(search, one) for name, one in values.items()},
    }  # fmt: skip


def say_best(rows):
    "Show the best trials."
    best = sorted((one for one in rows if not one["stopped"]), key=lambda one: one["nll"])[:SHOWN]
    cells = [(one["trial"], f"{one['nll']:.4f}", clock(one["seconds"])) for one in best]
    show("best trials on their own folds, which overstate them",
         ["trial", "NLL", "time"], cells)  # fmt: skip


def on_page(cfg, search, verdict, rows):
    "The values that the page template shows."
    rows = sorted(rows, key=lambda one: one["nll"])
    return {
        "verdict": verdict, "words": verdict.in_words(), "rows": [cells(one) for one in rows],
        "columns": ["trial", "NLL", "folds", "time", *search.space], "folds": cfg.folds,
        "cost": clock(sum(one["seconds"] for one in rows)), "default": search.default,
        "best": {key: drawable(word(v)) for key, v in (verdict.tried or {}).items()},
        "shown": {key: drawable(word(v)) for key, v in search.default.items()},
        "charts": charts(search, rows),
    }  # fmt: skip


def cells(one):
    "{column: text} of a trial."
    options = {key: word(v) for key, v in one.items() if key not in ("nll", "stopped", "seconds")}
    stopped = " (stopped)" if one["stopped"] else ""
    return {**options, "folds": f"{one['folds']}{stopped}", "trial": one["trial"],
            "NLL": f"{one['nll']:.4f}", "time": clock(one["seconds"]), "stopped": one["stopped"],
            "seconds": one["seconds"]}  # fmt: skip


def word(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def charts(search, rows):
    "{name: chart}; Optuna computes which options mattered."
    found = {"history": history(sorted(rows, key=lambda one: one["trial"]))}
    if len(rows) < FEW:
        return found
    study = search.known.study
    try:
        matters = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):  # all trials have the same loss
        return found
    return {**found, "importance": importance(study), "slices": slices(study, [*matters][:DRAWN])}


def history(rows):
    "Loss of each trial, and the best so far of those judged on every fold."
    whole = [one for one in rows if not one["stopped"]]
    best = pd.Series([one["nll"] for one in whole], dtype=float).cummin()
    steps = {"mode": "lines", "line": {"color": INK, "width": 2, "shape": "hv"}}
    data = [
        dots(whole, "judged on every fold", FIRST),
        dots([one for one in rows if one["stopped"]], "stopped early", SOFT),
        line([one["trial"] for one in whole], best, "best so far", INK, **steps),
    ]
    return chart(
        data, 380, xaxis=axis("trial"), yaxis=axis("NLL, photos and degraded copies"),
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip


def dots(rows, name, colour):
    told = [literal(", ".join(f"{k} {word(v)}" for k, v in one.items()
                              if k not in ("trial", "nll"))) for one in rows]  # fmt: skip
    return {
        "type": "scatter", "mode": "markers", "name": name, "marker": {"color": colour, "size": 8},
        "x": [one["trial"] for one in rows], "y": [one["nll"] for one in rows],
        "text": told, "hovertemplate": "trial %{x}: %{y:.4f}<br>%{text}<extra></extra>",
    }  # fmt: skip


def importance(study):
    "How much each option mattered, by Optuna's fANOVA and in its chart."
    figure = json.loads(optuna.visualization.plot_param_importances(study).to_json())
    for one in figure["data"]:
        one["marker"] = {"color": FIRST}
    count, most = len(figure["data"][0]["y"]), max(figure["data"][0]["x"])
    return chart(figure["data"], 120 + 24 * count, showlegend=False,
                 xaxis=axis("share of the variation in NLL", range=[0, 1.25 * most]),
                 yaxis=axis("", tickmode="linear"))  # fmt: skip


def slices(study, names):
    "Tried values of the options `names` against the loss, in Optuna's chart."
    figure = json.loads(optuna.visualization.plot_slice(study, params=list(names)).to_json())
    for one in figure["data"]:
        one["marker"] = {"color": FIRST, "size": 6}
    sides = {key: side for key, side in figure["layout"].items() if key[1:5] == "axis"}
    for side in sides.values():
        if "title" in side and side["title"]["text"] == "Objective Value":
            side["title"]["text"] = "NLL"
        side.update({"gridcolor": LINE, "zeroline": False, "automargin": True,
                     "exponentformat": "e"})  # fmt: skip
    return chart(figure["data"], 320, showlegend=False, **sides)
