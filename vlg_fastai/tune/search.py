"""Run the trials of a search; stop each as soon as the folds it shares with the best so far show
that it is worse."""

import time
from dataclasses import dataclass, field

import numpy as np
from optuna.trial import TrialState

from vlg_fastai.compare.paired import draws
from vlg_fastai.console import clock, say
from vlg_fastai.model.intervals import grouped
from vlg_fastai.tune.judge import FOLD
from vlg_fastai.tune.known import Known

HOPE = 0.05  # a trial with less chance of being better is not judged on further folds
LAST_FITS = 13  # fits of a fold that take as long as the final check after the search
STOPPED, PARTS = "stopped", "folds"  # user attributes of a trial


@dataclass
class Search:
    """The work of a trial, and what is known of all trials.

    default: values to beat of the searched options, {name: value}; deadline: when to stop
    (time.monotonic), or None; tell: called after each fit with the trial and its folds so far.
    """

    space: dict
    default: dict
    known: Known
    folds: int
    seed: int
    deadline: float | None = None
    tell: object = field(default=lambda trial, done: None)
    fits: list = field(default_factory=list)  # seconds of each fit of this process

    def objective(self, trial):
        """The mean loss over all folds of the options that the `trial` suggests.

        For a stopped trial: the loss of the best trial plus how much worse this one is on the
        photos that judged both. Means over different folds are not comparable, since a photo's
        loss depends more on the photo than on the net.
        """
        options = {name: one.ask(trial, name) for name, one in self.space.items()}
        best, found = self.best, {}
        for done, k in enumerate(self.order(trial.number), 1):
            self.check_time()
            answer = self.fitted(options, (FOLD, k))
            found[k] = answer.losses
            trial.set_user_attr(PARTS, sorted(found))
            self.tell(trial, done)
            rival = best and options not in (best, self.default) and done < self.folds
            if rival and self.hopeless(found, best):
                trial.set_user_attr(STOPPED, True)
                return self.mean(best) + self.behind(found, best)
        return self.mean(options)

    def order(self, number):
        "The folds, in an order specific to the trial."
        return np.random.default_rng((self.seed, number)).permutation(self.folds).tolist()

    def fitted(self, options, part):
        "The Scored on a part; the time of new fits is recorded in `fits`."
        start = time.monotonic()
        new = self.known.find(options, part) is None
        answer = self.known(options, part)
        if new:
            self.fits.append(time.monotonic() - start)
        return answer

    def check_time(self):
        "Raise TimeUpError if there is no time for one more fit."
        if self.deadline and time.monotonic() + self.a_fit * (1 + LAST_FITS) > self.deadline:
            raise TimeUpError

    @property
    def a_fit(self):
        "Seconds that a fit takes: the 80 % quantile, to be safe."
        return float(np.quantile(self.fits, 0.8)) if self.fits else 0.0

    def mean(self, options):
        "The loss of `options` over all folds."
        return float(np.concatenate([self._losses(options, k) for k in range(self.folds)]).mean())

    def _losses(self, options, k):
        return self.known.find(options, (FOLD, k)).losses

    def difference(self, found, best):
        "(excess losses over those of `best`, groups) on the photos of the folds `found`."
        more = np.concatenate([losses - self._losses(best, k) for k, losses in found.items()])
        groups = [self.known.judge.groups((FOLD, k)) for k in found]
        return more, np.concatenate(groups)

    def behind(self, found, best):
        return float(self.difference(found, best)[0].mean())

    def hopeless(self, found, best):
        "Whether a paired bootstrap over near-duplicate groups leaves a chance below `HOPE`."
        more, groups = self.difference(found, best)
        sums, sizes = grouped(more[None], groups)
        weights = draws(len(sizes), self.seed)
        return float(((weights @ sums[0]) / (weights @ sizes) < 0).mean()) < HOPE

    def done(self):
        "The finished trials."
        return self.known.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def whole(self):
        "[(mean loss, options)] of all options judged on every fold, the best first, each once."
        found = {}
        for trial in self.done():
            if STOPPED not in trial.user_attrs:
                found.setdefault(tuple(sorted(trial.params.items())), (trial.value, trial.params))
        return sorted(found.values(), key=lambda pair: pair[0])

    @property
    def best(self):
        "Options of the best trial judged on every fold; None before the first."
        found = self.whole()
        return found[0][1] if found else None

    def say(self, trial):
        "Report a finished trial in one line."
        options = {key: v for key, v in trial.params.items() if v != self.default.get(key)}
        told = ", ".join(f"{key} {_short(value)}" for key, value in options.items()) or "defaults"
        stopped = ""
        if STOPPED in trial.user_attrs:
            stopped = f", stopped after {len(trial.user_attrs[PARTS])} of {self.folds} folds"
        took = clock(trial.duration.total_seconds())
        say(f"trial {trial.number}: NLL {trial.value:.4f}{stopped}, {took}; {told}")


class TimeUpError(Exception):
    "No time is left for one more fit."


def _short(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()
