"""Draw how the features of test photos compare with known and held-out classes."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vlg_fastai.console import drawable
from vlg_fastai.data.neighbours import unit
from vlg_fastai.pages import sheet
from vlg_fastai.runs.files import replacing, write_csv
from vlg_fastai.unseen.evidence import SCORES

MOST = 18  # photos by default
LARGEST = 300  # photos; no viewer opens a taller picture
NEAREST = 2  # training photos beside each
BINS = 32
WORDS = {
    "likeness": "likeness to the nearest class (relative Mahalanobis)",
    "certainty": "certainty of the probe (calibrated maximum probability)",
}
# known, held-out classes, test, test without its shared offset
SIDES = (("#0072B2", "-"), ("#D55E00", "--"), ("#222222", "-"), ("#222222", ":"))
NAMES = (
    "known classes, out of fold", "classes held out in turn", "test",
    "test, without its shared offset",
)  # fmt: skip


def write(inputs, count):
    "Write unlike.png (histograms), unlike_photos.png and unlike.csv; return their paths."
    run_features, folder = inputs.run_features, inputs.folder
    histograms, pictures = folder / "unlike.png", folder / "unlike_photos.png"
    draw(run_features.evidence, run_features.moved_evidence, histograms)
    table, nearest = most_unlike(run_features, min(count, LARGEST))
    write_csv(folder / "unlike.csv", table)
    cells = [
        cell(run_features, row, near) for row, near in zip(table.itertuples(), nearest, strict=True)
    ]
    sheet.draw(cells, pictures, title="test photos least like any class | nearest training photos")
    return [histograms, pictures, folder / "unlike.csv"]


def draw(evidence, moved, path):
    """Draw each score for known photos out of fold, classes held out in turn, and test photos.

    Where the two test lines diverge, its photos have a style or domain shift against training;
    what stays low in both is of unseen classes, or shifted in its own way.
    """
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    for i, (score, axes) in enumerate(zip(SCORES, figure.subplots(1, 2), strict=True)):
        sides = [evidence.known[:, i], evidence.pseudo[:, i], evidence.test[:, i], moved.test[:, i]]
        low, high = np.quantile(np.concatenate(sides), (0.002, 0.998))
        edges = np.linspace(low, high, BINS)
        for values, name, (colour, line) in zip(sides, NAMES, SIDES, strict=True):
            inside, label = np.clip(values, low, high), f"{name} ({len(values)})"
            style = {"color": colour, "linestyle": line, "linewidth": 1.6}
            axes.hist(inside, edges, density=True, histtype="step", label=label, **style)
        found = np.mean(evidence.auroc(score))
        axes.set_title(f"AUROC on held-out classes {found:.3f}", fontsize=11)
        axes.set(xlabel=WORDS[score], ylabel="density")
        if score == "certainty":
            axes.set_yscale("log")  # nearly all known photos are in the last bin
        else:
            axes.axvline(evidence.threshold(), color="#8c8c8c", linewidth=1)
            axes.set_ylim(top=1.12 * axes.get_ylim()[1])
            axes.annotate(" 95 % of known photos", (evidence.threshold(), axes.get_ylim()[1]),
                          va="top", fontsize=8, color="#555555")  # fmt: skip
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    with replacing(path) as beside:
        figure.savefig(beside)


def most_unlike(run_features, count):
    "(table of the `count` most unlike test photos, rows (count, NEAREST) of labelled photos)."
    likeness, certainty = run_features.evidence.test.T
    worst = np.argsort(likeness, kind="stable")[:count]
    near = unit(run_features.test[worst]) @ unit(run_features.labelled.x).T
    order, groups = np.argsort(-near, axis=1, kind="stable"), run_features.labelled.groups
    nearest = np.stack([different(row, groups) for row in order])
    labels = run_features.shown["label"].to_numpy()[nearest]
    table = pd.DataFrame(
        {
            "file": run_features.asked["file"].to_numpy()[worst],
            "likeness": likeness[worst],
            "likeness_moved": run_features.moved_evidence.test[worst, 0],
            "certainty": certainty[worst],
            "nearest": [", ".join(row) for row in labels],
            "path": run_features.asked["path"].to_numpy()[worst],
        }
    )
    return table, nearest


def different(rows, groups):
    "The first `NEAREST` of `rows` that are not near-duplicates of each other."
    few = rows[: 20 * NEAREST]
    first = np.sort(np.unique(groups[few], return_index=True)[1])
    return np.resize(few[first], NEAREST)


def cell(run_features, row, nearest):
    "The test photo beside its nearest training photos."
    photos = [row.path, *run_features.shown["path"].iloc[nearest]]
    alike = f"likeness {row.likeness:.1f}, without the shared offset {row.likeness_moved:.1f}"
    lines = [row.file, alike, f"nearest: {drawable(row.nearest)}"]
    return sheet.Cell([sheet.thumbnail(path) for path in photos], lines)
