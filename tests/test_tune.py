"""A search fits nothing twice, loses nothing, and claims no more for its best than photos show."""

import dataclasses
import json
import multiprocessing
import time
import warnings
import zlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import ARCH, obstacles, opened, run_training
from test_cli import call

optuna = pytest.importorskip("optuna", reason="pip install -r requirements-tune.txt")

from vlg_fastai import console  # noqa: E402
from vlg_fastai.cli import as_json, configured  # noqa: E402
from vlg_fastai.config import TrainConfig, UserError  # noqa: E402
from vlg_fastai.model.sources import choose  # noqa: E402
from vlg_fastai.pages import page  # noqa: E402
from vlg_fastai.runs.facts import Facts  # noqa: E402
from vlg_fastai.tune import report, run, space, study, verdict  # noqa: E402
from vlg_fastai.tune.judge import AGAIN, FOLD, OUTER, Scored, crossed  # noqa: E402
from vlg_fastai.tune.known import Known  # noqa: E402
from vlg_fastai.tune.options import TuneConfig  # noqa: E402
from vlg_fastai.tune.search import STOPPED, Search  # noqa: E402

WD = {"wd": space.Range(1e-3, 0.2, log=True)}


class FakeJudge:
    "Nets whose loss is the `effect` of their options, with noise of photos and of fits."

    def __init__(self, effect=lambda options: 0.0, photos=80, fit_noise=0.0, seed=0):
        self.effect, self.photos, self.fit_noise = effect, photos, fit_noise
        self.seed, self.asked = seed, []

    def groups(self, part):
        return np.arange(self.photos)

    def answer(self, options, part):
        asked = json.dumps(options), part
        self.asked.append(asked)
        hard = np.random.default_rng((self.seed, zlib.crc32(repr(part).encode())))
        rng = np.random.default_rng((self.seed, zlib.crc32(repr(asked).encode())))
        noise = rng.normal(0, 0.2, self.photos) + rng.normal(0, self.fit_noise)
        losses = hard.exponential(1, self.photos) + self.effect(options) + noise
        return Scored(losses, 0.9, 1.0)


def searching(judge, tmp_path, trials=12, name="study.log", **options):
    "A finished Search of so many trials with a `judge`."
    cfg = TuneConfig(out=tmp_path, trials=trials, study=tmp_path / name, **options)
    opened = study.opened(cfg, {"about": "toys"})
    made = Search(WD, {"wd": 0.05}, Known(opened, judge), cfg.folds, cfg.seed)
    study.enqueue(opened, [made.default])
    run.one_by_one(cfg, made)
    return made


def far(options):
    return abs(np.log(options["wd"] / 0.004)) / 4


def test_it_finds_what_is_better_and_says_so(tmp_path, capsys):
    made = searching(FakeJudge(far), tmp_path, trials=20)
    told = verdict.last_word(made)
    assert told.word == "better"
    assert told.interval[0] < far(made.default) - far(told.options) < told.interval[1]
    assert far(told.options) < far(made.default) / 2
    assert "trial 0: NLL" in capsys.readouterr().out


def test_nothing_is_fitted_twice(tmp_path):
    judge = FakeJudge(far)
    made = searching(judge, tmp_path)
    verdict.last_word(made)
    fits = len(judge.asked)
    assert len(set(judge.asked)) == fits
    again = searching(judge, tmp_path)
    verdict.last_word(again)
    assert len(judge.asked) == fits


def test_the_last_word_says_how_far_it_is_and_counts_only_what_is_missing(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)
    made = searching(FakeJudge(far), tmp_path)
    made.fitted(made.default, verdict.CONFIRM[0])  # an earlier run got as far as this
    capsys.readouterr()
    verdict.last_word(made)
    told = capsys.readouterr().out.splitlines()
    assert [line.rpartition(",")[0] for line in told] == [
        *(f"judging again, fit {done}/7" for done in range(1, 7)),
        "final check, fit 1/2",
    ]


