"""Accuracy against time: what 20 seconds, 2, 5 and 15 minutes of training achieve on a test set.

    python benchmarks/budget.py CHALLENGE [CHALLENGE ...]     train/, test/, truth/test.csv
    python benchmarks/budget.py --recut DATA SEED             a challenge cut from DATA/train
    UNTIMED=1 python benchmarks/budget.py CHALLENGE ...       on a busy machine: record no seconds

Each of `PLANS` is one `train.py` command in its own process, with an empty cache, for each of
`SEEDS`; `predict.py` then predicts with the selected model, the probe and the fine-tuned net.
Truth is read only to score, never to choose anything. Rows are appended to benchmarks/budget.csv as
they come, and existing ones are not computed again; ends with the means and docs/budget.png.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from unseen import recut

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from vlg_fastai.config import UserError  # noqa: E402
from vlg_fastai.demo.score import score  # noqa: E402
from vlg_fastai.runs.find import find  # noqa: E402

ROWS, PLOT = Path(__file__).with_name("budget.csv"), ROOT / "docs/budget.png"
SEEDS = (42, 1, 2)
UNTIMED = bool(os.environ.get("UNTIMED"))
PLANS = {  # approximate time on two cores and 1,500 photos -> options
    "20 s": ["--epochs", "0"],
    "2 min": ["--recipe", "strong", "--epochs", "2"],
    "5 min": ["--recipe", "strong"],
    "15 min": ["--recipe", "strong", "--arch", "tf_efficientnet_lite1", "--epochs", "8"],
    "original, 20 epochs": ["--epochs", "20"],
}
MODELS = ("kept", "probe", "fine-tuned")


def main(challenges):
    with tempfile.TemporaryDirectory() as place:
        if challenges[0] == "--recut":
            data, seed = Path(challenges[1]), int(challenges[2])
            challenges = [recut(data, seed, named(Path(place) / f"{data.name}-cut{seed}"))]
        for challenge in map(Path, challenges):
            for seed in SEEDS:
                for plan, options in PLANS.items():
                    if not done(challenge, plan, seed):
                        add(measured(challenge, plan, seed, options))
    report(pd.read_csv(ROWS))


def named(folder):
    folder.mkdir()
    return folder


def done(challenge, plan, seed):
    rows = pd.read_csv(ROWS) if ROWS.exists() else pd.DataFrame(columns=["data", "plan", "seed"])
    mine = (rows["data"] == challenge.name) & (rows["plan"] == plan) & (rows["seed"] == seed)
    return mine.any()


def measured(challenge, plan, seed, options):
    "A row for each of `MODELS` that the run of `plan` holds."
    rows = []
    with tempfile.TemporaryDirectory() as place:
        there, cache = ["--runs", f"{place}/runs"], ["--cache", f"{place}/cache"]
        asked = ["--data", str(challenge), "--seed", str(seed), "--arch", "tf_efficientnet_lite0"]
        start = time.monotonic()
        run("train.py", *asked, *options, *there, *cache)
        seconds = time.monotonic() - start
        for model in MODELS:
            name = "1" if model == "kept" else f"1:{model}"
            try:
                (found,) = find(Path(place) / "runs", [name])
            except UserError:  # no net without epochs
                continue
            out = f"{place}/submission.csv"
            run("predict.py", "--run", name, "--out", out, "--no-forecast", *there, *cache)
            truth = challenge / "truth/test.csv"
            told = {key: round(v, 4) for key, v in score(out, truth).items() if v is not None}
            kept = find(Path(place) / "runs", ["1"])[0].facts.model
            took = None if UNTIMED else round(seconds, 1)
            rows.append({"data": challenge.name, "plan": plan, "seed": seed, "model": model,
                         "name": kept if model == "kept" else model, "seconds": took,
                         "held_out": round(found.facts.accuracy, 4), **told})  # fmt: skip
    return rows


def run(script, *options):
    command = [sys.executable, str(ROOT / script), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def add(rows):
    new = not ROWS.exists()
    columns = ["data", "plan", "seed", "model", "name", "seconds", "held_out", "all", "seen",
               "seen, undegraded", "seen, degraded", "unseen"]  # fmt: skip
    with ROWS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def report(rows):
    "Print means over seeds and challenges, and gains over the run's own probe of all photos."
    kept = rows[rows["model"] == "kept"]
    print(kept.pivot_table(index="data", columns="plan", values="seen")[known(kept)].round(4))
    print(kept.groupby("plan")["seconds"].mean().round(0)[known(kept)].to_string())
    keys = ["plan", "data", "seed"]
    both = [rows[rows["model"] == m].set_index(keys)["seen"] for m in MODELS]
    for name, one in (("kept", both[0]), ("fine-tuned", both[2])):
        for plan, gain in (one - both[1]).dropna().groupby("plan"):
            error = gain.std() / len(gain) ** 0.5
            print(f"{plan}, {name}: {gain.mean():+.4f} +- {error:.4f} over the probe ({len(gain)})")
    draw(kept)


def known(rows):
    return [plan for plan in PLANS if plan in set(rows["plan"])]


def draw(kept):
    "Plot each challenge's accuracy on the test's known classes against the plan's time."
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), dpi=130, layout="constrained")
    *plans, usual = PLANS
    for name, rows in kept.groupby("data"):
        means = rows.groupby("plan")["seen"].mean()
        there = [plan for plan in plans if plan in means]
        at = [plans.index(plan) for plan in there]  # not every row has its seconds
        (line,) = axes.plot(at, means[there], marker="o", label=name)
        axes.plot(len(plans), means.get(usual, float("nan")), "x", color=line.get_color())
    axes.set_xticks(range(len(PLANS)), [*plans, "original,\n20 epochs"])
    axes.set(xlabel="time on two cores, about", ylabel="accuracy, test photos of known classes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right", fontsize="small", ncols=2)
    figure.savefig(PLOT)


if __name__ == "__main__":
    main(sys.argv[1:])
