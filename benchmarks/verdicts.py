"""How often compare.py calls equal runs different, and how often it finds a worse one.

`python benchmarks/verdicts.py` simulates runs with the same chance of being right about a photo, or
one of them with less, on new photos each time; it prints one line of JSON per setting, in a minute.
"""

import json
import sys

import numpy as np

from vlg_fastai.compare import paired

REPEATS, ACCURACY = 200, 0.9
RUNS, PHOTOS = (2, 5, 40), (200, 1_200)
WORSE = 0.1  # loss of accuracy of the worse run
COPIES = 3  # photos per group of near-duplicates, in the settings that have them


def tables(runs, photos, copies, less, rng):
    "Scores (runs, photos) and groups: equal on copies, correlated on photos hard for all runs."
    easy = rng.beta(9, 1, photos // copies)  # most photos are easy for all runs, a few are hard
    chance = np.tile(easy * ACCURACY / 0.9, (runs, 1))
    chance[-1] -= less
    right = (rng.random(chance.shape) < chance).astype(float)
    groups = np.repeat(np.arange(photos // copies), copies)
    return right[:, groups], groups


def verdicts(runs, photos, copies, less, chosen):
    "(share of tables where an equal run got a verdict, share where the last run is 'worse')."
    rng, wrong, found = np.random.default_rng(0), 0, 0
    for seed in range(REPEATS):
        scores, groups = tables(runs, photos, copies, less, rng)
        reference = int(scores.mean(1).argmax()) if chosen else 0
        told = paired.against(scores, groups, reference, seed, chosen)
        equal = runs - 1 if less else runs
        wrong += any(told.verdict(i) != "cannot tell" for i in range(equal) if i != reference)
        found += reference != runs - 1 and told.verdict(runs - 1) == "worse"
    return wrong / REPEATS, found / REPEATS


def main():
    for runs in RUNS:
        for photos in PHOTOS:
            for copies in (1, COPIES):
                for chosen in (True, False):
                    setting = {"runs": runs, "photos": photos, "copies": copies, "best": chosen}
                    wrong, _ = verdicts(runs, photos, copies, 0, chosen)
                    _, found = verdicts(runs, photos, copies, WORSE, chosen)
                    print(json.dumps({**setting, "equal_told_apart": wrong, "worse_found": found}))
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
