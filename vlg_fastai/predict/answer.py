"""Everything predicted for each test photo, and the files it is written to."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import softmax

from vlg_fastai.config import UserError
from vlg_fastai.console import counted, say
from vlg_fastai.model.inference import logs
from vlg_fastai.predict import checking, submission
from vlg_fastai.runs.blends import NAME
from vlg_fastai.runs.facts import FACTS
from vlg_fastai.runs.files import write_csv, write_json
from vlg_fastai.runs.run import FORECAST, TEST

BESIDE = "probabilities.csv", FORECAST, NAME  # the submission
GONE = "predicted, but gone before it was compared with other photos"


def written(cfg):
    "The files that predict.py writes; they may lie in the folder of the photos."
    earlier = cfg.out.absolute().parent.glob(f"{cfg.out.stem}-[0-9]*{cfg.out.suffix}")
    return {path.resolve() for path in (cfg.out, *beside(cfg.out), *earlier)}


def beside(out):
    """Paths of the probabilities, the forecast and the blend that go with the submission `out`.

    A second submission in a folder gets its own names, `second.probabilities.csv`, so that the
    files of the first, or of somebody else, are not overwritten.
    """
    plain, own = (
        [out.with_name(f"{stem}{name}") for name in BESIDE] for stem in ("", f"{out.stem}.")
    )
    taken = any(path.exists() for path in plain) and not out.exists()
    return own if taken or own[0].exists() else plain


@dataclass(frozen=True)
class Answer:
    """Probabilities (n, labels) of every file, the category to submit, the best known class, and
    the probability (n,) that it shows none of the known classes; NaN where unknown.
    `adapted`: the best known class without the test photos' shared offset, where adapting applies.
    """

    photos: pd.DataFrame
    labels: list[str]
    probs: np.ndarray
    category: np.ndarray
    closed_set: np.ndarray
    p_unseen: np.ndarray
    adapted: np.ndarray | None = None

    @classmethod
    def closed(cls, photos, probs, classes):
        "From the known classes alone."
        best = np.array(classes, dtype=object)[probs.argmax(1)]
        return cls(photos, list(classes), probs, best, best, np.full(len(photos), np.nan))

    @property
    def good(self):
        "(n,) True where the photo can be read."
        return self.photos["problem"].isna().to_numpy()

    def of_files(self, files):
        "With only `files` as readable: photos deleted since prediction are not used again."
        gone = self.good & ~self.photos["file"].isin(files).to_numpy()
        photos = self.photos.assign(problem=self.photos["problem"].mask(gone, GONE))
        return dataclasses.replace(self, photos=photos)

    def corrected(self, columns, change):
        "With `change` (readable photos, columns) added to the log probabilities of these columns."
        shifted = logs(self.probs[self.good])
        shifted[:, columns] += change
        probs = self.probs.copy()
        probs[self.good] = softmax(shifted, axis=1)
        best = np.array(self.labels, dtype=object)[probs.argmax(1)]
        return dataclasses.replace(self, probs=probs, category=best, adapted=best)

    def judged(self, p_unseen):
        "With the probability (readable photos,) that each photo is of no known class."
        return dataclasses.replace(self, p_unseen=self._among(self.p_unseen, p_unseen))

    def named(self, labels, probs):
        """With probabilities (readable photos, labels) over known and unseen classes.

        Files that cannot be read keep the training prior.
        """
        known = len(self.labels)
        every = np.zeros((len(self.probs), len(labels)))
        every[:, :known] = self.probs
        every[self.good] = probs
        best = np.array(labels, dtype=object)[every.argmax(1)]
        category = np.where(self.good, best, self.category)
        p_unseen = self._among(self.p_unseen, probs[:, known:].sum(1))
        return dataclasses.replace(
            self, labels=list(labels), probs=every, category=category, p_unseen=p_unseen
        )

    def rejected(self, label, rows):
        "With `label` as the category of the readable photos where `rows` is True."
        category = self._among(self.category, np.where(rows, label, self.category[self.good]))
        return dataclasses.replace(self, category=category)

    def _among(self, old, new):
        every = old.copy()
        every[self.good] = new
        return every

    def details(self, order, submitted):
        "One row per file, submitted ones first: the summary, then the probability of each label."
        rest = np.setdiff1d(np.arange(len(self.photos)), order)
        at = np.concatenate([order, rest]).astype(int)
        files = self.photos["file"].to_numpy()
        told = {
            "Id": [*submitted.iloc[:, 0], *files[rest]],
            "file": files[at],
            "category": self.category[at],
            "p": self.probs[at].max(1),
            "p_unseen": self.p_unseen[at],
            "closed_set": self.closed_set[at],
            **({} if self.adapted is None else {"adapted": self.adapted[at]}),
            "problem": self.photos["problem"].to_numpy()[at],
        }
        probs = pd.DataFrame(self.probs[at], columns=self.labels)
        return pd.concat([pd.DataFrame(told), probs], axis=1)


def write(cfg, blend, asked, answer, facts):
    """Write the submission and, `beside` it, the probabilities, the forecast if there are `facts`,
    and the shares of a blend.

    asked: (sample or None, positions of the rows to submit, {label: as it is submitted}). A single
    run also keeps its predictions in its own folder.
    """
    if not np.isfinite(answer.probs).all():
        run = blend.runs[0].path
        raise UserError(f"--run {run}: produced no finite probabilities; retrain it")
    sample, order, spelled = asked
    rows = answer.photos["file"].iloc[order]
    category = [spelled[label] for label in answer.category[order]]
    table = submission.table(sample, rows, answer.probs[order], answer.labels, category)
    probabilities, forecast, shares = beside(cfg.out)
    details = answer.details(order, table)
    with checking.kept(cfg.out) as before:
        write_csv(cfg.out, table)
    write_csv(probabilities, details)
    if len(blend.runs) == 1 and not blend.facts and (blend.runs[0].path / FACTS).exists():
        keep(blend.runs[0], details, answer.photos, facts)
    for path, told in ((forecast, facts), (shares, blend.facts)):
        if told:
            write_json(path, told)
        else:
            path.unlink(missing_ok=True)  # an earlier one belongs to another submission
    say(f"{counted(len(table), 'row')} written to {cfg.out}, probabilities to {probabilities}")
    prior = blend.runs[0].facts
    checking.check(answer, dict(zip(prior.classes, prior.prior, strict=True)), before,
                   checking.as_text(cfg.out))  # fmt: skip


def keep(run, details, photos, facts):
    """Write predictions and forecast into the folder of `run`, with each photo's content hash:
    other test photos may have the same names. If the folder is read-only, say so and continue."""
    content = details.iloc[:, 1].map(photos.set_index("file")["content"])
    details.insert(2, "content", content, allow_duplicates=True)  # a class may have that name
    try:
        write_csv(run.path / TEST, details)
        if facts:
            write_json(run.path / FORECAST, facts)
        else:
            (run.path / FORECAST).unlink(missing_ok=True)  # an earlier one is of other predictions
    except OSError as error:
        say(f"cannot write {run.path / TEST} ({error.strerror}): the run's page will lack it")
