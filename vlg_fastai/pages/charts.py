"""Build the charts of the pages as Plotly JSON, with colours named after the page's variables.

A colour `var(--name)` is replaced by the page's CSS variable, so that charts follow its theme.
"""

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from vlg_fastai.console import counted
from vlg_fastai.runs.facts import PROBE, WARM

MOST_CLASSES = 100  # in a matrix; of more, those with the most mistakes are shown
BINS = 40
INK, SOFT, LINE = "var(--ink)", "var(--soft)", "var(--line)"
FIRST, SECOND, THIRD = "var(--first)", "var(--second)", "var(--third)"


def chart(data, height, **layout):
    "A Plotly figure as a dict; the page adds fonts and backgrounds."
    return {"data": data, "layout": {"height": height, **layout}}


def axis(title, **rest):
    return {
        "title": {"text": title, "standoff": 12}, "gridcolor": LINE, "zeroline": False,
        "automargin": True, **rest,
    }  # fmt: skip


def line(x, y, name, colour, **rest):
    return {
        "type": "scatter", "mode": "lines+markers", "x": _plain(x), "y": _plain(y), "name": name,
        "line": {"color": colour, "width": 2}, "marker": {"color": colour, "size": 5}, **rest,
    }  # fmt: skip


def curves(history, candidates, best_epoch):
    """{name: chart} of losses and of accuracy over epochs, with the models that need none as lines.

    candidates: rows {model, nll, accuracy}; best_epoch: the one that the kept model is of, or None.
    """
    epoch, dash = history["epoch"], {"color": SECOND, "width": 2, "dash": "dash"}
    losses = [
        line(epoch, history["train_loss"], "training loss, smoothed labels", FIRST),
        line(epoch, history["valid_loss"], "validation loss, smoothed labels", SECOND, line=dash),
        line(epoch, history["nll"], "validation NLL", THIRD),
    ]
    right = [line(epoch, history["accuracy"], "fine-tuned net", THIRD)]
    level = _levels(candidates, len(epoch))
    return {
        "losses": _curve([*losses, *level("nll")], "loss", len(epoch), best_epoch),
        "accuracies": _curve([*right, *level("accuracy")], "accuracy", len(epoch), best_epoch),
    }


def _levels(candidates, epochs):
    "A function: key of a figure -> level lines of the candidates that no epoch is part of."
    styles = {PROBE: (INK, "dot"), WARM: (SOFT, "dashdot")}
    ends = [0.5, epochs + 0.5]

    def level(key):
        return [
            line(ends, [row[key]] * 2, f"{row['model']} {row[key]:.3f}", styles[row["model"]][0],
                 mode="lines", hoverinfo="skip",
                 line={"color": styles[row["model"]][0], "width": 2,
                       "dash": styles[row["model"]][1]})
            for row in candidates if row["model"] in styles and row.get(key) is not None
        ]  # fmt: skip

    return level


def near_the_top(values):
    "[low, high] of an axis of accuracies: what matters lies near 1."
    return [max(0.0, 2 * min(values, default=0.0) - 1.02), 1.02]


