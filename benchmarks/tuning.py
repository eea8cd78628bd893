"""How much a search helps: false verdicts, cost of kills, gain and harm on tests that none saw.

    python benchmarks/tuning.py null [STUDIES]    equal options: how often one is called better
    python benchmarks/tuning.py kills [KILLS]     two processes share a study, one is killed
    python benchmarks/tuning.py gain CHALLENGE SEED TRIALS [SAMPLER] [-- options of tune.py]

`null` and `kills` fit no nets: losses are simulated, with the noise of photos and of fits that nets
have. `gain` resumes where it was stopped, and appends to benchmarks/tuning.csv the verdict of the
search and the test scores of the best options, of the defaults and of the bare probe (train/,
test/, truth/test.csv).
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlg_fastai.tune import run, study, verdict
from vlg_fastai.tune.judge import Scored
from vlg_fastai.tune.known import Known, name_of
from vlg_fastai.tune.options import TuneConfig
from vlg_fastai.tune.search import Search
from vlg_fastai.tune.space import SPACE, nearest

ROOT = Path(__file__).parents[1]
FITS = 0.02, 0.05  # nats, standard deviations of the loss of equal fits; measured: 0.01 to 0.03
PHOTOS = 400
COLUMNS = [
    "data", "seed", "sampler", "trials", "verdict", "said", "low", "high", "expected", "promised",
    "test_gain", "test_error", "accuracy_default", "accuracy_best", "seconds",
    "nll_default", "nll_probe", "accuracy_probe",
]  # fmt: skip


class Drawn:
    "A judge with simulated losses: `effect` of options, hard photos, noise of photos and fits."

    def __init__(self, seed, fits, effect=lambda options: 0.0, log=None, pause=0.0):
        self.seed, self.fits, self.effect, self.log, self.pause = seed, fits, effect, log, pause

    def groups(self, part):
        return np.arange(PHOTOS)

    def answer(self, options, part):
        asked = f"{json.dumps(options, sort_keys=True)} {part}"
        hard = np.random.default_rng((self.seed, zlib.crc32(repr(part).encode())))
        own = np.random.default_rng((self.seed, zlib.crc32(asked.encode())))
        time.sleep(self.pause)
        noise = own.normal(0, 0.4, PHOTOS) + own.normal(0, self.fits)
        losses = hard.exponential(0.6, PHOTOS) + self.effect(options) + noise
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{asked}\n")
        return Scored(losses, 0.9, self.pause)


def searched(judge, folder, trials, seed, sampler="tpe"):
    cfg = TuneConfig(out=folder, trials=trials, seed=seed, sampler=sampler)
    opened = study.opened(cfg, {"drawn": seed})
    default = nearest({name: _middle(one) for name, one in SPACE.items()}, SPACE)
    made = Search(SPACE, default, Known(opened, judge), cfg.folds, seed)
    study.enqueue(opened, [default])
    run.one_by_one(cfg, made)
    return made


def _middle(one):
    return one.values[0] if hasattr(one, "values") else (one.low * one.high) ** 0.5


def null(studies=200, trials=20):
    "Search among equal options: every verdict of better is a mistake."
    for fits in FITS:
        words, promised = Counter(), []
        for seed in range(studies):
            with tempfile.TemporaryDirectory() as folder:
                made = searched(Drawn(seed, fits), Path(folder), trials, seed, "random")
                words[verdict.last_word(made).word] += 1
                promised.append(made.mean(made.default) - made.whole()[0][0])
        share = words["better"] / studies
        print(f"fits differ by {fits}: {dict(words)}; better: {share:.3f}; the best of {trials}"
              f" looks {np.mean(promised):.3f} better than the defaults", flush=True)  # fmt: skip


def kills(count=50):
    "Two processes share a study; one is killed at a random moment and started again."
    rng, told = random.Random(0), np.zeros(3, int)
    for number in range(1, count + 1):
        with tempfile.TemporaryDirectory() as folder:
            told += _killed(Path(folder), number, rng.uniform(0.3, 2.5))
        lost, twice, fits = told
        print(f"{number} kills, {fits} folds: {lost} finished ones lost, {twice} fitted twice",
              flush=True)  # fmt: skip


def _killed(folder, number, after):
    "(finished folds that are lost, finished folds that were fitted again, all folds)."
    command = [sys.executable, __file__, "work", str(folder), str(number)]
    given = {"stdout": subprocess.DEVNULL, "start_new_session": True}
    one, other = (subprocess.Popen(command, **given) for _ in range(2))
    while not (folder / "fits.log").exists():
        time.sleep(0.05)
    time.sleep(after)
    os.killpg(one.pid, signal.SIGKILL)
    one.wait()
    before = _kept(folder)
    again = subprocess.Popen(command, **given)
    if again.wait(300) or other.wait(300):
        raise SystemExit(f"{folder}: a process failed")
    asked = Counter((folder / "fits.log").read_text().splitlines())
    kept = _kept(folder)
    late = sum(count - 1 for name, count in asked.items() if _name(name) in before and count > 1)
    return len(before - kept), late, sum(asked.values())


def _kept(folder):
    "Keys of the folds that the study holds."
    import optuna

    cfg = TuneConfig(out=folder)
    opened = optuna.load_study(study_name=study.NAME, storage=study.storage_of(cfg))
    return {name for name in opened.user_attrs if name != study.ABOUT}


def _name(asked):
    text, part = asked.rsplit(" (", 1)
    kind, number = part.rstrip(")").split(", ")
    return name_of(json.loads(text), (kind.strip("'"), int(number)))


def work(folder, seed):
    "One of the processes of `kills`."
    study.EVERY, study.PAUSE = 1.0, 0.5  # for fits of a twentieth of a second
    folder = Path(folder)
    judge = Drawn(int(seed), 0.02, log=folder / "fits.log", pause=0.05)
    searched(judge, folder, 12, int(seed), "random")


def gain(challenge, seed, trials, sampler="tpe", *more):
    "Search on photos, and score its best options and the defaults on the test."
    challenge, start = Path(challenge), time.monotonic()
    out = ROOT / "runs-tuning" / f"{challenge.name}-{seed}-{sampler}"
    given = ["--data", challenge, "--out", out, "--seed", seed, "--trials", trials]
    _script("tune.py", *given, "--sampler", sampler, *(one for one in more if one != "--"))
    seconds = time.monotonic() - start
    told = json.loads((out / "verdict.json").read_text())
    losses, right = {}, {}
    for name in ("default", "best"):
        losses[name], right[name] = tested(challenge, out, name, told["options"][name])
    losses["probe"], right["probe"] = tested(challenge, out, "probe", told["options"]["default"])
    less = losses["default"] - losses["best"]
    low, high = told["interval"] or ("", "")
    row = [
        challenge.name, seed, sampler, trials, told["word"], told["gain"], low, high,
        told["expected"], told["promised"], less.mean(), less.std(ddof=1) / len(less) ** 0.5,
        right["default"].mean(), right["best"].mean(), round(seconds),
        losses["default"].mean(), losses["probe"].mean(), right["probe"].mean(),
    ]  # fmt: skip
    path = ROOT / "benchmarks/tuning.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        rounded = [round(v, 5) if isinstance(v, float) else v for v in row]
        csv.writer(file).writerows([COLUMNS, rounded] if new else [rounded])
    print(dict(zip(COLUMNS, row, strict=True)))


def tested(challenge, out, name, options):
    "(losses, right) on test photos of known classes, of a fine-tuned net or of a bare probe."
    config, runs = out / f"{name}.json", out / f"runs-{name}"
    config.write_text(json.dumps(options))
    kind = ["--epochs", 0] if name == "probe" else ["--no-probe", "--choose", "clean"]
    if not list(runs.glob("*/facts.json")):
        _script("train.py", "--config", config, "--runs", runs, *kind)
    home = next(runs.glob("*/facts.json")).parent
    chosen = home if name == "probe" else f"{home}:fine-tuned"
    _script("predict.py", "--runs", runs, "--run", chosen, "--out", runs / "s.csv", "--no-forecast")
    said = pd.read_csv(runs / "probabilities.csv").set_index("file")
    truth = pd.read_csv(challenge / "truth/test.csv").set_index("Id")
    known = truth.index[truth["unseen"] == 0]
    classes = json.loads((home / "facts.json").read_text())["classes"]
    probs = said.loc[known, classes].to_numpy()
    y = np.array([classes.index(label) for label in truth.loc[known, "Category"]])
    own = probs[np.arange(len(y)), y]
    return -np.log(np.maximum(own, 1e-12)), probs.argmax(1) == y


def _script(script, *options):
    subprocess.run([sys.executable, ROOT / script, *map(str, options)], check=True)


MODES = {"null": null, "kills": kills, "work": work, "gain": gain}


def main(argv):
    if not argv or argv[0] not in MODES:
        raise SystemExit(__doc__)
    MODES[argv[0]](*(int(one) if one.isdigit() and argv[0] != "gain" else one for one in argv[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
