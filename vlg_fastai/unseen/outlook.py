"""Forecast the score of runs on test photos, and explain why it differs from validation."""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from vlg_fastai.config import UserError
from vlg_fastai.console import say, show
from vlg_fastai.runs.files import read_csv
from vlg_fastai.unseen import figures, gap, mixture, regression, shift
from vlg_fastai.unseen.features import RunFeatures, UnavailableError
from vlg_fastai.unseen.forecast import FEW, forecast

NAMED = 5  # most shifted photos to name
ODD = "no simulated test resembles this one, so the intervals are twice as wide"


@dataclass(frozen=True)
class Outlook:
    """Features of a run and what they say about the test photos.

    given: share of these that are of unseen classes, where the user knows it.
    """

    run_features: RunFeatures
    judged: list["Judged"]  # one per run
    adapt: str = "auto"
    given: float | None = None

    @property
    def accuracy(self):
        "Mean accuracy of the runs on labelled photos that they did not see, without doubtful ones."
        return float(np.mean([judged.accuracy for judged in self.judged]))

    @property
    def photos(self):
        "The smallest number of such photos for a run."
        return min(len(judged.final) for judged in self.judged)

    @cached_property
    def mixture(self):
        "The `Mixture` of photos that look known and photos that do not."
        return mixture.mixture(self.run_features.evidence, self.run_features.evidence.right.mean())

    @cached_property
    def figures(self):
        "Figures of the test that need no labels of it."
        view = self.run_features

        def make():
            sides = view.test, view.own_logits
            return figures.of(view.labelled, view.evidence, self.mixture, *sides)

        classifier = np.frombuffer(view.extractor.mark.encode(), np.uint8)  # not in features
        found = view.recalled("figures", make, classifier)
        return {name: float(value) for name, value in found.items()}

    def _foretold(self, kind="any"):
        "({target: `Foretold`}, odd) by the shipped regression, which reads a given share."
        kind = kind if self.given is None else "given"
        table = np.frombuffer(regression.TABLE.read_bytes(), np.uint8)
        asked = np.frombuffer(f"{self.figures} {kind} {self.given}".encode(), np.uint8)
        make = partial(regression.asked, self.figures, kind, self.given)
        return regression.told(self.run_features.recalled("foretold", make, table, asked))

    @cached_property
    def share(self):
        "The `Foretold` share of unseen classes, for a test that is known to contain some."
        return self._foretold("unseen")[0]["unseen"]

    @cached_property
    def forecast(self):
        "The `Forecast`, or None for too few photos."
        view = self.run_features
        if len(view.evidence.test) < FEW:
            return None
        given = self.mixture, view.evidence, self.accuracy, self.photos, self.adapt
        return forecast(self._foretold(), *given)

    @cached_property
    def unlike(self):
        """(m,) probability that each test photo is of no known class: from its likeness without the
        shared offset, scaled to the forecast share."""
        evidence = self.run_features.moved_evidence
        plain = mixture.mixture(evidence, evidence.right.mean()).unlike
        return mixture.matched(plain, self.forecast.share)

    @property
    def is_adapted(self):
        return self.forecast is not None and self.forecast.is_adapted

    @property
    def seen(self):
        "(m, d) features of the test photos as they are predicted from: moved, if adapted."
        return self.run_features.moved if self.is_adapted else self.run_features.test

    @property
    def seen_evidence(self):
        "Scores by folds of the test photos as they are predicted from."
        features = self.run_features
        return features.moved_evidence if self.is_adapted else features.evidence

    @cached_property
    def shift(self):
        view, known = self.run_features, self.run_features.labelled

        def make():
            return vars(shift.measure(known.x, known.groups, view.test, view.kin, known.seed))

        found = view.recalled("shift", make, view.kin)
        return shift.Shift(float(found["auc"]), found["certainty"])


