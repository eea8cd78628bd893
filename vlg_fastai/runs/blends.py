"""Runs and their shares in, blend.json out, and back: a blend that can be repeated."""

from pathlib import Path

from vlg_fastai.config import UserError
from vlg_fastai.runs.files import read_json

NAME = "blend.json"
WAYS = "mean", "greedy"


def stored(runs, shares, temperature, judged):
    "What blend.json holds."
    return {
        "runs": [str(run.path.resolve()) for run in runs],
        "shares": [float(share) for share in shares],
        "temperature": float(temperature),
        "judged": judged,
    }


def read(path):
    "What the blend.json at `path` holds; UserError where it is none."
    told = read_json(path)
    try:
        runs, shares = told["runs"], told["shares"]
        whole = len(runs) == len(shares) > 0 and min(shares) > 0 and told["temperature"] > 0
        whole = whole and abs(sum(shares) - 1) < 1e-3 and all(isinstance(run, str) for run in runs)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"--blend {path}: not what predict.py wrote; give mean, greedy or its file")
    return told


def names_of(cfg):
    "The runs that `cfg` names: with --run, or by the blend.json of --blend."
    if not isinstance(cfg.blend, Path):
        return cfg.run
    if cfg.run:
        raise UserError(f"--blend {cfg.blend}: it names its runs itself; leave out --run")
    return tuple(read(cfg.blend)["runs"])
