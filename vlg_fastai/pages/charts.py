"""Build the charts of the pages as Plotly JSON, with colours named after the page's variables.

A colour `var(--name)` is replaced by the page's CSS variable, so that charts follow its theme.
"""

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

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


def curves(history, best_epoch):
    "Losses and accuracy over epochs, one above the other; the best epoch is marked."
    epoch = history["epoch"]
    dash = {"color": SECOND, "width": 2, "dash": "dash"}
    data = [
        line(epoch, history["train_loss"], "train loss (smoothed labels)", FIRST),
        line(epoch, history["valid_loss"], "validation loss (smoothed labels)", SECOND, line=dash),
        line(epoch, history["nll"], "validation NLL, calibrated", THIRD),
        line(epoch, history["accuracy"], "validation accuracy", INK, yaxis="y2"),
    ]
    marks = [] if best_epoch is None else [_mark(best_epoch)]
    return chart(
        data, 480, xaxis=axis("epoch", dtick=max(1, len(epoch) // 12), anchor="y2"),
        yaxis=axis("loss", domain=[0.45, 1], rangemode="tozero"),
        yaxis2=axis("accuracy", domain=[0, 0.35]), shapes=marks, hovermode="x unified",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip


def _mark(epoch):
    return {
        "type": "line", "x0": epoch, "x1": epoch, "y0": 0, "y1": 1, "yref": "paper",
        "line": {"color": SOFT, "width": 1, "dash": "dot"},
        "label": {"text": "best", "font": {"color": SOFT, "size": 11}, "textposition": "end",
                  "textangle": 0},
    }  # fmt: skip


def literal(name):
    "`name` escaped so that a chart shows it literally: Plotly would read `<b>` as bold."
    return name.replace("&", "&amp;").replace("<", "&lt;")


def confusion(counts, classes):
    """The matrix as two heat maps, correct predictions and mistakes, each with its own colours.

    counts: (n, n), rows are the truth. At most `MOST_CLASSES`, those with the most mistakes.
    """
    kept = drawn(counts)
    names = [literal(classes[i]) for i in kept]
    part = counts[np.ix_(kept, kept)]
    right = np.eye(len(kept), dtype=bool)
    data = [
        _heat(names, part, counts[kept].sum(1), shown & (part > 0), colour)
        for shown, colour in ((right, "var(--right)"), (~right, "var(--wrong)"))
    ]
    side = {"type": "category", "showgrid": False, "tickmode": "linear", "dtick": 1}
    across = axis("prediction", **side, side="top", tickangle=-90)
    down = axis("label", **side, autorange="reversed")
    high = max(320, 20 * len(names) + 160)
    return chart(data, high, xaxis=across, yaxis=down, plot_bgcolor="var(--card)")


def _heat(names, counts, of, shown, colour):
    share = counts / np.maximum(of, 1)[:, None]
    told = [
        [f"{counts[t, p]} of {of[t]} {name}" if shown[t, p] else "" for p in range(len(names))]
        for t, name in enumerate(names)
    ]
    z = np.where(shown, share, np.nan)
    return {
        "type": "heatmap", "x": names, "y": names, "z": _plain(z), "zmin": 0, "zmax": 1,
        "text": np.where(shown, counts.astype(str), "").tolist(), "texttemplate": "%{text}",
        "textfont": {"color": INK},
        "customdata": told, "hoverongaps": False, "showscale": False, "xgap": 1, "ygap": 1,
        "colorscale": [[0, colour.replace(")", "-pale)")], [1, colour]],
        "hovertemplate": "%{customdata}<br>predicted as %{x}<extra></extra>",
    }  # fmt: skip


def drawn(counts):
    "Numbers of the classes that a matrix shows; of too many, those with the most mistakes."
    wrong = counts - np.diag(np.diag(counts))
    worst = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
    return np.sort(worst[:MOST_CLASSES])


def orders(counts, classes):
    "{words: class names in that order}, for both sides of the matrix, escaped as there."
    kept = drawn(counts)  # ordering all of 1,000 classes would take minutes
    counts, classes = counts[np.ix_(kept, kept)], [classes[i] for i in kept]
    recall = np.diag(counts) / np.maximum(counts.sum(1), 1)
    found = {
        "in folder order": range(len(classes)),
        "by similarity": similar(counts),
        "worst first": np.argsort(recall, kind="stable"),
    }
    return {words: [literal(classes[i]) for i in order] for words, order in found.items()}


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
    told = [f"{n} photos" for n in table["photos"]]
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
        data, 380, xaxis=axis("likeness to the nearest class (relative Mahalanobis)"),
        yaxis=axis("density", rangemode="tozero"), hovermode="x",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip


def _plain(values):
    "Numbers as JSON can hold them; NaN and infinity become null."
    rows = np.asarray(values, dtype=float)
    if rows.ndim > 1:
        return [_plain(row) for row in rows]
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in rows]
