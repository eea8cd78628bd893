"""Runs and test photos in, what to expect of the score and why it differs from validation out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vlg_fastai.config import UserError
from vlg_fastai.console import say, show
from vlg_fastai.runs.files import read_csv
from vlg_fastai.unseen import figures, gap, mixture, shift
from vlg_fastai.unseen.features import RunFeatures, UnavailableError
from vlg_fastai.unseen.forecast import FEW, forecast
from vlg_fastai.unseen.regression import shipped

NAMED = 5  # most shifted photos that are named
ODD = "no made-up test resembles this one, so the intervals are twice as wide"


@dataclass(frozen=True)
class Outlook:
    "Features of a run and what they tell of the test photos."

    run_features: RunFeatures
    judged: list["Judged"]  # one a run
    adapt: str = "auto"

    @property
    def accuracy(self):
        "Mean accuracy of the runs on labelled photos without doubt that they did not see."
        return float(np.mean([judged.accuracy for judged in self.judged]))

    @property
    def photos(self):
        "How many these are at least."
        return min(len(judged.final) for judged in self.judged)

    @cached_property
    def mixture(self):
        "The `Mixture` of photos that look known and photos that do not."
        return mixture.mixture(self.run_features.evidence, self.run_features.evidence.right.mean())

    @cached_property
    def figures(self):
        "What can be told of the test without its labels."
        view = self.run_features
        return figures.of(view.labelled, view.evidence, self.mixture, view.test, view.own_logits)

    @cached_property
    def share(self):
        "The `Foretold` share of other classes, for a test that is known to show some."
        return shipped(unseen=True)(self.figures)[0]["unseen"]

    @cached_property
    def forecast(self):
        "The `Forecast`, or None for too few photos."
        view = self.run_features
        if len(view.evidence.test) < FEW:
            return None
        found = shipped()(self.figures)
        return forecast(found, self.mixture, view.evidence, self.accuracy, self.photos, self.adapt)

    @cached_property
    def unlike(self):
        """(m,) how likely each test photo is to be of no known class: as unlike as it is without
        what all have in common, in the share that is foretold."""
        evidence = self.run_features.moved_evidence
        plain = mixture.mixture(evidence, evidence.right.mean()).unlike
        return mixture.matched(plain, self.forecast.share)

    @property
    def is_adapted(self):
        return self.forecast is not None and self.forecast.is_adapted

    @property
    def seen(self):
        "(m, d) features of the test photos as they are answered: moved, where that gains."
        return self.run_features.moved if self.is_adapted else self.run_features.test

    @property
    def seen_evidence(self):
        "What folds say of the photos as they are answered."
        features = self.run_features
        return features.moved_evidence if self.is_adapted else features.evidence

    @cached_property
    def shift(self):
        labelled = self.run_features.labelled
        return shift.measure(
            labelled.x,
            labelled.groups,
            self.run_features.test,
            self.run_features.kin,
            labelled.seed,
        )


@dataclass(frozen=True)
class Judged:
    """Whether a run is right about its held-out photos (n,); which of them have no near-duplicate
    in training, and no doubtful label either; for a probe also about all photos, out of fold."""

    right: np.ndarray
    own: np.ndarray
    sure: np.ndarray
    out_of_fold: np.ndarray | None

    @property
    def final(self):
        "The answers that tell best how good it is: (n,) bool."
        if self.out_of_fold is not None:
            return self.out_of_fold
        return self.right[self.sure] if self.sure.any() else self.right

    @property
    def accuracy(self):
        return float(self.final.mean()) if len(self.final) else 0.0

    def steps(self):
        "[(words, accuracy)] from the printed figure to the one that the forecast starts from."
        if not self.sure.any():
            return [("known classes, out of fold", self.accuracy)]
        found = [("validation, as printed", self.right.mean())]
        if not self.own.all():
            found.append(("repeated photos in it", self.right[self.own].mean()))
        found.append(("wrong labels in it", self.right[self.sure].mean()))
        if self.out_of_fold is not None:
            found.append(("all photos judged, not those alone", self.accuracy))
        return [(words, float(value)) for words, value in found]


def of(cfg, blend, photos, means, required):
    """The Outlook of the table `photos`, by the first of the runs of `blend` and by what they say
    together of photos that none saw; None with a word why.

    UserError instead where an option needs it (`required`: how it was given).
    """
    if not (cfg.forecast or required):
        return None
    machine, store = means
    good = photos[photos["problem"].isna()].reset_index(drop=True)
    try:
        run_features = RunFeatures.of_run(blend.runs[0], cfg, good, machine, store)
        run_features.evidence  # noqa: B018  it may turn out that there are too few photos
    except UnavailableError as reason:
        if required:
            raise UserError(f"{required}: not with --run {blend.runs[0].path}: {reason}") from None
        say(f"no forecast of the score: {reason}")
        return None
    adapt = cfg.adapt if cfg.forecast or cfg.adapt == "on" else "off"
    if blend.table is None:
        return Outlook(run_features, [judge(run, run_features) for run in blend.runs], adapt)
    return Outlook(run_features, [judged(blend.table, run_features)], adapt)


def judge(run, run_features):
    "The `Judged` accuracy of `run` on photos of known classes that it did not see."
    return judged(read_csv(run.answers), run_features, run.facts.is_probe)


def judged(valid, run_features, is_probe=False):
    "The same of answers in a table like valid.csv."
    labelled, evidence = run_features.labelled, run_features.evidence
    classes, place = (
        list(valid.columns[2:]),
        {f: i for i, f in enumerate(run_features.shown["file"])},
    )
    valid = valid[valid.iloc[:, 0].isin(place)]
    rows = valid.iloc[:, 0].map(place).to_numpy(int)
    best = valid.iloc[:, 2:].to_numpy(float).argmax(1) if len(valid) else np.zeros(0, int)
    right = np.array(classes, dtype=object)[best] == valid.iloc[:, 1].to_numpy()
    taught = np.delete(labelled.groups, rows) if not is_probe else []
    own = ~np.isin(labelled.groups[rows], taught)
    sure = own & ~labelled.doubtful[rows]
    return Judged(right, own, sure, evidence.right if is_probe else None)


def told(cfg, chosen, view, answer):
    "(answer with p_unseen, facts for forecast.json); says what is expected."
    evidence = view.run_features.evidence
    facts = {
        "run": chosen[0].path.name,
        "held_out_classes": {score: evidence.auroc(score) for score in ("likeness", "certainty")},
    }
    if view.forecast is None:
        say(f"no forecast of the score: only {len(evidence.test)} test photos")
        return answer, facts
    expected = view.forecast
    if not cfg.forecast:
        return answer.judged(view.unlike), {**facts, "forecast": expected.facts()}
    steps = view.judged[0].steps()
    say(expected.in_words(*steps[0]))
    say(expected.causes_in_words())
    if expected.odd:
        say(ODD)
    rows = gap.rows(view, steps)
    show("from validation to this test", gap.COLUMNS, [row.told() for row in rows])
    say(_quality(evidence))
    say(_shifted(view))
    return answer.judged(view.unlike), {
        **facts, "forecast": expected.facts(), "gap": [vars(row) for row in rows],
        "shift": {"auc": view.shift.auc, "most": _most_shifted(view)},
    }  # fmt: skip


def _quality(evidence):
    found = evidence.auroc("likeness")
    return (
        f"how well unlike photos are told, on classes held out in turn: AUROC {np.mean(found):.3f}"
        f" ({min(found):.3f} to {max(found):.3f}), if test photos were taken as those of training"
    )


def _most_shifted(view):
    return view.run_features.asked["file"].iloc[view.shift.most(NAMED)].tolist()


def _shifted(view):
    return (
        f"test and training photos are told apart with AUC {view.shift.auc:.2f} (.5: not at all;"
        f" unseen classes count as well), most surely {', '.join(_most_shifted(view))}"
    )
