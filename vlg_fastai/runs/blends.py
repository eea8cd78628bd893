"""Write and read blend.json: runs and their shares, to repeat a blend."""

from pathlib import Path

from vlg_fastai.config import UserError
from vlg_fastai.runs.files import read_json

NAME = "blend.json"
WAYS = "mean", "greedy"


def stored(runs, shares, temperature, judged):
    "The contents of blend.json."
    return {
        "runs": [str(run.path.resolve()) for run in runs],
        "shares": [float(share) for share in shares],
        "temperature": float(temperature),
        "judged": judged,
    }


def read(path):
    "Read the blend.json at `path`; UserError if it is not one."
    told = read_json(path)
    try:
        runs, shares = told["runs"], told["shares"]
        whole = len(runs) == len(shares) > 0 and min(shares) > 0 and told["temperature"] > 0
        whole = whole and abs(sum(shares) - 1) < 1e-3 and all(isinstance(run, str) for run in runs)
    except (KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"--blend {path}: not a blend.json of predict.py; give mean, greedy or one")
    return told


def names_of(cfg):
    "The runs that `cfg` names: with --run, or by the blend.json of --blend."
    if not isinstance(cfg.blend, Path):
        return cfg.run
    if cfg.run:
        raise UserError(f"--blend {cfg.blend}: names its own runs; leave out --run")
    return tuple(read(cfg.blend)["runs"])
