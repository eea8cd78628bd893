"""The command line: light, helpful, and exact about what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from option_tables import COMMANDS as SCRIPTS

from vlg_fastai import cli, synonyms
from vlg_fastai.cli import as_json, parse
from vlg_fastai.config import InterpretConfig, PredictConfig, TrainConfig, UserError
from vlg_fastai.helping import groups, helps, usage
from vlg_fastai.recipes import RECIPES

ROOT = Path(__file__).parents[1]
LOADED = "import sys; sys.path.insert(0, '.'); sys.argv[0] = sys.argv[1]; del sys.argv[1]\n" + (
    "import atexit, importlib; atexit.register(lambda: print('LOADED', *sys.modules))\n"
    "importlib.import_module(sys.argv[0].removesuffix('.py')).main()"
)


def call(*arguments):
    "Run a script in a Python of its own: (exit status, output, names of loaded modules)."
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    output, _, loaded = (done.stdout + done.stderr).partition("LOADED")
    return done.returncode, output + loaded, set(done.stdout.partition("LOADED")[2].split())


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_without_torch_and_names_every_option(script):
    status, output, loaded = call(f"{script}.py", "--help")
    assert status == 0
    assert not {"torch", "fastai", "timm", "matplotlib"} & loaded
    text = " ".join(output.replace("│", " ").split())
    for name, told in helps(SCRIPTS[script]).items():
        assert usage(SCRIPTS[script], name) in output
        assert told in text, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train.py", "--data", "no/such/folder"), "error: --data no/such/folder: no such folder"),
        (("train.py", "--epoch", "3"), "--epochs"),
        (("train.py", "--epochs", "none"), "invalid"),
        (("train.py", "--bs", "1"), "error: --bs 1: must be 2 or more"),
        (("train.py", "--config", "nowhere.json"), "error: --config nowhere.json: no such file"),
        (("predict.py", "--runs", "no/runs"), "error: --runs no/runs: no usable run"),
        (("predict.py", "--run", "41"), "error: --run 41: no such run"),
        (("predict.py", "--test", "no/photos"), "error: --test no/photos: no such folder"),
        (("predict.py", "--sample", "no.csv"), "error: --sample no.csv: no such file"),
        (("predict.py", "--out", "tests"), "error: --out tests: not a file"),
        (("train.py", "--weights", "no.pth"), "error: --weights no.pth: no such file"),
        (("train.py", "--runs", "README.md"), "error: --runs README.md: not a folder"),
        (("audit.py", "--data", "no/data"), "error: --data no/data: no such folder"),
        (("predict.py", "--transductive"), "error: --transductive: needs --unseen or --classes"),
        (("predict.py", "--reject", "x", "--unseen", "README.md"), "conflicts with --unseen"),
        (("interpret.py", "--data", "no/data"), "error: --data no/data: no such folder"),
        (("interpret.py", "--runs", "no/runs"), "error: --runs no/runs: no usable run"),
    ],
)
def test_a_mistake_is_told_without_torch_and_exits_with_two(arguments, message):
    status, output, loaded = call(*arguments)
    assert status == 2
    assert message in output
    assert "Traceback" not in output
    assert not {"torch", "fastai"} & loaded


@pytest.mark.parametrize("config_class", SCRIPTS.values())
def test_every_option_says_what_it_is_for(config_class):
    told = helps(config_class)
    for name in config_class.__dataclass_fields__:
        assert len(told[name]) > 12, name


@pytest.mark.parametrize("config_class", SCRIPTS.values())
def test_help_shows_every_option_once_and_everyday_ones_first(config_class):
    found = groups(config_class)
    shown = [name for names in found.values() for name in names]
    assert sorted(shown) == sorted(config_class.__dataclass_fields__)
    assert "" not in found, "an option stands above the first heading"
    assert next(iter(found)) in ("Everyday", "Reports")


def test_help_fits_a_terminal_of_80_columns():
    done = subprocess.run(
        [sys.executable, "train.py", "--help"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "--lr X|find" in done.stdout
    assert "--[no-]probe" in done.stdout
    assert "{None}" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train.py", "--batch-size", "8"), "--batch-size: it is called --bs here"),
        (("train.py", "--learning_rate=1"), "--learning-rate: it is called --lr here"),
        (("train.py", "--lr-find"), "--lr-find: it is called --lr find here"),
        (("train.py", "--imgsz", "64"), "--imgsz: it is called --size here"),
        (("train.py", "--model", "x"), "--model: it is called --arch here"),
        (("train.py", "--optimizer", "sgd"), "--optimizer: there is no such option; AdamW"),
        (("train.py", "--lr", "1e-3,1e-4"), "--lr 1e-3 --lr-body 1e-4"),
        (("predict.py", "--output", "x.csv"), "--output: it is called --out here"),
    ],
)
def test_a_name_from_elsewhere_is_answered_with_ours(arguments, message):
    status, output, loaded = call(*arguments)
    assert status == 2
    assert message in output
    assert not {"torch", "fastai"} & loaded


def test_no_synonym_hides_an_option_of_ours():
    for config_class in SCRIPTS.values():
        own = {name.replace("_", "-") for name in config_class.__dataclass_fields__}
        synonyms.check([f"--{name}" for name in own], own)
    assert all(not name.startswith("-") for name in synonyms.NAMES)


def test_the_number_of_a_run_stands_for_its_config(tmp_path):
    run = tmp_path / "0003-net"
    run.mkdir()
    (run / "config.json").write_text('{"epochs": 9}')
    assert parse(TrainConfig, ["--config", "3", "--runs", str(tmp_path)]).epochs == 9


def test_a_stored_config_reads_back_equal(tmp_path):
    cfg = TrainConfig(
        data=tmp_path, crop_pct=0.9, lr="find", lr_body=1e-3, epochs=7, weighted=False, name="n"
    )
    (tmp_path / "config.json").write_text(json.dumps(as_json(cfg)))
    given = parse(TrainConfig, ["--config", str(tmp_path / "config.json")])
    assert as_json(given) == as_json(cfg)


def test_flags_win_over_a_stored_config_and_that_over_the_defaults_of_the_folder(tmp_path):
    (tmp_path / "config.json").write_text('{"epochs": 9, "size": 64}')
    asked = ["--config", str(tmp_path), "--size", "96"]
    cfg = parse(TrainConfig, asked, adapt=lambda cfg: {"epochs": 1, "size": 32, "bs": 4})
    assert (cfg.epochs, cfg.size, cfg.bs, cfg.lr) == (9, 96, 4, 2e-3)


def test_the_original_recipe_shows_the_whole_short_side():
    assert parse(TrainConfig, []).crop_pct == 1.0
    assert parse(TrainConfig, ["--crop-pct", "own"]).crop_pct == "own"


def test_a_recipe_sets_defaults_that_options_override(monkeypatch):
    monkeypatch.setitem(RECIPES, "original", {"wd": 0.05, "epochs": 8})
    cfg = parse(TrainConfig, ["--epochs", "3"])
    assert (cfg.wd, cfg.epochs) == (0.05, 3)


def test_the_strong_recipe_is_a_set_of_defaults():
    cfg = parse(TrainConfig, ["--recipe", "strong", "--wd", "0.2"])
    assert (cfg.ema, cfg.layer_decay, cfg.targets, cfg.wd) == (True, 0.8, "soft", 0.2)
    assert parse(TrainConfig, []).ema is False


@pytest.mark.parametrize(
    "stored",
    [{"epoch": 3}, {"epochs": 2.5}, {"epochs": "5"}, {"aug": "wild"}, {"weighted": "yes"},
     {"epochs": True}, {"data": 3}, {"lr": "search"}, {"name": 7}],
)  # fmt: skip
def test_an_unknown_or_ill_typed_stored_option_is_an_error(tmp_path, stored):
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=next(iter(stored))):
        parse(TrainConfig, ["--config", str(tmp_path)])


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_a_stored_config_that_is_none_is_an_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="--config"):
        parse(TrainConfig, ["--config", str(tmp_path)])


@pytest.mark.parametrize(
    "flags",
    [["--bs", "1"], ["--size", "8"], ["--seed", "99999999999999999999"], ["--lr", "-1"],
     ["--valid-pct", "1"], ["--label-smoothing", "1"], ["--workers", "-2"], ["--mixup", "-1"],
     ["--wd", "-1"], ["--patience", "0"]],
)  # fmt: skip
def test_a_number_out_of_range_names_option_value_and_range(flags):
    with pytest.raises(UserError, match=rf"{flags[0]} {flags[1]}.*: must be "):
        parse(TrainConfig, flags)


def test_mixup_and_cutmix_exclude_each_other():
    with pytest.raises(UserError, match="--cutmix 1.0: conflicts with --mixup"):
        parse(TrainConfig, ["--mixup", "0.2", "--cutmix", "1"])


def test_top_losses_takes_a_number_or_none():
    assert parse(InterpretConfig, []).top_losses is None
    assert parse(InterpretConfig, ["--top-losses"]).top_losses == ()
    assert parse(InterpretConfig, ["--top-losses", "20"]).top_losses == (20,)


def test_several_runs_are_named_one_after_the_other():
    assert parse(PredictConfig, ["--run", "3", "runs/0004-x"]).run == ("3", "runs/0004-x")


def test_a_terminal_shows_no_bars_but_ours(monkeypatch):
    names = ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    with cli.plain_errors():
        pass
    show = "from tqdm.auto import tqdm; list(tqdm(range(3)))"
    shown = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"


def test_an_interrupted_run_does_not_let_a_shell_go_on(capsys, tmp_path):
    from vlg_fastai.runs.run import Run

    (tmp_path / "facts.json").write_text('{"status": "interrupted", "classes": ["a", "b"]}')
    with pytest.raises(SystemExit) as stop, cli.plain_errors():
        Run(tmp_path).check_finished()
    assert stop.value.code == 130
    assert "holds the best so far" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop, cli.plain_errors():
        (tmp_path / "no" / "file").write_text("x")
    assert stop.value.code == 2
    assert "No such file" in capsys.readouterr().err


def test_a_users_mistake_is_one_line_and_anything_else_keeps_its_traceback(capsys):
    with pytest.raises(SystemExit) as stop, cli.plain_errors():
        raise UserError("--data x: no such folder")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --data x: no such folder\n"
    with pytest.raises(ZeroDivisionError), cli.plain_errors():
        _ = 1 / 0


def test_a_recipe_suits_the_net_that_is_there():
    bundled, default = (
        parse(TrainConfig, ["--recipe", "strong", *arch])
        for arch in (["--arch", "tf_efficientnet_lite1"], [])
    )
    assert (bundled.epochs, bundled.lr_body, bundled.drop_path) == (5, 3e-4, 0.0)
    assert (default.epochs, default.lr_body, default.drop_path) == (10, 1e-4, 0.1)
    assert parse(TrainConfig, ["--recipe", "strong", "--epochs", "3"]).epochs == 3


def test_a_net_that_steps_in_gets_the_recipe_of_its_own(monkeypatch):
    from functools import partial

    from vlg_fastai import commands

    monkeypatch.setattr("vlg_fastai.model.sources._on_hub", lambda name: None)
    monkeypatch.setattr(commands, "defaults_for", lambda cfg: {})
    cfg, source = commands.with_source(partial(parse, TrainConfig, ["--recipe", "strong"]))
    assert source.arch == cfg.arch == "tf_efficientnet_lite0"
    assert cfg.lr_body == 3e-4


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 7) is killed by signal: Bus error.",
        "Caught RuntimeError in DataLoader worker process 0.\nunable to write to file </torch_1_2>:"
        " No space left on device (28)",
    ],
)
def test_reading_processes_without_shared_memory_are_one_line(capsys, text):
    with pytest.raises(SystemExit) as stop, cli.plain_errors():
        raise RuntimeError(text)
    assert stop.value.code == 2
    assert "error: --workers: " in capsys.readouterr().err
    with pytest.raises(RuntimeError), cli.plain_errors():
        raise RuntimeError("Caught KeyError in DataLoader worker process 0.")


def test_another_recipe_replaces_what_the_stored_one_set(tmp_path):
    stored = {"recipe": "original", "epochs": 3, "head": "mlp", "size": 64}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    asked = ["--config", str(tmp_path / "config.json")]
    assert parse(TrainConfig, asked).epochs == 3
    cfg = parse(TrainConfig, [*asked, "--recipe", "strong", "--arch", "tf_efficientnet_lite0"])
    assert (cfg.recipe, cfg.epochs, cfg.head, cfg.size) == ("strong", 5, "linear", 64)
    assert cfg.targets == "soft"
    asked += ["--recipe", "strong", "--epochs", "7"]
    assert parse(TrainConfig, asked).epochs == 7