def test_a_search_that_goes_on_counts_its_folds_from_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "LINE_EVERY", 0.0)

    class Stopped(FakeJudge):
        def answer(self, options, part):
            if len(self.asked) == 7:  # in the third or fourth trial
                raise KeyboardInterrupt
            return super().answer(options, part)

    with pytest.raises(KeyboardInterrupt):
        searching(Stopped(), tmp_path, trials=4, folds=3)
    done = capsys.readouterr().out.count(": NLL ")
    searching(FakeJudge(), tmp_path, trials=4, folds=3)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("folds of")]
    counted = [int(line.split()[3].split("/")[0]) for line in told]
    assert counted == sorted(counted)
    assert counted[0] == 3 * done + 1
    assert max(counted) < 12


def test_a_trial_that_is_hopeless_is_stopped_and_tells_what_compares(tmp_path):
    made = searching(FakeJudge(far), tmp_path)
    stopped = [trial for trial in made.done() if STOPPED in trial.user_attrs]
    assert stopped
    assert all(len(trial.user_attrs["folds"]) < made.folds for trial in stopped)
    best = made.whole()[0]
    assert min(trial.value for trial in made.done()) == best[0]
    for trial in stopped:  # another fold is harder or easier; the difference is what counts
        assert trial.value - best[0] == pytest.approx(far(trial.params) - far(best[1]), abs=0.15)


@pytest.mark.parametrize("fit_noise", [0.0, 0.1])
def test_equal_options_end_in_better_no_more_often_than_chance_allows(tmp_path, fit_noise):
    words = []
    for seed in range(16):
        judge = FakeJudge(fit_noise=fit_noise, seed=seed)
        made = searching(judge, tmp_path, 8, f"{seed}.log", seed=seed, sampler="random")
        words.append(verdict.last_word(made).word)
    assert words.count("better") <= 3  # of 0.05 each: more than three are one in 100
    assert set(words) <= {"better", "cannot tell", "worse", "none"}


def test_the_noise_of_fits_is_told_from_that_of_photos():
    rng = np.random.default_rng(0)

    def gains(fits):
        photos = rng.normal(0, 0.03, 5)
        return [verdict.Gain(0.1 + photos[i] + rng.normal(0, fits), 0.03**2) for i in range(5)]

    quiet, loud = ([gains(fits) for _ in range(200)] for fits in (0.0, 0.06))
    assert verdict.Noise.of(quiet).variance < 0.01**2
    assert np.sqrt(verdict.Noise.of(loud).variance) == pytest.approx(0.06, rel=0.1)
    assert verdict.Noise.of([gains(0.1)[:1]]).freedom == 1


def test_a_worse_result_is_said_to_be_higher_and_not_lower_by_less_than_nothing():
    worse = verdict.Verdict("worse", {}, -0.18, (-0.3, -0.06), (0.9, 0.85), 120)
    assert "worse: NLL higher by 0.1800 (0.0600 to 0.3000) than" in worse.in_words()
    better = verdict.Verdict("better", {}, 0.18, (0.06, 0.3), (0.85, 0.9), 120)
    assert "better: NLL lower by 0.1800 (0.0600 to 0.3000) than" in better.in_words()


def test_a_trial_whose_process_died_is_tried_again_and_keeps_its_folds(tmp_path, capsys):
    judge = FakeJudge(far)
    made = searching(judge, tmp_path, trials=3)
    opened = made.known.study
    wd = optuna.distributions.FloatDistribution(1e-3, 0.2, log=True)
    left = opened.ask(fixed_distributions={"wd": wd})
    study.begin(left)
    left.set_user_attr(study.PID, 2**22 + 1)  # no such process
    done = made.known(left.params, (FOLD, 1))
    before = len(judge.asked)
    searching(judge, tmp_path, trials=4)
    assert f"trial {left.number}: its process died; trying it again" in capsys.readouterr().out
    again = opened.get_trials()[-1]
    assert again.user_attrs[study.INSTEAD] == left.number
    assert again.params == left.params
    assert (json.dumps(left.params), (FOLD, 1)) not in judge.asked[before:]
    assert np.allclose(made.known.find(left.params, (FOLD, 1)).losses, done.losses, atol=1e-6)


