"""Show the runs that were compared on a page: verdict, table, intervals, curves."""

import colorsys
import os
from itertools import islice
from pathlib import Path

import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import drawable
from vlg_fastai.pages.charts import (
    FIRST,
    INK,
    SECOND,
    SOFT,
    axis,
    chart,
    line,
    literal,
    near_the_top,
)
from vlg_fastai.runs.files import read_csv
from vlg_fastai.runs.run import HISTORY

DRAWN = 40  # runs shown in a chart of intervals
CURVES = 10  # runs whose curves are overlaid: more cannot be told apart
DASHES = ("solid", "dash", "dot", "dashdot")  # colour alone does not tell them apart for everyone
COLOURS = {"best": INK, "reference": INK, "worse": SECOND, "better": FIRST}
CURVED = {"nll": "validation NLL", "accuracy": "validation accuracy"}  # columns of history.csv
FIRST_COLUMNS = ("run", "verdict")  # what a phone shows before it has to scroll


def values(cfg, parts, columns):
    "The values that the page template shows; parts: those of the terminal, with cells per row."
    shown, drawn = [], {}
    for i, one in enumerate(parts):
        pairs = zip(one["rows"], one["cells"], strict=True)
        rows = [{**linked(cfg, *pair), "place": k} for k, pair in enumerate(pairs)]
        shown.append({**one, "number": i, "rows": rows,
                      "best": one["rows"][0].run.words})  # fmt: skip
        if one["lines"]:  # runs that can be compared
            drawn[f"part{i}"] = forest(one["rows"], cfg.by)
            drawn |= {f"{key}{i}": made for key, made in curves(one["rows"]).items()}
    order = [*FIRST_COLUMNS, *(name for name in columns if name not in FIRST_COLUMNS)]
    return {"by": cfg.by, "parts": shown, "columns": order, "charts": drawn}


def linked(cfg, row, cells):
    "The cells of a row, a link to the page of its run if it exists, and the seconds to sort by."
    report = row.run.path / "reports" / "index.html"
    link = os.path.relpath(report, cfg.runs) if report.exists() else ""
    return {"cells": cells, "link": Path(link).as_posix() if link else "", "words": row.run.words,
            "seconds": row.seconds, "forecast": row.run.forecast.get("accuracy", "")}  # fmt: skip


def forest(made, by):
    "A chart of the runs' figures in table order, accuracies with their intervals."
    made = made[:DRAWN]
    figures = [row.figure for row in made]
    bars = {}
    if by == "accuracy":
        above = [row.interval[1] - row.accuracy for row in made]
        below = [row.accuracy - row.interval[0] for row in made]
        bars = {"error_x": {"type": "data", "array": above, "arrayminus": below, "color": SOFT,
                            "symmetric": False, "thickness": 1.5}}  # fmt: skip
    data = {
        "type": "scatter", "mode": "markers", "x": figures, "text": [row.verdict for row in made],
        "y": [named(row.run) for row in made], **bars,
        "marker": {"size": 10, "color": [COLOURS.get(row.verdict, SOFT) for row in made]},
        "hovertemplate": "%{y}<br>%{x:.4f}, %{text}<extra></extra>",
    }  # fmt: skip
    side = {"type": "category", "autorange": "reversed", "tickmode": "linear", "dtick": 1}
    return chart([data], 110 + 26 * len(made), xaxis=axis(by), yaxis=axis("", **side))


def named(run):
    return literal(drawable(run.path.name))


def curves(made):
    "{column of history.csv: chart of the runs that have epochs}; {} where none has two."
    there = ((row.run, history_of(row.run)) for row in made)
    found = list(islice((pair for pair in there if pair[1] is not None), CURVES))
    if not found:
        return {}
    return {key: overlaid(found, key, words) for key, words in CURVED.items()}


def history_of(run):
    "The epochs of `run` as numbers; None if there are fewer than two."
    try:
        table = read_csv(run.path / HISTORY).apply(pd.to_numeric, errors="coerce")
    except (UserError, OSError):
        return None
    return table if len(table) > 1 and {"epoch", *CURVED} <= set(table.columns) else None


def overlaid(found, key, words):
    data = []
    for i, (run, history) in enumerate(found):
        red, green, blue = colorsys.hls_to_rgb(i / len(found), 0.45, 0.7)
        colour = f"rgb({255 * red:.0f},{255 * green:.0f},{255 * blue:.0f})"
        style = {"color": colour, "width": 2, "dash": DASHES[i % len(DASHES)]}
        data.append(line(history["epoch"], history[key], named(run), colour, line=style))
    most = max(len(history) for _, history in found)
    across = axis("epoch", range=[0.5, most + 0.5], tick0=1, dtick=max(1, -(-most // 12)))
    values = [value for _, history in found for value in history[key].dropna()]
    ends = {"range": near_the_top(values)} if key == "accuracy" else {}
    return chart(data, 380, xaxis=across, yaxis=axis(words, **ends), showlegend=True,
                 legend={"orientation": "h", "y": -0.2, "yanchor": "top"})  # fmt: skip
