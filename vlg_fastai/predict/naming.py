"""Extend predictions to unseen classes, given the names of classes without a training photo."""

import dataclasses

import numpy as np

from vlg_fastai.console import say, show, track
from vlg_fastai.model import probe
from vlg_fastai.unseen import experts, fusion, names, regression, selftraining
from vlg_fastai.unseen.regression import Foretold

FURTHER = (0.0, 1.0, 2.0)  # added to gamma for self-training, which wins photos back
NAMED = 5  # names without photos to list
LONG = 1.5  # warn where the names' share of classes exceeds the share of photos by this factor


def read(cfg, run):
    "The `Names` that --unseen or --classes gives, or None where none of them is new."
    for option in ("unseen", "classes"):
        path = getattr(cfg, option)
        if path is not None:
            found = names.read(path, f"--{option}", run.facts.classes)
            if not found.unseen:
                return None
            experts.check(cfg, found.every)
            return found
    return None


def name(cfg, answer, view, given):
    "(answer over all names of `given`, facts); reports the expert, its accuracy and the counts."
    run_features, count = view.run_features, len(given.unseen)
    expert = experts.find(cfg, run_features, given.every, view.seen)
    share = expected_share(cfg, view, given, answer)
    tried = fusion.trials(run_features.evidence, run_features.labelled.y, len(given.known), count)
    setting = fusion.choose(tried, run_features.labelled.y, expert, share)
    say(f"naming: {setting.in_words()}")
    known = answer.probs[answer.good]
    scores = fused(expert, setting, known, len(given.every))
    facts, plain = {"expert": expert.words, "plain": setting.facts()}, counts(scores, given)
    if cfg.transductive:
        scores, setting = self_trained(view, expert, tried, setting, known, len(given.every))
        say(f"self-training: {setting.in_words()}")
        facts["transductive"] = setting.facts()
        say_counts(given, scores, plain)
    else:
        say_counts(given, scores)
    facts["expected"] = expected(cfg, view, setting)
    if facts["expected"]:
        say_expected(view, facts["expected"])
    emptied = warn_of_emptied(given, plain, counts(scores, given))
    warn_of_length(given, view, scores, emptied)
    probs = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
    named = answer.named(given.labels, probs)
    return named, {**facts, "share": share, "counts": _by_label(given, counts(scores, given))}


def fused(expert, setting, known, columns):
    q = expert.of_test(np.arange(columns), setting.tau)
    return fusion.scores(known, q, setting.gamma)


def expected_share(cfg, view, given, answer):
    """Share of unseen photos that gamma is chosen for: the user's, or midway between what the
    names suggest (all classes equally frequent) and what the photos suggest."""
    if cfg.unseen_frac is not None:
        return cfg.unseen_frac
    by_names = len(given.unseen) / len(given.every)
    if view.forecast is None:
        return by_names
    # photos of classes that only extra photos show look unseen, and have their class already
    strange = np.isin(answer.closed_set[answer.good], view.run_features.spec.strange).mean()
    return (by_names + max(view.share.value - strange, 0.0)) / 2


def self_trained(view, expert, tried, setting, known, columns):
    "(scores, setting) of self-training, with the gamma that does best on held-out classes."
    run_features = view.run_features
    temperature, labelled = run_features.evidence.temperature, run_features.labelled
    options = [dataclasses.replace(setting, gamma=setting.gamma + more) for more in FURTHER]
    jobs = [(option, trial) for option in options for trial in tried]

    def rate(job):
        option, trial = job
        return selftraining.rates(trial, labelled, option, expert, option.share, temperature)

    with probe.solver():
        done = list(track(map(rate, jobs), "self-training, held-out classes", len(jobs)))
        rates = np.array(done).reshape(len(options), len(tried), 2)
        settled = [_settled(*pair) for pair in zip(options, rates, strict=True)]
        best = max(settled, key=lambda option: option.accuracy)
        scores = fused(expert, best, known, columns)
        fit = labelled.fold.strength, temperature, labelled.factor
        return selftraining.transduced(
            scores, known.shape[1], run_features.known, view.seen, fit
        ), best


