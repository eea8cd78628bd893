"""Open the Optuna study that several processes share, and retry trials of dead processes."""

import os
import platform
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import TrialState

from vlg_fastai.config import UserError
from vlg_fastai.console import say

NAME = "vlg_fastai"
ABOUT = "about"
BEAT, HOST, PID, INSTEAD = "beat", "host", "pid", "instead of"  # user attributes of a trial
EVERY = 20  # seconds between two heartbeats
LOCKED = 30  # seconds after which the journal's lock is taken from a process that died holding it
SILENT = 150  # seconds without a heartbeat after which a trial counts as dead: many times `LOCKED`,
# during which no process can write one
PAUSE = 5  # seconds between two checks of the trials that others are running
STARTING = 8  # random trials before a sampler learns from them
SAMPLERS = {
    "tpe": lambda seed: optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=STARTING, multivariate=True, group=True, constant_liar=True
    ),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTING),
}


def quiet():
    "Have Optuna log errors only."
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def storage_of(cfg):
    "The storage that --study or --storage names."
    if cfg.storage is None:
        path = cfg.study or cfg.out / "study.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        # a lock by a file that must not exist yet: works on network disks as well
        lock = JournalFileOpenLock(str(path), grace_period=LOCKED)
        return JournalStorage(JournalFileBackend(str(path), lock))
    try:
        return RDBStorage(cfg.storage, heartbeat_interval=EVERY, grace_period=SILENT)
    except Exception as error:  # from SQLAlchemy or any driver
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--storage {cfg.storage}: {reason}; give a URL that SQLAlchemy knows, such"
                        " as sqlite:///study.db") from None  # fmt: skip


def sampler_of(cfg, number):
    "The sampler of process `number`: none samples like another, nor like itself when resumed."
    return SAMPLERS[cfg.sampler]((cfg.seed + number * 1_000_003) % 2**32)


def opened(cfg, about):
    """The study, created or resumed; UserError if it is about other photos or options.

    about: {name: value} on which all processes that share the study must agree.
    """
    quiet()
    study = optuna.create_study(study_name=NAME, storage=storage_of(cfg), load_if_exists=True)
    study.sampler = sampler_of(cfg, len(study.get_trials(deepcopy=False)))
    known = study.user_attrs.get(ABOUT)
    if known is None:
        study.set_user_attr(ABOUT, about)
        return study
    odd = [name for name in about if known.get(name) != about[name]]
    if odd:
        where = f"--storage {cfg.storage}" if cfg.storage else f"--study {cfg.study or cfg.out}"
        raise UserError(
            f"{where}: that study differs in {odd[0]} ({known.get(odd[0])}, not {about[odd[0]]});"
            " resume it with its original options, or give another --out or --study"
        )
    done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    say(f"resuming a study of {done} finished trials")
    return study


def counts(study):
    "(finished trials, running trials)."
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    return states.count(TrialState.COMPLETE), states.count(TrialState.RUNNING)


def enqueue(study, starts):
    "Queue the options `starts` before all others in a new study; none is tried twice."
    if not study.get_trials(deepcopy=False):
        for options in starts:
            study.enqueue_trial(options, skip_if_exists=True)


@dataclass
class Pulse:
    """Finds trials whose process is gone, and has them tried again.

    beats: whether the storage itself detects dead trials; a database does, a journal does not.

    A trial is dead if its process ran on this machine and no longer exists, or if its heartbeat, a
    counter, has not changed for `SILENT` seconds by our clock, as clocks of machines differ.
    """

    study: optuna.Study
    beats: bool
    seen: dict = field(default_factory=dict)  # number -> (beat, when it was first seen)

    def tend(self):
        "Mark dead trials as failed, and queue failed ones again."
        if self.beats:
            optuna.storages.fail_stale_trials(self.study)
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if not self.beats and self.is_dead(trial):
                say(f"trial {trial.number}: its process died; trying it again")
                tell_failed(self.study, trial)
        trials = self.study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get(INSTEAD) for trial in trials}
        for trial in trials:
            if trial.state is TrialState.FAIL and trial.params and trial.number not in again:
                attrs = {INSTEAD: trial.number}
                self.study.enqueue_trial(trial.params, user_attrs=attrs)

    def is_dead(self, trial):
        told = trial.user_attrs
        if told.get(HOST) == platform.node() and not _lives(told.get(PID)):
            return True
        beat, now = told.get(BEAT), time.monotonic()
        if trial.number not in self.seen or self.seen[trial.number][0] != beat:
            self.seen[trial.number] = beat, now
        return now - self.seen[trial.number][1] > SILENT


def tell_failed(study, trial):
    "Record that a trial failed; another process may have recorded it already."
    with suppress(ValueError, RuntimeError):
        study.tell(trial.number, state=TrialState.FAIL)


def lost(study):
    "Whether the newest trial of this process was recorded as failed."
    here = platform.node(), os.getpid()
    trials = study.get_trials(deepcopy=False)
    own = [one for one in trials if (one.user_attrs.get(HOST), one.user_attrs.get(PID)) == here]
    return bool(own) and own[-1].state is TrialState.FAIL


def _lives(pid):
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def begin(trial):
    """Record which process runs the trial.

    The host comes last: a host without its process would look dead to the others.
    """
    for name, value in ((PID, os.getpid()), (BEAT, 0), (HOST, platform.node())):
        trial.set_user_attr(name, value)


@contextmanager
def beating(trial):
    """Send a heartbeat of the `trial` every `EVERY` seconds.

    From a thread: the work before the first batch of a fit may take longer than `SILENT`.
    """
    over = threading.Event()

    def beat():
        count = 0
        while not over.wait(EVERY):
            count += 1
            try:
                trial.set_user_attr(BEAT, count)
            except optuna.exceptions.UpdateFinishedTrialError:  # somebody took it for dead
                return
            except Exception:  # a storage that does not respond now may do so next time
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