def test_a_trial_beats_before_its_first_batch_and_no_longer_than_it_lasts(monkeypatch):
    monkeypatch.setattr(study, "EVERY", 0.01)
    opened = optuna.create_study()
    trial = opened.ask()
    study.begin(trial)

    def beat():
        return opened.get_trials()[0].user_attrs[study.BEAT]

    with study.beating(trial):
        deadline = time.monotonic() + 30
        while beat() < 3:
            assert time.monotonic() < deadline, "no beat came"
            time.sleep(0.01)
    last = beat()
    time.sleep(0.1)
    assert beat() == last


def test_a_trial_that_somebody_took_for_dead_goes_on_beating_without_an_error(monkeypatch):
    monkeypatch.setattr(study, "EVERY", 0.01)
    opened = optuna.create_study()
    trial = opened.ask()
    study.begin(trial)
    study.tell_failed(opened, opened.get_trials()[0])
    with study.beating(trial):
        time.sleep(0.1)


def test_a_trial_whose_process_is_only_half_recorded_is_alive(monkeypatch):
    opened = optuna.create_study()
    trial = opened.ask()
    watch, told = study.Pulse(opened, beats=False), type(trial).set_user_attr
    dead = []

    def noted(self, name, value):
        told(self, name, value)
        dead.append(watch.is_dead(opened.get_trials()[0]))

    monkeypatch.setattr(type(trial), "set_user_attr", noted)
    study.begin(trial)
    assert dead == [False, False, False]


def test_a_trial_that_another_process_took_for_dead_ends_no_search(tmp_path, capsys):
    judge, took = FakeJudge(far), []

    def one_is_taken(options, part, answer=judge.answer):
        if not took:
            (running,) = made.known.study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
            study.tell_failed(made.known.study, running)
            took.append(running.number)
        return answer(options, part)

    made = searching(judge, tmp_path, trials=2)
    judge.answer = one_is_taken
    run.one_by_one(TuneConfig(out=tmp_path, trials=4), made)
    assert "took this trial for dead" in capsys.readouterr().out
    assert len(made.done()) == 4
    assert made.known.study.get_trials()[took[0]].state is optuna.trial.TrialState.FAIL


def test_a_lock_that_a_killed_process_left_makes_nobody_look_dead():
    assert study.SILENT > 3 * study.LOCKED + study.EVERY


def test_a_trial_on_another_machine_is_dead_when_its_beat_is_silent(tmp_path, monkeypatch):
    opened = optuna.create_study()
    trial = opened.ask()
    study.begin(trial)
    trial.set_user_attr(study.HOST, "elsewhere")
    watch, now = study.Pulse(opened, beats=False), [0.0]
    monkeypatch.setattr(study, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def dead():
        return watch.is_dead(opened.get_trials()[0])

    assert not dead()
    now[0] = study.SILENT - 1
    trial.set_user_attr(study.BEAT, 1)
    assert not dead()
    now[0] += study.SILENT - 1
    assert not dead()
    now[0] += 2
    assert dead()


class SlowJudge(FakeJudge):
    "Takes a while, and notes its fits in the file `log`."

    def __init__(self, log):
        super().__init__(far)
        self.log = log

    def answer(self, options, part):
        time.sleep(0.05)
        found = super().answer(options, part)
        with self.log.open("a") as file:
            file.write(f"{self.asked[-1]}\n")
        return found


def worker(tmp_path, trials):
    "A started process that searches; forked where it can be, since imports take seconds."
    forks = "fork" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if forks else "spawn")
    given = SlowJudge(tmp_path / "fits.log"), tmp_path, trials
    process = context.Process(target=searching, args=given)
    process.start()
    return process


