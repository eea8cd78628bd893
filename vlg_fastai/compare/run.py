"""Compare finished runs: print a table of them, and write it as a page."""

import dataclasses
from contextlib import suppress

from vlg_fastai.compare import judged, onpage, paired
from vlg_fastai.compare.rows import SORTS, differing, in_words, rows
from vlg_fastai.config import UserError
from vlg_fastai.console import clock, console, drawable, say, show
from vlg_fastai.model.metrics import LOW
from vlg_fastai.pages import page
from vlg_fastai.runs.facts import called
from vlg_fastai.runs.find import twins_among

COLUMNS = {  # name -> least terminal width at which it is shown
    "run": 0, "accuracy": 0, "95 %": 110, "verdict": 0, "vs the best": 0, " 95 %": 160, "p": 160,
    "NLL": 0, "forecast": 190, "time": 90, "photos/s": 120, "MB": 160, "kept": 180, "options": 100,
}  # fmt: skip
ALONE = "not comparable"


def compare(cfg, chosen, reference):
    "Print how the runs `chosen` compare with `reference` or the best; write index.html, its path."
    cfg = dataclasses.replace(cfg, by=cfg.by or followed(chosen))
    found = judged.together(judged.judge_all(chosen, cfg.by))
    if not found:
        raise UserError(f"--runs {cfg.runs}: no finished run there held out any photos")
    parts = [part(cfg, place, reference) for place in found if len(place.runs) > 1]
    parts += lonely(cfg, [place for place in found if len(place.runs) == 1])
    for one in parts:
        say_part(cfg.by, one)
        if reference and one["lines"] and one["other"] == "the best":
            say(f"--against {reference.path.name}: not among these runs; compared with the best")
    names = columns(cfg.by)
    told = [{**one, "cells": [cells(cfg.by, row) for row in one["rows"]]} for one in parts]
    path = page.write(cfg.runs / "index.html", "runs.html", **onpage.values(cfg, told, names))
    say(f"next: open {path}")
    return path


def followed(chosen):
    """The metric that the runs `chosen` name by --metric, if they share one; else accuracy.

    Unless another is named, models are selected by NLL, which is nobody's contest: log_loss is.
    """
    asked = set()
    for run in chosen:
        with suppress(UserError):  # reported where the run is judged
            asked.add(run.config["metric"])
    named = asked.pop() if len(asked) == 1 else None
    return {None: "accuracy", "nll": "accuracy", "log_loss": "nll"}.get(named, named)


def part(cfg, place, reference):
    "Title, sorted rows and notes of the table of runs that held out the same photos."
    inside = reference and any(run.path == reference.path for run in place.runs)
    made = rows(place, cfg.by, reference if inside else None)
    photos = place.right.shape[1]
    return {
        "title": f"{len(made)} runs on the same {photos} held-out photos",
        "rows": ordered(cfg, made),
        "verdict": in_words(made, cfg.by),
        "lines": [
            choosing(cfg.by, made, paired.of_choosing(-place.deciding, place.groups)),
            *alike(place.runs),
        ],
        "other": reference.path.name if inside else "the best",
    }


def alike(runs):
    "A line for each run that holds the same model as another: equal scores then mean nothing."
    return [
        f"{runs[i].path.name} holds the same model as {runs[k].path.name}"
        for i, k in twins_among(runs).items()
    ]


def lonely(cfg, places):
    "The same for runs that share their held-out photos with no other run; [] if there are none."
    if not places:
        return []
    places = sorted(places, key=lambda place: place.runs[0].number)  # by score: a comparison
    told = differing([place.runs[0].config for place in places])
    made = [
        dataclasses.replace(rows(place, cfg.by)[0], verdict=ALONE, options=options)
        for place, options in zip(places, told, strict=True)
    ]
    title = "runs whose held-out photos no other run shares: never compare their scores"
    return [{"title": title, "rows": made, "verdict": "", "lines": [], "other": "the best"}]


def ordered(cfg, made):
    return sorted(made, key=lambda row: (SORTS[cfg.sort](row, cfg.by), row.run.number))


def choosing(by, made, expected):
    "A line on the best run's luck; expected: mean score (minus loss) of the run others select."
    best = min(row.figure for row in made) if by in LOW else max(row.figure for row in made)
    told = -expected if by in LOW else 1 + expected
    return (
        f"the best of {len(made)} runs has {by} {best:.3f}; selected on some photos and scored on"
        f" others, the best has {told:.3f}: expect the latter"
    )


def columns(by):
    "`COLUMNS`, plus one for the figure `by` where they lack it."
    return COLUMNS if by in ("accuracy", "nll") else {"run": 0, by: 0, **COLUMNS}


def say_part(by, one):
    kept = [name for name, least in columns(by).items() if console.width >= least]
    told = [cells(by, row) for row in one["rows"]]
    names = [name.replace("the best", one["other"]).strip() for name in kept]
    show(one["title"], names, [[row[name] for name in kept] for row in told])
    for line in filter(None, [one["verdict"], *one["lines"]]):
        say(line)


def cells(by, row):
    "{column: text} of a row."
    low, high = row.interval
    less, more = row.likely
    compared = row.verdict in ("better", "worse", "cannot tell")
    return {
        by: f"{row.figure:.4f}",
        "run": drawable(row.run.path.name),
        "accuracy": f"{row.accuracy:.4f}",
        "95 %": f"{low:.3f} to {high:.3f}",
        "verdict": row.verdict,
        "vs the best": f"{row.difference:+.4f}" if compared else "",
        " 95 %": f"{less:+.3f} to {more:+.3f}" if compared else "",
        "p": f"{max(row.p, 0.001):.3f}" if compared else "",
        "NLL": f"{row.nll:.4f}",
        "forecast": foretold(row.run.forecast),
        "MB": f"{row.run.megabytes:.0f}" if row.run.megabytes else "",
        "options": drawable(row.options),
        "kept": called(row.run.facts.model),
        "time": clock(row.seconds),
        "photos/s": f"{row.speed:.0f}" if row.speed else "",
    }


def foretold(forecast):
    "The accuracy that predict.py expected of the test, with its interval."
    if not forecast:
        return ""
    return "{:.2f} ({:.2f} to {:.2f})".format(forecast["accuracy"], *forecast["accuracy_interval"])
