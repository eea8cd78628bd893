"""Predict with an export folder, by its own graph, as predict.py does with a run."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.console import say, track
from vlg_fastai.data.images import quiet_decoders
from vlg_fastai.export.standalone.classifier import Classifier
from vlg_fastai.machine.device import cpus
from vlg_fastai.predict import known, onscreen
from vlg_fastai.predict.answer import Answer, write
from vlg_fastai.predict.blending import Blended
from vlg_fastai.predict.run import questions, say_how_to_score
from vlg_fastai.runs.facts import Facts
from vlg_fastai.runs.files import check_room

BATCH = 16
# what needs a run with its training photos
NEEDS_RUN = ("unseen", "classes", "unseen_frac", "transductive", "clip", "attributes",
             "text_encoder", "reject", "tta", "soup", "blend")  # fmt: skip


@dataclass(frozen=True)
class Exported:
    "An export folder, with as much of a run as a prediction asks for."

    path: Path

    @cached_property
    def classifier(self):
        "Its `Classifier`; UserError where the folder lacks something or is damaged."
        try:
            return Classifier(self.path)
        except Exception as error:  # onnxruntime has its own
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"--run {self.path}: cannot be read as an export ({reason}); export the"
                            " run again") from None  # fmt: skip

    @property
    def facts(self):
        told = self.classifier.facts
        return Facts(status="finished", classes=told["labels"], prior=told["prior"])

    @property
    def config(self):
        return {"data": ".", "labels": None}


def predict(cfg, home, test):
    "Predict every file of the folder `test`; the submission's path."
    check(cfg, home)
    check_room(cfg.out.absolute().parent, 0, f"--out {cfg.out}")
    run = Exported(home)
    sample, photos, order, spelled = questions(cfg, run, test, None)
    say(f"{home}: an export, so without forecast and adapting: they need the training photos")
    classifier = run.classifier
    probs = np.full((len(photos), len(classifier.labels)), np.nan)
    good = np.flatnonzero(photos["problem"].isna())
    for part, told, _ in answers(classifier, photos["path"].iloc[good].tolist()):
        probs[good[part]] = told
    answer = Answer.closed(
        *known.settled([run], photos, probs, classifier.labels), classifier.labels
    )
    write(cfg, Blended.evenly([run]), (sample, order, spelled), answer, {})
    say_how_to_score(cfg, test)
    return cfg.out


def classify(cfg, home):
    "Print what the export says of `cfg.photos`."
    check(cfg, home)
    classifier = Exported(home).classifier

    def told(photos):
        parts = list(answers(classifier, photos["path"].tolist()))
        probs = np.concatenate([one[1] for one in parts])
        shares = None if parts[0][2] is None else np.concatenate([one[2] for one in parts])
        return probs, classifier.labels, shares

    return onscreen.answered(cfg, told)


def answers(classifier, paths):
    "Yield (places, probabilities, shares or None) of batches of photos, read by several threads."
    parts = [np.arange(i, min(i + BATCH, len(paths))) for i in range(0, len(paths), BATCH)]
    with quiet_decoders(), ThreadPoolExecutor(cpus()) as pool:
        for part in track(parts, "predicting", len(parts)):
            pixels = list(pool.map(partial(readable, classifier), [paths[i] for i in part]))
            seen = np.array([one is not None for one in pixels])
            if seen.any():
                told = classifier.of_pixels(np.stack([one for one in pixels if one is not None]))
                yield part[seen], *told


def readable(classifier, path):
    "The pixels of a photo; None where it is gone or broken since it was scanned."
    try:
        return classifier.pixels(path)
    except Exception:  # each decoder has its own; the photo's row then says so
        return None


def check(cfg, home):
    "UserError for options that an export cannot follow; `--bs` and `--precision` are its own."
    plain = PredictConfig()
    odd = [name for name in NEEDS_RUN if getattr(cfg, name) != getattr(plain, name)]
    odd += ["adapt"] * (cfg.adapt == "on")
    if cfg.device not in (plain.device, "cpu"):
        raise UserError(f"--device {cfg.device}: {home} is an export, which predicts on the CPU;"
                        " give --run NUMBER, or leave out --device")  # fmt: skip
    if odd:
        flag = odd[0].replace("_", "-")
        raise UserError(f"--{flag}: needs a run, and {home} is an export; give --run NUMBER")