@pytest.mark.slow
def test_two_processes_share_a_study_of_which_one_is_killed(tmp_path):
    trials = 8
    one, other = worker(tmp_path, trials), worker(tmp_path, trials)
    log = tmp_path / "fits.log"
    while not log.exists() or log.read_text().count("\n") < 4:
        assert one.exitcode is None
        time.sleep(0.05)
    one.kill()
    one.join()
    other.join(120)
    assert other.exitcode == 0
    storage = study.storage_of(TuneConfig(study=tmp_path / "study.log"))
    opened = optuna.load_study(study_name=study.NAME, storage=storage)
    finished, running = study.counts(opened)
    assert finished >= trials
    assert running == 0
    kept = [key for key in opened.user_attrs if key != study.ABOUT]
    fits = log.read_text().splitlines()
    assert len(fits) - len(set(fits)) <= 1  # a fit killed between its end and its storage
    assert len(kept) >= len(set(fits)) - 1


def test_a_fold_never_sees_who_judges_it_nor_the_outer_side(toy, tmp_path):
    judge = search_for(tune_config(toy, tmp_path)).known.judge
    outer = judge.held((OUTER, 0))
    assert outer.any()
    table = judge.prepared.table
    parts = [(FOLD, 0), (FOLD, 1), (AGAIN, 0), (AGAIN, 1)]
    for part in parts:
        held = judge.held(part)
        assert held.any()
        assert not (held & outer).any()
        prepared = judge._of({}, part)
        taught = prepared.table[prepared.table["split"] == "train"]
        assert not set(taught["file"]) & set(table["file"][held | outer])
        assert not set(taught["group"]) & set(table["group"][held])
        assert prepared.spec.classes == judge.prepared.spec.classes
    assert not (judge.held((FOLD, 0)) & judge.held((FOLD, 1))).any()
    assert (judge.held((AGAIN, 0)) != judge.held((AGAIN, 1))).any()


def test_a_photo_is_judged_under_a_temperature_that_others_gave():
    rng = np.random.default_rng(0)
    y, groups, z = rng.integers(0, 3, 40), np.arange(40), rng.normal(size=(40, 3))
    before = crossed([z], y, groups)
    y[7] = (y[7] + 1) % 3
    after = crossed([z], y, groups)
    same_part = np.isclose(before, after)
    assert 0 < same_part.sum() < 40  # its own part is judged as before
    broken = crossed([np.where(np.arange(40)[:, None] == 3, np.nan, z)], y, groups)
    assert np.isfinite(broken).all()


def tune_config(data, out, **options):
    given = {"data": data, "out": out / "tune", "arch": ARCH, "pretrained": False, "size": 32}
    given |= {"device": "cpu", "precision": "fp32", "workers": 0, "trials": 3, "folds": 2}
    return TuneConfig(**{**given, "fix": ("epochs=1", "bs=8", "targets=given"), **options})


def source_of(cfg):
    return choose(cfg.arch, cfg.weights, cfg.pretrained)


def search_for(cfg):
    asked, fixed = space.asked(cfg)
    source = source_of(cfg)
    return run.search_of(cfg, run.base_of(cfg, source, fixed), source, asked)


