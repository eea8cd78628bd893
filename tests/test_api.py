"""The commands as functions, the command `vlg`, and spawned worker processes."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import FINE_TUNED, toy_config
from fastai.callback.core import Callback, CancelFitException

from vlg_fastai import api, commands
from vlg_fastai.cli import configured, parse
from vlg_fastai.config import InterpretConfig, PredictConfig, TrainConfig, UserError
from vlg_fastai.data import folder, loaders, scan, split
from vlg_fastai.data.store import Store
from vlg_fastai.data.view import View
from vlg_fastai.machine.device import Machine
from vlg_fastai.runs.facts import Facts
from vlg_fastai.runs.run import Run

pytestmark = pytest.mark.xdist_group("api")  # one process: what the tests share is made once
ROOT = Path(__file__).parents[1]
QUICK = {"device": "cpu", "precision": "fp32", "workers": 0}
BUNDLED = {"arch": "tf_efficientnet_lite0", **QUICK}


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return api.train(data=str(toy), runs=runs, epochs=1, bs=8, **FINE_TUNED, **BUNDLED)


def python(code):
    "The output of `code` in a separate Python process."
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_it_loads_nothing_heavy():
    heavy = "{'torch', 'pandas', 'fastai', 'matplotlib'}"
    assert python(f"import sys, vlg_fastai.api; print({heavy} & set(sys.modules))") == "set()"


def test_its_names_are_functions_after_every_command_has_been_imported():
    rooms = "train.run", "predict.run", "report.interpret", "audit.run", "compare.run", "tune.run"
    imported = "; ".join(f"import vlg_fastai.{room}" for room in rooms)
    names = "train, predict, interpret, audit, compare, tune"
    told = python(
        f"{imported}; from vlg_fastai.api import {names}; print(*map(callable, ({names})))"
    )
    assert told == " ".join(["True"] * 6)


def test_each_function_does_what_its_command_does(run, toy, tmp_path):
    out = run.predict(out=tmp_path / "s.csv", **QUICK)
    assert out.read_text(encoding="utf-8").startswith("Id,Category")
    assert run.interpret(reliability=10, **QUICK)[0].name == "reliability.png"
    assert run.page(**QUICK).name == "index.html"
    assert api.compare(runs=run.path.parent).name == "index.html"
    found = api.audit(data=toy, out=tmp_path / "audit", size=64, **BUNDLED)
    assert found.read_text(encoding="utf-8").startswith("file,issue")


def test_a_run_is_named_by_itself_its_number_or_its_path(run, tmp_path):
    for number, name in enumerate([run, 1, "1", run.path, [run, run]]):
        out = tmp_path / f"{number}.csv"
        assert api.predict(run=name, runs=run.path.parent, out=out, **QUICK) == out


@pytest.mark.parametrize(
    ("options", "message"),
    [({"epoch": 3}, "unknown option 'epoch'"), ({"epochs": "many"}, "epochs cannot be 'many'"),
     ({"epochs": -1}, "--epochs -1: must be 0 or more"), ({"data": "nowhere"}, "no such folder")],
)  # fmt: skip
def test_mistakes_are_exceptions_that_say_what_the_commands_say(options, message):
    with pytest.raises(UserError, match=message):
        api.train(**options)


def test_keywords_make_the_config_that_the_command_line_makes(toy):
    words = ["--data", str(toy), "--recipe", "strong", "--epochs", "3", "--lr", "find"]
    given = {"data": str(toy), "recipe": "strong", "epochs": 3, "lr": "find"}
    assert configured(TrainConfig, given) == parse(TrainConfig, words)
    assert configured(InterpretConfig, {"top_losses": True}).top_losses == ()
    assert configured(InterpretConfig, {"top_losses": 5}).top_losses == (5,)
    assert configured(InterpretConfig, {}).top_losses is None
    assert configured(PredictConfig, {"cache": "off"}).cache == "off"


class StopAfterTwo(Callback):
    order = 70

    def after_epoch(self):
        if self.epoch == 1:
            raise CancelFitException("enough")


def test_the_callers_callbacks_are_part_of_the_fit(toy, tmp_path):
    options = {"arch": "test_efficientnet", "pretrained": False, "size": 32, "bs": 8, **QUICK}
    made = api.train(cbs=[StopAfterTwo()], data=toy, runs=tmp_path, epochs=5, **options)
    assert made.facts.epochs == 2
    assert made.facts.status == "finished"


def test_vlg_is_all_commands_in_one(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vlg"])
    commands.main(["--help"])
    assert (
        "vlg {train,predict,interpret,audit,compare,tune,export,generate}"
        in capsys.readouterr().out
    )
    with pytest.raises(SystemExit) as stop:
        commands.main(["fly"])
    assert stop.value.code == 2
    assert "vlg fly: no such command" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        commands.main(["compare", "--help"])
    assert stop.value.code == 0
    assert "usage: vlg compare" in capsys.readouterr().out


OLD = {"status": "finished", "accuracy": 0.9, "classes": ["a", "b"]}
AGES = {  # keys in facts.json of runs from each version, besides those that all of them have
    "without a choice": {},
    "with a choice": {"model": "probe", "candidates": [], "probe": {"error": 0.01}},
    "of a later version": {"model": "average", "something new": 3},
}


@pytest.mark.parametrize("age", AGES)
def test_facts_of_every_age_are_read(tmp_path, age):
    (tmp_path / "facts.json").write_text(json.dumps({**OLD, **AGES[age]}))
    facts = Run(tmp_path).facts
    assert (facts.status, facts.accuracy, facts.classes) == ("finished", 0.9, ["a", "b"])
    assert facts.is_probe == (age == "with a choice")
    assert facts.model == AGES[age].get("model", "fine-tuned")


@pytest.mark.parametrize("age", ["without a choice", "with a choice"])
def test_runs_of_every_age_predict_and_have_a_page(finished_run, tmp_path, age):
    facts = finished_run.facts.named()
    lacking = {"accuracy_interval", *(("model", "candidates") if age == "without a choice" else ())}
    old = Run(tmp_path / "0001-old")
    old.path.mkdir()
    for path in finished_run.path.glob("*.*"):
        (old.path / path.name).write_bytes(path.read_bytes())
    kept = {key: value for key, value in facts.items() if key not in lacking}
    (old.path / "facts.json").write_text(json.dumps(kept))
    assert api.predict(run=old, out=tmp_path / "s.csv", **QUICK).exists()
    assert api.interpret(run=old, page=True, **QUICK)[0].exists()


def test_facts_are_written_as_they_are_read(run, tmp_path):
    run.facts.write(tmp_path)
    assert (tmp_path / "facts.json").read_text() == (run.path / "facts.json").read_text()
    assert Facts.read(tmp_path) == run.facts


@pytest.mark.slow
def test_photos_are_read_by_processes_that_start_afresh(toy, tmp_path):
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)  # as on Windows and macOS
    try:
        table = split.assign(scan.scan_classes(folder.layout(toy)), 0.2, 0)
        view, machine = View(32, (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0), reading_by(1)
        pixels = view.pixels(table, Store(tmp_path))
        dl = loaders.plain(table["path"], view, 16, machine, pixels)
        assert [int(i) for _, places in dl for i in places] == list(range(len(table)))
        cfg = toy_config(None, None)
        dls = loaders.build(table, sorted(table["label"].unique()), view, pixels, machine, cfg)
        photos = (table["split"] == "train").sum()
        assert sum(len(y) for _, y in dls.train) == photos // cfg.bs * cfg.bs
    finally:
        multiprocessing.set_start_method(before, force=True)


def reading_by(workers):
    return Machine(torch.device("cpu"), "fp32", workers)
