"""Compare finished runs: print a table of them, and write it as a page."""

import dataclasses
import os
from contextlib import suppress
from pathlib import Path

from vlg_fastai.compare import judged, paired
from vlg_fastai.compare.rows import SORTS, differing, rows
from vlg_fastai.config import UserError
from vlg_fastai.console import clock, console, drawable, say, show
from vlg_fastai.model.metrics import LOW
from vlg_fastai.pages import page
from vlg_fastai.pages.charts import FIRST, INK, SECOND, SOFT, axis, chart
from vlg_fastai.runs.facts import called
from vlg_fastai.runs.find import twins_among

COLUMNS = {  # name -> least terminal width at which it is shown
    "run": 0, "accuracy": 0, "95 %": 110, "verdict": 0, "vs the best": 0, " 95 %": 160, "p": 160,
    "NLL": 0, "time": 90, "photos/s": 120, "kept": 180, "options": 100,
}  # fmt: skip
ALONE = "not comparable"
DRAWN = 40  # runs shown in a chart
COLOURS = {"best": INK, "reference": INK, "worse": SECOND, "better": FIRST}


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
    path = page.write(cfg.runs / "index.html", "runs.html", **on_page(cfg, parts))
    say(f"next: open {path}")
    return path


def followed(chosen):
    "The metric by which the runs `chosen` selected their models, if they share one; else accuracy."
    asked = set()
    for run in chosen:
        with suppress(UserError):  # reported where the run is judged
            asked.add(run.config["metric"])
    return asked.pop() if len(asked) == 1 and not asked & set(LOW) else "accuracy"


def part(cfg, place, reference):
    "Title, sorted rows and notes of the table of runs that held out the same photos."
    inside = reference and any(run.path == reference.path for run in place.runs)
    made = rows(place, cfg.by, reference if inside else None)
    photos = place.right.shape[1]
    return {
        "title": f"{len(made)} runs on the same {photos} held-out photos",
        "rows": ordered(cfg, made),
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
    return [{"title": title, "rows": made, "lines": [], "other": "the best"}]


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
    for line in one["lines"]:
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
        "options": drawable(row.options),
        "kept": called(row.run.facts.model),
        "time": clock(row.seconds),
        "photos/s": f"{row.speed:.0f}" if row.speed else "",
    }


def on_page(cfg, parts):
    "The values that the page template shows."
    shown = [{**one, "rows": [linked(cfg, row) for row in one["rows"]]} for one in parts]
    drawn = [one for one in parts if one["lines"]]  # runs that can be compared
    charts = {f"part{i}": forest(one["rows"], cfg.by) for i, one in enumerate(drawn)}
    return {"by": cfg.by, "parts": shown, "columns": columns(cfg.by), "charts": charts}


def linked(cfg, row):
    "The cells of a row, a link to the page of its run if it exists, and the seconds to sort by."
    report = row.run.path / "reports" / "index.html"
    link = os.path.relpath(report, cfg.runs) if report.exists() else ""
    return {"cells": cells(cfg.by, row), "link": Path(link).as_posix() if link else "",
            "seconds": row.seconds}  # fmt: skip


def forest(made, by):
    "A chart of the runs' figures in table order, accuracies with their intervals."
    made = made[:DRAWN]
    values = [row.figure for row in made]
    bars = {}
    if by == "accuracy":
        above = [row.interval[1] - row.accuracy for row in made]
        below = [row.accuracy - row.interval[0] for row in made]
        bars = {"error_x": {"type": "data", "array": above, "arrayminus": below, "color": SOFT,
                            "symmetric": False, "thickness": 1}}  # fmt: skip
    data = {
        "type": "scatter", "mode": "markers", "x": values, "text": [row.verdict for row in made],
        "y": [drawable(row.run.path.name) for row in made], **bars,
        "marker": {"size": 9, "color": [COLOURS.get(row.verdict, SOFT) for row in made]},
        "hovertemplate": "%{y}<br>%{x:.4f}, %{text}<extra></extra>",
    }  # fmt: skip
    side = {"type": "category", "autorange": "reversed", "tickmode": "linear", "dtick": 1}
    return chart([data], 110 + 24 * len(made), xaxis=axis(by), yaxis=axis("", **side))