def test_a_search_writes_what_train_takes_a_table_and_a_page(toy, tmp_path, capsys):
    cfg = tune_config(toy, tmp_path)
    path = run.tune(cfg, source_of(cfg))
    told = capsys.readouterr().out
    assert f"next: python train.py --config {path}" in told
    assert told.count("epoch") == 0  # fits are silent
    trials = pd.read_csv(tmp_path / "tune/trials.csv")
    assert len(trials) == 3
    assert {"trial", "nll", "folds", "stopped", "seconds", "lr", "wd", "aug"} <= set(trials)
    page = (tmp_path / "tune/index.html").read_text(encoding="utf-8")
    assert "that no trial has seen" in page
    stored = json.loads(path.read_text())
    assert stored["epochs"] == 1
    given = {"probe": False, "warm_start": False, "device": "cpu", "workers": 0}
    again = configured(TrainConfig, {"config": path, "runs": tmp_path / "runs", **given})
    assert run_training(again).facts.status == "finished"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_of_a_search_has_no_obstacles(browser, tmp_path, width, scheme):
    trial = {"trial": 0, "nll": 0.5, "folds": 2, "stopped": False, "seconds": 3.0, "aug": "<b>"}
    rows = [trial, {**trial, "trial": 1, "nll": 0.4, "stopped": True}]
    values = {"words": "cannot tell", "folds": 2, "cost": "6 s", "best": {"aug": "basic"},
              "shown": {"aug": "<b>"}, "charts": {"history": report.history(rows)},
              "columns": ["trial", "NLL", "folds", "time", "aug"]}  # fmt: skip
    cells = list(map(report.cells, rows))
    page.write(tmp_path / "index.html", "tune.html", rows=cells, **values)
    shown, errors = opened(browser, tmp_path, width, scheme)
    shown.wait_for_selector("body[data-ready]")
    assert shown.inner_text(".lead") == "Cannot tell."
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert "aug &lt;b>" in report.history(rows)["data"][0]["text"][0]
    assert obstacles(shown) == []
    assert errors == []
    shown.context.close()


def test_a_search_that_was_stopped_goes_on_where_it_was(toy, tmp_path, monkeypatch):
    from vlg_fastai.tune.judge import Judge

    cfg, fits, answer = tune_config(toy, tmp_path), [], Judge.answer

    def stops(self, options, part):
        if len(fits) == 3:
            raise KeyboardInterrupt
        fits.append((json.dumps(options), part))
        return answer(self, options, part)

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "answer", stops)
        with pytest.raises(KeyboardInterrupt, match="the same command resumes"):
            run.tune(cfg, source_of(cfg))
    assert len(pd.read_csv(cfg.out / "trials.csv")) == 1
    done = list(fits)

    def noted(self, options, part):
        fits.append((json.dumps(options), part))
        return answer(self, options, part)

    monkeypatch.setattr(Judge, "answer", noted)
    run.tune(cfg, source_of(cfg))
    assert len(set(fits)) == len(fits) > len(done)
    assert len(pd.read_csv(cfg.out / "trials.csv")) == 3


def test_a_study_of_other_photos_or_options_is_refused(toy, tmp_path):
    search_for(tune_config(toy, tmp_path))
    for changed in ({"fix": ("epochs=2", "bs=8", "targets=given")}, {"seed": 7}, {"folds": 3}):
        with pytest.raises(UserError, match="--study .*: that study differs in"):
            search_for(tune_config(toy, tmp_path, **changed))


def test_a_data_base_is_shared_in_the_same_way(toy, tmp_path):
    cfg = tune_config(toy, tmp_path, storage=f"sqlite:///{tmp_path}/study.db", trials=2)
    run.tune(cfg, source_of(cfg))
    assert len(pd.read_csv(cfg.out / "trials.csv")) == 2
    with pytest.raises(UserError, match="--storage nonsense: .*sqlite"):
        search_for(tune_config(toy, tmp_path, storage="nonsense"))


@pytest.mark.slow
def test_processes_on_several_devices_share_the_trials(toy, tmp_path, capsys):
    cfg = tune_config(toy, tmp_path, devices="cpu,cpu", trials=4)
    run.tune(cfg, source_of(cfg))
    assert len(pd.read_csv(cfg.out / "trials.csv")) >= 4
    told = capsys.readouterr().out
    assert all(f"trial {number}: NLL" in told for number in range(4))


def test_hours_end_a_search_with_time_for_the_last_word(tmp_path, monkeypatch, capsys):
    made = searching(FakeJudge(), tmp_path, trials=2)
    made.fits, made.deadline = [2.0] * 5, time.monotonic() + 10
    run.one_by_one(TuneConfig(out=tmp_path, trials=9, hours=1.0), made)
    assert "--hours 1.0: 2 trials fitted" in capsys.readouterr().out
    assert study.counts(made.known.study) == (2, 0)