def _settled(option, rates):
    known, unseen = map(float, rates.mean(0))
    accuracy = (1 - option.share) * known + option.share * unseen
    return dataclasses.replace(option, known=known, unseen=unseen, accuracy=accuracy)


def counts(scores, given):
    return np.bincount(scores.argmax(1), minlength=len(given.every))


def _by_label(given, found):
    return dict(zip(given.labels, found.tolist(), strict=True))


def say_counts(given, scores, plain=None):
    "Print how many photos each unseen class got, and all known classes together."
    first, found = len(given.known), counts(scores, given)
    columns = ["class", "photos"] + ([] if plain is None else ["before self-training"])
    rows = [(n.label, found[first + i]) for i, n in enumerate(given.unseen)]
    rows.append(("all known classes", found[:first].sum()))
    if plain is not None:
        before = [*plain[first:], plain[:first].sum()]
        rows = [(*row, old) for row, old in zip(rows, before, strict=True)]
    show("photos by class", columns, rows)


def expected(cfg, view, setting):
    """{"accuracy", "interval"} to expect with names, from held-out classes, or None.

    The share is the user's or the forecast's; the interval covers how far accuracy with names was
    from this in simulated tests. tau and gamma were chosen on the same folds: slightly optimistic.
    """
    if view.forecast is None and cfg.unseen_frac is None:
        return None
    share = cfg.unseen_frac if view.forecast is None else view.share.value
    value = regression.simply_named((setting.known, setting.unseen), _kept(view), share)
    odd = view.forecast is not None and view.forecast.odd
    below, above = np.multiply(regression.misses_with_names(), 1 + odd)
    found = Foretold.within(value, value - below, value + above)
    return {"accuracy": found.value, "interval": list(found.interval)}


def _kept(view):
    "Share of correct predictions on known classes that remains under the test's shift."
    if view.forecast is None:
        return 1.0
    return view.forecast.known_here.value / max(view.forecast.known_accuracy, 1e-9)


def say_expected(view, found):
    low, high = found["interval"]
    sources = ["the forecast"] * bool(view.forecast) + ["--unseen-frac"] * (view.given is not None)
    say(
        f"expected accuracy with names: {found['accuracy']:.2f} ({low:.2f} to {high:.2f}), from"
        f" classes held out in turn, with {' and '.join(sources)}"
    )


def next_to_none(found, given):
    "(names,) True for an unseen class with next to no photos, by the counts `found`."
    return found[len(given.known) :] <= max(1, found.sum() / len(given.every) / 8)


def warn_of_emptied(given, before, after):
    "(names,) True for unseen classes whose photos self-training gave to others; reports them."
    emptied = next_to_none(after, given) & ~next_to_none(before, given)
    if emptied.any():
        first = len(given.known)
        told = ", ".join(
            f"{given.unseen[i].label} ({before[first + i]} photos before)"
            for i in np.flatnonzero(emptied)[:NAMED]
        )
        say(f"self-training moved nearly all photos of {told} to other classes: check some of them")
    return emptied


def warn_of_length(given, view, scores, emptied):
    """Warn where many names seem to have no photo: each takes some from the names that do.

    emptied: (names,) True where self-training is the reason, not a lack of photos.
    """
    every = counts(scores, given)
    found = np.where(emptied, every.max() + 1, every[len(given.known) :])
    empty = int((next_to_none(every, given) & ~emptied).sum())
    by_names = len(given.unseen) / len(given.every)
    guessed = view.forecast and view.given is None
    if guessed and by_names > LONG * view.share.high:
        say(
            f"{len(given.unseen)} names may be too many: they are {by_names:.0%} of all classes,"
            f" but only about {view.share.value:.0%} of the photos seem to be of unseen classes"
        )
    elif empty:
        rare = [given.unseen[i].label for i in np.argsort(found, kind="stable")[:empty]]
        told = ", ".join(rare[:NAMED]) + (", ..." if empty > NAMED else "")
        say(
            f"next to no photo was predicted as {told}: there may be none, or other words may help"
            " (`label: prompt | synonym`)"
        )
