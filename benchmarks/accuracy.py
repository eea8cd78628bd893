"""Does the fast path cost accuracy? Ours and plain fastai on the same challenge, over seeds.

    python benchmarks/accuracy.py CHALLENGE SEEDS EPOCHS SIZE    a generated one: its truth is read

The same recipe, bundled net and batch size on both sides: ours in the machine's precision, from
decoded photos, without probe and warm start. Each seed has its own random split. Prints the
accuracy on test photos of the classes trained on.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from vlg_fastai.data.images import readable  # noqa: E402
from vlg_fastai.demo.score import score  # noqa: E402

WHAT = ("seen", "seen, undegraded")


def call(*command):
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])


def ours(data, seed, epochs, size, out):
    place = ["--data", data, "--runs", out.parent / "runs"]
    recipe = ["--arch", "tf_efficientnet_lite0", "--epochs", epochs, "--size", size]
    alone = ["--no-probe", "--no-warm-start", "--seed", seed]
    call(HERE.parent / "train.py", *place, *recipe, *alone)
    call(HERE.parent / "predict.py", *place, "--out", out)


def readable_part(data, scratch):
    "Links to the challenge without its broken training files, at which plain fastai stops."
    for photo in sorted(path for path in data.glob("train/*/*") if readable(path)):
        target = scratch / "data" / photo.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(photo.resolve())
    (scratch / "data/test").symlink_to((data / "test").resolve())
    return scratch / "data"


def plain(data, seed, epochs, size, out):
    call(HERE / "plain_fastai.py", "submit", data, seed, epochs, size, out)


def figures(data, seeds, epochs, size):
    "{side: one row of accuracies per seed}."
    found = {"ours": [], "plain fastai": []}
    with tempfile.TemporaryDirectory() as scratch:
        photos = readable_part(data, Path(scratch))
        for seed in range(seeds):
            for name, side in zip(found, (ours, plain), strict=True):
                out = Path(scratch) / f"{name}.csv"
                side(photos, seed, epochs, size, out)
                scored = score(out, data / "truth/test.csv")
                found[name].append([scored[what] for what in WHAT])
                print(f"seed {seed}, {name}: {found[name][-1]}", flush=True)
    return found


def main(argv):
    if len(argv) != 4:
        raise SystemExit(__doc__)
    data, (seeds, epochs, size) = Path(argv[0]), map(int, argv[1:])
    print(f"| {epochs} epochs, {size} px, {seeds} seeds | {' | '.join(WHAT)} |\n| - | - | - |")
    for name, rows in figures(data, seeds, epochs, size).items():
        told = [
            f"{statistics.mean(v):.3f} +- {statistics.stdev(v):.3f}"
            for v in zip(*rows, strict=True)
        ]
        print(f"| {name} | {' | '.join(told)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