@dataclass(frozen=True)
class Judged:
    """Whether a run is right on its held-out photos (n,); which of them have no near-duplicate in
    training, and no doubtful label either; for a probe also on all photos, out of fold."""

    right: np.ndarray
    own: np.ndarray
    sure: np.ndarray
    out_of_fold: np.ndarray | None

    @property
    def final(self):
        "The results that best show how good it is: (n,) bool."
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
            found.append(("all photos judged, not only those", self.accuracy))
        return [(words, float(value)) for words, value in found]


def of(cfg, blend, photos, means, required):
    """The Outlook for the table `photos`, from the first of the runs of `blend` and their joint
    predictions on photos that none saw; None, with a message, where there is none.

    UserError instead where an option needs it (`required`: how it was given).
    """
    if not (cfg.forecast or required):
        return None
    machine, store = means
    good = photos[photos["problem"].isna()].reset_index(drop=True)
    try:
        run_features = RunFeatures.of_run(blend.runs[0], cfg, good, machine, store)
        run_features.evidence  # noqa: B018  fails here if there are too few photos
    except UnavailableError as reason:
        if required:
            raise UserError(f"{required}: not with --run {blend.runs[0].path}: {reason}") from None
        say(f"no forecast of the score: {reason}")
        return None
    adapt = cfg.adapt if cfg.forecast or cfg.adapt == "on" else "off"
    if blend.table is None:
        of_runs = [judge(run, run_features) for run in blend.runs]
    else:
        of_runs = [judged(blend.table, run_features)]
    return Outlook(run_features, of_runs, adapt, cfg.unseen_frac)


def judge(run, run_features):
    "The `Judged` accuracy of `run` on photos of known classes that it did not see."
    return judged(read_csv(run.answers), run_features, run.facts.is_probe)


def judged(valid, run_features, is_probe=False):
    "The same for predictions in a table like valid.csv."
    labelled, evidence = run_features.labelled, run_features.evidence
    classes = list(valid.columns[2:])
    place = {file: i for i, file in enumerate(run_features.shown["file"])}
    valid = valid[valid.iloc[:, 0].isin(place)]
    rows = valid.iloc[:, 0].map(place).to_numpy(int)
    best = valid.iloc[:, 2:].to_numpy(float).argmax(1) if len(valid) else np.zeros(0, int)
    right = np.array(classes, dtype=object)[best] == valid.iloc[:, 1].to_numpy()
    taught = np.delete(labelled.groups, rows) if not is_probe else []
    own = ~np.isin(labelled.groups[rows], taught)
    sure = own & ~labelled.doubtful[rows]
    return Judged(right, own, sure, evidence.right if is_probe else None)


def told(cfg, chosen, view, answer, brief=False):
    "(answer with p_unseen, facts for forecast.json); prints what to expect, or one line of it."
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
    rows = gap.rows(view, steps)
    _say(view, steps[0], [] if brief else rows)
    return answer.judged(view.unlike), {
        **facts, "forecast": expected.facts(), "gap": [vars(row) for row in rows],
        "shift": {"auc": view.shift.auc, "most": _most_shifted(view)},
    }  # fmt: skip


def _say(view, first, rows):
    "Print the forecast; without `rows` one line: names follow, which have a forecast of their own."
    expected = view.forecast
    if not rows:
        say(f"without names: {expected.in_words(*first)}")
        return
    say(expected.in_words(*first))
    say(expected.causes_in_words())
    if expected.odd:
        say(ODD)
    show("from validation to this test", gap.COLUMNS, [row.told() for row in rows])
    say(_quality(view.run_features.evidence))
    say(_shifted(view))


def _quality(evidence):
    found = evidence.auroc("likeness")
    return (
        f"detecting photos unlike any known class, on classes held out in turn: AUROC"
        f" {np.mean(found):.3f} ({min(found):.3f} to {max(found):.3f}), if test photos are taken"
        " like training photos"
    )


def _most_shifted(view):
    return view.run_features.asked["file"].iloc[view.shift.most(NAMED)].tolist()


def _shifted(view):
    return (
        f"test and training photos can be told apart with AUC {view.shift.auc:.2f} (0.5: not at"
        f" all; unseen classes count as well), most clearly {', '.join(_most_shifted(view))}"
    )
