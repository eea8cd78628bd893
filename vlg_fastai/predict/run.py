"""Turn finished runs and a folder of photos into a submission with details of each photo."""

from pathlib import Path

import numpy as np

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import folder, scan
from vlg_fastai.data.store import Store
from vlg_fastai.machine import device
from vlg_fastai.predict import (
    adapting,
    blending,
    known,
    naming,
    rejecting,
    soup,
    strange,
    submission,
)
from vlg_fastai.predict.answer import Answer, write, written
from vlg_fastai.runs.blends import WAYS
from vlg_fastai.runs.files import check_room
from vlg_fastai.runs.find import twins_among
from vlg_fastai.runs.run import typed
from vlg_fastai.unseen import outlook
from vlg_fastai.unseen.features import decided

WORTH_NAMING = 0.1  # share of photos of unseen classes that may be from which names are suggested


def predict(cfg, chosen, test):
    """Predict every file of the folder `test` with the average of the runs `chosen`.

    Writes the submission and, beside it, probabilities and forecast; returns the submission's path.
    """
    chosen = voters(cfg, chosen)
    check_room(cfg.out.absolute().parent, 0, f"--out {cfg.out}")
    names, made = naming.read(cfg, chosen[0]), decided(chosen[0], cfg)
    machine, store = device.prepare(cfg), Store.asked_for(cfg)
    sample, photos, order, spelled = questions(cfg, chosen[0], test, names)
    means = machine, store
    blend = blended(cfg, chosen, means)
    answered = [known.answers(run, photos, cfg, means) for run in blend.runs]
    probs, classes = blend.mixed(answered, known.average)
    answer = Answer.closed(*known.settled(blend.runs, photos, probs, classes), classes)
    view = outlook.of(cfg, blend, answer.photos, means, required=needs(cfg, names))
    facts = {}
    if not view and len(made):
        say(f"decisions: {len(made)} in {made.path}; without a forecast they have no effect")
    if view:
        answer, facts = judged(cfg, blend, view, answer, brief=bool(names))
    if names:
        answer, facts["names"] = naming.name(cfg, answer, view, names)
    if cfg.reject:
        answer, facts["reject"] = rejecting.reject(cfg, answer, view)
    write(cfg, blend, (sample, order, spelled), answer, facts)
    say_end(cfg, test, blend, facts)
    return cfg.out


def judged(cfg, blend, view, answer, brief):
    """(answer, adapted where that helps; facts for forecast.json); reports what to expect, in one
    line if `brief`."""
    answer = answer.of_files(view.run_features.asked["file"])
    answer, facts = outlook.told(cfg, blend.runs, view, answer, brief=brief)
    if cfg.forecast and (expected := strange.expect(blend.runs[0], view)):
        facts["extra"] = expected
    return adapting.adapt(cfg, answer, view), facts


def say_how_to_score(cfg, test):
    "Print the scoring command for a test of the generated challenge, if it is one."
    marks = (place / folder.DEMO_MARK for place in (test.parent, test.parent.parent))
    truth = test.parent / "truth/test.csv"
    if truth.is_file() and any(mark.exists() for mark in marks):
        say(f"score it: python -m vlg_fastai.score {cfg.out} {truth}")
        return True
    return False


def say_end(cfg, test, blend, facts):
    """Print the next step: the scoring command where the truth is at hand, names if the test may
    hold other classes, else a look at what the model gets wrong."""
    if say_how_to_score(cfg, test):
        return
    most = facts.get("forecast", {}).get("share_interval", (0, 0))[1]
    if most > WORTH_NAMING and not (cfg.unseen or cfg.classes or cfg.reject):
        say(
            "next: if the test has classes without training photos, name them: python predict.py"
            f" {blended_again(cfg, blend.runs)} --unseen names.txt --out named.csv"
            + (f" --unseen-frac {cfg.unseen_frac:g}" if cfg.unseen_frac is not None else "")
        )
    else:
        say(f"next: python interpret.py --run {again(cfg, blend.runs[:1])}")


def blended_again(cfg, runs):
    "The options that blend the same `runs` on the same photos again."
    if isinstance(cfg.blend, Path):  # names its runs itself
        return " ".join([f"--blend {typed(cfg.blend)}", *places(cfg)])
    return f"--run {again(cfg, runs)}" + (f" --blend {cfg.blend}" if cfg.blend else "")


def again(cfg, runs):
    "What to write after --run to take the same photos and `runs` again."
    roots = {run.path.parent for run in runs}
    if len(roots) == 1 and all(run.number for run in runs):  # --runs once, behind the numbers
        words = [*(str(run.number) for run in runs[:-1]), runs[-1].words]
    else:  # numbers are of one folder; members and candidates have none
        words = [typed(run.path) for run in runs]
    return " ".join([*words, *places(cfg)])


def places(cfg):
    "The options that say where the photos lie."
    given = {name: getattr(cfg, name) for name in ("data", "test")}
    return [f"--{name} {typed(path)}" for name, path in given.items() if path]


def needs(cfg, names):
    "The option that requires comparing the test photos with the labelled ones, or None."
    if names:
        return "--unseen" if cfg.unseen else "--classes"
    if cfg.reject:
        return "--reject"
    return "--adapt on" if cfg.adapt == "on" else None


def blended(cfg, chosen, means):
    "The `Blended` runs `chosen`, or the one net that averages their weights."
    if cfg.soup:
        return blending.Blended.evenly([soup.stirred(cfg, chosen, means)])
    return blending.weigh(cfg, chosen)


def voters(cfg, chosen):
    "The runs `chosen` that count: each model once, unless a stored blend names its runs."
    return distinct(chosen) if cfg.blend in (None, *WAYS) else chosen


def distinct(chosen):
    "The runs `chosen`, each model once: two runs that kept the same probe count as one vote."
    same = twins_among(chosen)
    for i, k in same.items():
        told = f"{chosen[i].path.name} and {chosen[k].path.name}"
        say(f"{told} hold the same model: it counts once")
    return [run for i, run in enumerate(chosen) if i not in same]


def questions(cfg, run, test, names):
    """(sample or None, table of photos, positions of the rows to submit, {label: as submitted}).

    Reports unreadable files and a sample that does not match before anything is predicted.
    """
    near = {test, test.parent} if cfg.test else {test, test.parent, folder.of_run(cfg, run)}
    path = submission.find_sample(cfg.sample, near, written(cfg))
    sample = None if path is None else submission.read_sample(path)
    unseen = [name.label for name in names.unseen] if names else []
    labels = [*run.facts.classes, *unseen, *([cfg.reject] if cfg.reject else [])]
    spelled = submission.spelling(cfg.labels_as, labels, cfg.reject)
    photos = scan.scan_files(test)
    if photos.empty:
        raise UserError(f"--test {test}: contains no photos")
    scan.say_broken(photos)
    if sample is None:
        made = submission.of_table(run, folder.of_run(cfg, run), test, list(photos["file"]))
        if made is None:
            return None, photos, np.arange(len(photos)), spelled
        order = submission.order(made, list(photos["file"]), test.name)
        return made, photos, order, spelled
    say(f"using header, ids and order of {path}")
    if cfg.labels_as is None:
        submission.check_labels(sample, path, labels)
    submission.check_columns(sample, run.facts.classes, unseen)
    if cfg.reject and len(sample.columns) > 2:
        raise UserError(f"--reject {cfg.reject}: {path} asks for probabilities, not a label")
    order = submission.order(sample, list(photos["file"]), test.name)
    return sample, photos, order, spelled