def test_the_space_is_narrowed_fixed_and_clipped():
    asked, fixed = space.asked(TuneConfig(fix=("wd=0.05", "--lr-body=1e-4", "ema=true")))
    assert fixed == {"wd": 0.05, "lr_body": 1e-4, "ema": True}
    assert not set(fixed) & set(asked)
    values = {"lr": 1.0, "epochs": 40, "aug": "none", "label_smoothing": 0.12, "ema": True}
    near = space.nearest(values, {name: space.SPACE[name] for name in values})
    assert near == {"lr": 1e-2, "epochs": 16, "aug": "basic", "label_smoothing": 0.1, "ema": True}
    assert not space.is_inside(values, {name: space.SPACE[name] for name in values})
    own = space.of(as_json(TrainConfig()), space.SPACE)
    assert own["dropout"] == 0.5
    assert own["lr_body"] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"lr": [1e-5, 1e-2]}, "lr: give a list of two numbers within 0.0001 to 0.01"),
        ({"aug": ["sepia"]}, "aug: give a list of some of basic, strong"),
        ({"aug": "basic"}, "aug: give a list"),
        ({"data": ["x"]}, "data is not searched; what is: lr"),
    ],
)
def test_a_space_that_cannot_be_is_named(tmp_path, told, reason):
    path = tmp_path / "space.json"
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match=reason):
        space.asked(TuneConfig(space=path))
    path.write_text("[1]")
    with pytest.raises(UserError, match="--space"):
        space.asked(TuneConfig(space=path))


def test_a_space_is_narrowed_by_a_file(tmp_path):
    path = tmp_path / "space.json"
    path.write_text(json.dumps({"lr": [2e-4, 1e-3], "aug": ["strong"], "epochs": [2, 4]}))
    asked, _ = space.asked(TuneConfig(space=path))
    assert (asked["lr"].low, asked["lr"].high) == (2e-4, 1e-3)
    assert asked["aug"].values == ("strong",)
    assert asked["epochs"].whole


@pytest.mark.parametrize(
    ("fix", "reason"),
    [("wd", "give option=value"), ("nothing=3", "with an option of train.py"),
     ("wd=much", "wd cannot be 'much'"), ("seed=3", "give option=value")],
)  # fmt: skip
def test_what_cannot_be_fixed_is_named(fix, reason):
    with pytest.raises(UserError, match=f"--fix {fix}: .*{reason}"):
        space.asked(TuneConfig(fix=(fix,)))


def test_a_fixed_value_out_of_its_limits_is_named(toy, tmp_path):
    for fix, reason in (("bs=1", "--bs 1: must be 2 or more"), ("epochs=0", "--fix epochs=0")):
        with pytest.raises(UserError, match=reason):
            search_for(tune_config(toy, tmp_path, fix=(fix,)))


def test_the_plan_is_shown_without_torch_or_optuna():
    status, output, loaded = call("tune.py", "--dry-run", "--fix", "aug=strong")
    assert status == 0
    assert "strong (--fix)" in output
    assert "nothing was done (--dry-run)" in output
    assert not {"torch", "optuna"} & loaded


def test_without_optuna_one_line_names_the_command(monkeypatch, capsys):
    from vlg_fastai import checks, commands

    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        commands.tune(["--arch", "tf_efficientnet_lite0"])
    assert stop.value.code == 2
    assert "tune.py: needs optuna: pip install -r requirements-tune.txt" in capsys.readouterr().err


def test_options_of_an_earlier_run_are_tried_after_the_defaults(toy, tmp_path, finished_run):
    cfg = tune_config(toy, tmp_path, from_run=str(finished_run.path))
    asked, fixed = space.asked(cfg)
    base = run.base_of(cfg, source_of(cfg), fixed)
    made = search_for(cfg)
    run.begin(cfg, base, made, asked)
    waiting = [t.system_attrs["fixed_params"] for t in made.known.study.get_trials()]
    assert waiting[0] == made.default
    assert waiting[1]["lr"] == finished_run.config["lr"]
    assert dataclasses.asdict(base)["keep"] == "last"


