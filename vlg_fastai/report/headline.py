"""The figures of a run that matter most: what it scored and what to expect of it."""

from dataclasses import dataclass, field

from vlg_fastai.console import clock
from vlg_fastai.model.intervals import interval
from vlg_fastai.report import gallery
from vlg_fastai.runs.facts import called
from vlg_fastai.unseen import gap
from vlg_fastai.unseen.folds import UnavailableError
from vlg_fastai.unseen.outlook import ODD, Outlook, judge


@dataclass(frozen=True)
class Expected:
    "The forecast of the test score in words, or why there is none."

    lines: list[str]
    figure: str = "-"
    note: str = "no forecast"
    rows: list = field(default_factory=list)  # from validation to this test
    # (accuracy, low, high) of the test, and the most that unseen classes may be of it
    span: tuple | None = None
    unseen: float = 0.0


def expected(inputs):
    """The `Expected` score of the available test photos, as predict.py gives it with --adapt auto
    and the --unseen-frac given to it."""
    if inputs.run_features is None:
        return Expected([f"No forecast of a test score: {inputs.lacking}."])
    if inputs.run_features.asked.empty:
        return Expected(["No forecast of a test score: there are no test photos (--test DIR)."])
    view = Outlook(inputs.run_features, [], given=share_given(inputs))
    try:
        view.judged.append(judge(inputs.run, inputs.run_features))
        found = view.forecast
    except UnavailableError as reason:
        return Expected([f"No forecast of a test score: {reason}."])
    if found is None:
        return Expected(["No forecast of a test score: too few test photos."])
    steps = view.judged[0].steps()
    low, high = found.accuracy_interval
    lines = [found.in_words(*steps[0]), found.causes_in_words()]
    lines += [ODD] * found.odd
    lines += [f"With predictions adapted to these photos; {found.plain.value:.2f} without."] * (
        found.is_adapted
    )
    return Expected(
        lines, f"{found.accuracy:.2f}", f"{low:.2f} to {high:.2f}, {found.photos} photos",
        [row.told() for row in gap.rows(view, steps)], (found.accuracy, low, high),
        found.share_interval[1],
    )  # fmt: skip


def share_given(inputs):
    "The share of unseen classes that predict.py was given for these photos last, or None."
    low, high = inputs.run.forecast.get("share_interval", (0, 1))
    whole = len(gallery.test_said(inputs)) == len(inputs.run_features.asked)
    return low if low == high and whole else None


def chosen_elsewhere(nested):
    "The row of the score that is independent of model choice, where there was a choice."
    if not nested:
        return []
    low, high = nested["accuracy_interval"]
    told = f"{low:.3f} to {high:.3f}, model chosen without the photo"
    return [("nested accuracy", f"{nested['accuracy']:.3f}", told)]


def figures(run, held, forecast):
    "[(name, figure, note)] of a run, the most important first."
    facts = run.facts
    likely = "{:.3f} to {:.3f}".format(*interval(held.right, held.groups))
    photos = facts.photos
    speed, candidates = facts.photos_per_second, [row["model"] for row in facts.candidates]
    aside = f"{photos['valid']} more are held out"
    chosen = f"best of {len(candidates)} candidates" if len(candidates) > 1 else "no choice"
    if facts.folds:
        chosen = f"{len(facts.folds)} nets, each selected on the photos of the others"
        aside = "each predicted by a net that never saw it"
    pace = f"{speed:.0f} photos/s" if speed else "no epochs"
    more = facts.extra and facts.extra.get("used")
    return [
        ("validation accuracy", f"{facts.accuracy:.3f}", f"{likely}, {len(held.y)} photos"),
        *chosen_elsewhere(facts.nested),
        ("expected on this test", forecast.figure, forecast.note),
        ("macro-F1", f"{facts.macro_f1:.3f}", f"{len(facts.classes)} classes"),
        ("NLL", f"{facts.nll:.3f}", f"{facts.nll_before:.3f} before calibration"),
        ("calibration error", f"{facts.ece:.3f}", f"{facts.ece_before:.3f} before"),
        ("selected model", called(facts.model), chosen),
        ("training", clock(facts.seconds), pace),
        ("model", f"{run.megabytes:.0f} MB", facts.arch),
        ("training photos", str(photos["train"]), aside),
        *([("photos from elsewhere", str(more), "in training alone")] if more else []),
    ]  # fmt: skip