def _curve(data, words, epochs, best_epoch):
    values = [y for one in data for y in one["y"] if y is not None]
    ends = near_the_top(values) if words == "accuracy" else [0, 1.06 * max(values, default=1)]
    across = axis("epoch", range=[0.5, epochs + 0.5], tick0=1, dtick=max(1, -(-epochs // 12)))
    return chart(
        data, 400, xaxis=across, yaxis=axis(words, range=ends), hovermode="x unified",
        shapes=[] if best_epoch is None else [_mark(best_epoch)],
        legend={"orientation": "h", "y": -0.2, "yanchor": "top"},
    )  # fmt: skip


def _mark(epoch):
    return {
        "type": "line", "x0": epoch, "x1": epoch, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": SOFT, "width": 1, "dash": "dot"},
        "label": {"text": f"epoch {epoch}", "font": {"color": SOFT, "size": 11},
                  "textposition": "end", "textangle": 0},
    }  # fmt: skip


def literal(name):
    "`name` escaped so that a chart shows it literally: Plotly would read `<b>` as bold."
    return name.replace("&", "&amp;").replace("<", "&lt;")


def drawn(counts):
    "Numbers of the classes that a matrix shows; of too many, those with the most mistakes."
    wrong = counts - np.diag(np.diag(counts))
    worst = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
    return np.sort(worst[:MOST_CLASSES])


def orders(counts):
    "{words: class numbers in that order}, of the classes that a matrix shows."
    kept = drawn(counts)  # ordering all of 1,000 classes would take minutes
    counts = counts[np.ix_(kept, kept)]
    recall = np.diag(counts) / np.maximum(counts.sum(1), 1)
    found = {
        "in folder order": np.arange(len(kept)),
        "by similarity": similar(counts),
        "worst first": np.argsort(recall, kind="stable"),
    }
    return {words: kept[order].tolist() for words, order in found.items()}


def similar(counts):
    "Class numbers, ordered so that classes confused with each other lie side by side."
    if len(counts) < 3:
        return np.arange(len(counts))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    near = (share + share.T) / 2
    apart = 1 - near / max(near.max(), 1e-9)
    np.fill_diagonal(apart, 0)
    return leaves_list(linkage(squareform(apart), "average", optimal_ordering=True))


def reliability(table):
    "Accuracy over confidence with 95 % intervals, above the number of photos per bin."
    above, below = table["high"] - table["accuracy"], table["accuracy"] - table["low"]
    told = [counted(n) for n in table["photos"]]
    diagonal = {"line": {"color": SOFT, "width": 1, "dash": "dash"}, "mode": "lines"}
    data = [
        line([0, 1], [0, 1], "perfectly calibrated", SOFT, hoverinfo="skip", **diagonal),
        line(
            table["confidence"], table["accuracy"], "accuracy", FIRST, text=told,
            error_y={"type": "data", "array": _plain(above), "arrayminus": _plain(below),
                     "symmetric": False, "color": FIRST, "thickness": 1},
            hovertemplate="confidence %{x:.2f}<br>accuracy %{y:.2f}<br>%{text}<extra></extra>",
        ),
        {
            "type": "bar", "x": _plain((table["from"] + table["to"]) / 2), "yaxis": "y2",
            "y": _plain(table["photos"]), "width": _plain((table["to"] - table["from"]) * 0.9),
            "marker": {"color": FIRST}, "name": "photos",
        },
    ]  # fmt: skip
    return chart(
        data, 420, xaxis=axis("confidence", range=[0, 1], anchor="y2"), showlegend=False,
        yaxis=axis("accuracy", range=[0, 1.05], domain=[0.32, 1]),
        yaxis2=axis("photos", domain=[0, 0.24]),
    )  # fmt: skip


def likeness(evidence):
    "Likeness to the known classes as densities: known photos, held-out classes, test photos."
    sides = {
        "known classes, out of fold": (evidence.known[:, 0], FIRST, "solid"),
        "classes held out in turn": (evidence.pseudo[:, 0], SECOND, "dash"),
        "test": (evidence.test[:, 0], INK, "solid"),
    }
    low, high = np.quantile(np.concatenate([side[0] for side in sides.values()]), (0.002, 0.998))
    edges = np.linspace(low, high, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    data = []
    for name, (values, colour, dash) in sides.items():
        density, _ = np.histogram(np.clip(values, low, high), edges, density=True)
        style = {"color": colour, "width": 2, "dash": dash, "shape": "hvh"}
        words = f"{name} ({len(values)})"
        data.append(line(middles, density, words, colour, line=style, mode="lines"))
    return chart(
        data, 380, xaxis=axis("likeness to a class (relative Mahalanobis)"),
        yaxis=axis("density", rangemode="tozero"), hovermode="x",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip


def _plain(values):
    "Numbers as JSON can hold them; NaN and infinity become null."
    rows = np.asarray(values, dtype=float)
    if rows.ndim > 1:
        return [_plain(row) for row in rows]
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in rows]