def test_a_run_that_never_found_its_rate_is_refused(toy, tmp_path, finished_run, monkeypatch):
    cfg = tune_config(toy, tmp_path, from_run=str(finished_run.path))
    asked, fixed = space.asked(cfg)
    base, made = run.base_of(cfg, source_of(cfg), fixed), search_for(cfg)
    facts = Facts(status="killed", classes=["a"])
    killed = SimpleNamespace(config={**finished_run.config, "lr": "find"}, facts=facts)
    monkeypatch.setattr(run, "find", lambda runs, names: [killed])
    with pytest.raises(UserError, match="--from .*: its --lr find found no rate"):
        run.begin(cfg, base, made, asked)


def test_the_defaults_are_judged_on_every_fold_whatever_is_better(tmp_path):
    judge = FakeJudge(lambda options: 0.0 if options["wd"] < 0.01 else 2.0)
    cfg = TuneConfig(out=tmp_path, trials=4, study=tmp_path / "study.log")
    opened = study.opened(cfg, {"about": "toys"})
    made = Search(WD, {"wd": 0.05}, Known(opened, judge), cfg.folds, cfg.seed)
    study.enqueue(opened, [{"wd": 0.002}, made.default])  # as after a Ctrl-C in trial 0
    run.one_by_one(cfg, made)
    assert STOPPED not in opened.get_trials()[1].user_attrs
    run.settle(cfg, made)
    assert verdict.last_word(made).word == "better"


def test_no_time_for_one_trial_is_one_line(tmp_path):
    cfg = TuneConfig(out=tmp_path, hours=1.0)
    made = Search(WD, {"wd": 0.05}, Known(study.opened(cfg, {}), FakeJudge()), cfg.folds, cfg.seed)
    with pytest.raises(UserError, match="--hours 1.0: no trial was judged on every fold"):
        run.settle(cfg, made)


def test_a_space_written_with_whole_numbers_holds_the_same_values(tmp_path):
    path = tmp_path / "space.json"
    path.write_text(json.dumps({"mixup": [0, 0.2], "ema": [True]}))
    asked, _ = space.asked(TuneConfig(space=path))
    assert [type(value) for value in asked["mixup"].values] == [float, float]
    path.write_text(json.dumps({"ema": [0, 1]}))
    with pytest.raises(UserError, match="ema: give a list of some of false, true"):
        space.asked(TuneConfig(space=path))


def test_what_excludes_each_other_is_not_searched_together():
    asked, _ = space.asked(TuneConfig(fix=("cutmix=1.0",)))
    assert "mixup" not in asked
    with pytest.raises(UserError, match="--fix lr=find: a search needs a number"):
        space.asked(TuneConfig(fix=("lr=find",)))


def test_a_dry_run_from_a_notebook_does_nothing(capsys):
    from vlg_fastai import api

    assert api.tune(dry_run=True) is None
    assert "nothing was done" in capsys.readouterr().out


def test_a_dead_trial_in_a_data_base_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SILENT", 1)
    monkeypatch.setattr(study, "EVERY", 1)
    cfg = TuneConfig(out=tmp_path, storage=f"sqlite:///{tmp_path}/s.db", trials=2, sampler="random")
    opened = study.opened(cfg, {})
    wd = optuna.distributions.FloatDistribution(1e-3, 0.2, log=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # only its later death is under test
        left = opened.ask(fixed_distributions={"wd": wd})
    opened._storage.record_heartbeat(left._trial_id)
    time.sleep(2.1)
    made = Search(WD, {"wd": 0.05}, Known(opened, FakeJudge()), cfg.folds, cfg.seed)
    run.one_by_one(cfg, made)
    again = [t for t in opened.get_trials() if t.user_attrs.get(study.INSTEAD) == left.number]
    assert len(again) == 1
    assert again[0].params == left.params
