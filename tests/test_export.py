"""An export answers as predict.py does, checks itself, and holds nothing personal."""

import dataclasses
import getpass
import json
import platform
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FINE_TUNED, run_prediction, run_training, toy_config
from PIL import Image

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -r requirements-export.txt")
pytest.importorskip("onnxscript", reason="pip install -r requirements-export.txt")

from vlg_fastai import api, commands  # noqa: E402
from vlg_fastai.config import PredictConfig, UserError  # noqa: E402
from vlg_fastai.data import images  # noqa: E402
from vlg_fastai.data.view import View  # noqa: E402
from vlg_fastai.export import card, graph, hub, pretrained, use  # noqa: E402
from vlg_fastai.export import run as running  # noqa: E402
from vlg_fastai.export.options import ExportConfig  # noqa: E402
from vlg_fastai.export.run import export_runs  # noqa: E402
from vlg_fastai.export.standalone import classifier as standalone  # noqa: E402
from vlg_fastai.export.standalone.classifier import Classifier  # noqa: E402
from vlg_fastai.predict.blending import Blended  # noqa: E402
from vlg_fastai.runs.blends import stored  # noqa: E402
from vlg_fastai.runs.facts import Facts, merged_extra  # noqa: E402
from vlg_fastai.runs.run import Run  # noqa: E402

pytestmark = [pytest.mark.xdist_group("export"), pytest.mark.usefixtures("graphs_once")]
LITE = {"arch": "tf_efficientnet_lite0", "pretrained": True}
PLAIN = {"adapt": "off", "forecast": False}


def exported(runs, out, **options):
    return export_runs(ExportConfig(out=out, **options), runs if isinstance(runs, list) else [runs])


def predicted(run, out, **options):
    "{file: probabilities by class} of predict.py."
    run_prediction(run, out / "s.csv", **{**PLAIN, **options})
    return pd.read_csv(out / "probabilities.csv").set_index("file")


@pytest.mark.slow
def test_an_export_predicts_what_predict_predicts(exported_probe, tmp_path, challenge):
    run, home = exported_probe
    want = predicted(run, tmp_path)
    classifier = Classifier(home)
    files = [name for name in want.index if pd.isna(want.loc[name, "problem"])]
    probs, shares = classifier([challenge / "test" / name for name in files])
    assert np.abs(probs - want.loc[files, classifier.labels].to_numpy()).max() < 2e-3  # of a probe
    assert ((shares >= 0) & (shares <= 1)).all()
    one, _ = classifier([challenge / "test" / files[0]])
    assert np.abs(one[0] - probs[0]).max() < 2e-3  # any batch size


@pytest.mark.slow
def test_photos_of_known_classes_look_more_familiar_than_noise(exported_probe, challenge):
    _, home = exported_probe
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(8)]
    photos = sorted((challenge / "train").glob("*/*.jpg"))[::40]
    classifier = Classifier(home)
    assert np.median(classifier(photos)[1]) > np.median(classifier(noise)[1])


@pytest.mark.slow
def test_the_self_test_passes_and_finds_another_model(exported_probe, tmp_path):
    _, home = exported_probe
    copy = shutil.copytree(home, tmp_path / "copy")

    def tested():
        command = [sys.executable, "selftest.py"]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True)

    done = tested()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 samples: 0 other classes")
    table = pd.read_csv(copy / "samples.csv")
    table.iloc[:, 1:] = np.roll(table.iloc[:, 1:].to_numpy(), 1, axis=1)
    table.to_csv(copy / "samples.csv", index=False)
    assert tested().returncode == 1


@pytest.mark.slow
def test_predict_takes_an_export_for_a_run(
    exported_probe, tmp_path, challenge, capsys, monkeypatch
):
    run, home = exported_probe
    monkeypatch.chdir(tmp_path)
    want = predicted(run, tmp_path)
    commands.predict(["--run", str(home), "--test", str(challenge / "test"), "--out", "e.csv"])
    got = pd.read_csv("e.probabilities.csv").set_index("file").loc[want.index]
    labels = run.facts.classes
    assert np.abs(got[labels].to_numpy() - want[labels].to_numpy()).max() < 2e-3
    assert not (home / "test.csv").exists()
    photos = sorted((challenge / "test").glob("*.jpg"))[:2]
    commands.predict(["--run", str(home), *map(str, photos)])
    told = capsys.readouterr().out
    assert "familiar" in told
    for photo in photos:
        top = want.loc[photo.name, labels].astype(float).idxmax()
        assert any(photo.name in line and top in line for line in told.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("option", [["--tta"], ["--reject", "x"], ["--adapt", "on"]])
def test_what_needs_training_photos_is_refused_with_an_export(
    exported_probe, option, challenge, capsys
):
    _, home = exported_probe
    with pytest.raises(SystemExit):
        commands.predict(["--run", str(home), "--test", str(challenge / "test"), *option])
    assert f"error: {option[0]}: needs a run" in capsys.readouterr().err


def test_an_export_refuses_any_device_but_the_cpu():
    home = Path("export/a")
    for device in ("auto", "cpu"):
        use.check(PredictConfig(device=device), home)
    with pytest.raises(UserError, match="--device cuda:1: export/a is an export"):
        use.check(PredictConfig(device="cuda:1"), home)


@pytest.mark.slow
def test_single_photos_are_answered_on_screen(finished_run, toy, tmp_path, capsys):
    photos = sorted((toy / "test").iterdir())[:3]
    (tmp_path / "note.jpg").write_text("no photo")
    run = ["--runs", str(finished_run.path.parent), "--device", "cpu"]
    commands.predict([*map(str, photos), str(tmp_path / "note.jpg"), *run])
    told = capsys.readouterr().out
    assert all(photo.name in told for photo in photos)
    assert f"{tmp_path / 'note.jpg'}: no answer: not a picture" in told
    with pytest.raises(SystemExit):
        commands.predict([str(tmp_path / "note.jpg"), *run])
    commands.predict([str(photos[0]), "--deterministic", *run])
    assert photos[0].name in capsys.readouterr().out
    with pytest.raises(SystemExit):
        commands.predict([str(photos[0]), "--reject", "x", *run])
    assert "--reject: is for a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_timm_loads_the_folder_and_its_softmax_is_calibrated(exported_probe, challenge):
    import timm

    run, home = exported_probe
    net = timm.create_model(f"local-dir:{home}", pretrained=True).eval()
    classifier = Classifier(home)
    photo = sorted((challenge / "test").glob("*.jpg"))[0]
    x = torch.as_tensor(classifier.pixels(photo))[None]
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        probs = torch.softmax(net((x - mean) / std), 1).numpy()
    assert np.abs(probs - classifier([photo])[0]).max() < 2e-3  # the probe's features are rounded
    assert net.pretrained_cfg["label_names"] == run.facts.classes


@pytest.mark.slow
def test_nothing_exported_names_the_person_or_the_machine(exported_probe):
    run, home = exported_probe
    secrets = {str(Path.home()), str(Path.cwd()), str(run.path.parent), platform.node()}
    secrets |= {run.config["data"], getpass.getuser()} - {"root"}
    ours = {str(Path(graph.__file__).parents[2])}
    for path in (one for one in home.rglob("*") if one.is_file()):
        content = path.read_bytes()
        for secret in (secrets | ours) - {"", "/"}:
            assert len(secret) < 4 or secret.encode() not in content, (path.name, secret)
    for sample in (home / "samples").iterdir():
        with Image.open(sample) as image:
            assert not image.getexif()


@pytest.mark.slow
def test_what_is_uploaded_holds_generated_pictures_unless_asked(
    exported_probe, challenge, tmp_path
):
    run, home = exported_probe
    told = (home / "README.md").read_text()
    assert "4 held-out photos of the data set" in told
    assert run.facts.classes[0] in told
    made = exported(run, tmp_path / "space", samples=2, space=True)
    card = (made / "README.md").read_text()
    assert card.startswith("---\ntitle: ")
    assert "sdk: gradio" in card
    assert "no photo of the data set" in card
    assert {path.name for path in (made / "samples").iterdir()} == {"01.jpg", "02.jpg"}


@pytest.mark.slow
def test_folds_and_blends_export_as_one_graph(toy, tmp_path, capsys):
    small = {"probe": False, "warm_start": False}  # of the toy net: its graph is small
    folds = run_training(toy_config(toy, tmp_path / "runs", folds=2, **small))
    one = run_training(toy_config(toy, tmp_path / "runs", seed=3, **small))
    for runs, name in ((folds, "folds"), ([folds, one], "blend")):
        home = exported(runs, tmp_path / name, samples=2)
        assert "the same classes" in capsys.readouterr().out
        (tmp_path / f"p-{name}").mkdir()
        want = predicted(runs, tmp_path / f"p-{name}", blend="mean")
        classifier = Classifier(home)
        probs, _ = classifier([toy / "test" / file for file in want.index])
        assert np.abs(probs - want[classifier.labels].to_numpy()).max() < 1e-4
        assert not (home / "model.safetensors").exists()
        assert "no single timm model" in (home / "README.md").read_text()


@pytest.mark.slow
def test_a_fine_tuned_net_with_an_mlp_head_exports_without_timms_layout(toy, tmp_path):
    run = run_training(toy_config(toy, tmp_path / "runs", **FINE_TUNED))
    home = exported(run, tmp_path / "e", samples=2, fp16=True)
    assert "the head is mlp" in (home / "README.md").read_text()
    assert "half precision" in (home / "README.md").read_text()
    whole = exported(run, tmp_path / "whole", samples=2)
    sizes = [(one / "model.onnx").stat().st_size for one in (home, whole)]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.slow
def test_runs_shown_different_pixels_are_refused(toy, tmp_path):
    runs = [
        run_training(toy_config(toy, tmp_path / "runs", **FINE_TUNED, **options))
        for options in ({"crop_pct": 1.0}, {"crop_pct": 0.9})
    ]
    with pytest.raises(UserError, match="differ in crop_pct"):
        exported(runs, tmp_path / "e")


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["squish", "pad"])
def test_photos_of_any_shape_are_fitted_as_in_training(toy, tmp_path, fit):
    data = shutil.copytree(toy, tmp_path / "data")
    Image.open(next((data / "test").iterdir())).resize((300, 90)).save(data / "test/wide.png")
    deep = np.linspace(0, 4095, 70 * 50).reshape(70, 50).astype(np.uint16)
    Image.fromarray(deep).save(data / "test/deep.png")
    clear = Image.open(next((data / "test").iterdir())).convert("RGBA")
    clear.putalpha(120)
    clear.save(data / "test/clear.png")
    cfg = toy_config(data, tmp_path / "runs", fit=fit, **FINE_TUNED)
    run = run_training(dataclasses.replace(cfg, head="linear"))
    home = exported(run, tmp_path / "e", samples=1)
    want = predicted(run, tmp_path)
    classifier = Classifier(home)
    probs, _ = classifier([data / "test" / file for file in want.index])
    assert np.abs(probs - want[classifier.labels].to_numpy()).max() < 1e-4


class FakeHub(BaseHTTPRequestHandler):
    "Answers as much of the Hub's protocol as an upload of small files needs."

    asked = []

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.path, body))
        if "preupload" in self.path:
            files = json.loads(body)["files"]
            told = {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                              for one in files]}  # fmt: skip
        elif "commit" in self.path:
            told = {
                "commitUrl": f"http://{self.headers['Host']}/ann/cats/commit/1",
                "commitOid": "1",
                "pullRequestUrl": None,
            }
        else:
            told = {
                "url": f"http://{self.headers['Host']}/ann/cats",
                "name": "ann/cats",
                "id": "ann/cats",
            }
        self.answer(told)

    def do_GET(self):
        self.asked.append((self.path, b""))
        self.answer({"id": "ann/cats", "sha": "1", "siblings": [], "tags": []})

    def answer(self, told):
        content = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def fake_hub():
    FakeHub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_upload_goes_through_the_hubs_own_client(fake_hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", fake_hub)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    (tmp_path / "README.md").write_text("# a card")
    hub.upload(tmp_path, "ann/cats", space=False)
    paths = [path for path, _ in FakeHub.asked]
    assert "/api/repos/create" in paths
    (commit,) = [body for path, body in FakeHub.asked if "commit" in path]
    assert b"README.md" in commit
    (created,) = [json.loads(body) for path, body in FakeHub.asked if path == "/api/repos/create"]
    assert created.get("private") or created.get("visibility") == "private"


@pytest.mark.parametrize("name", ["cats", "ann/cats/more", "ann cats"])
def test_an_odd_name_on_the_hub_is_refused(name):
    with pytest.raises(UserError, match="give USER/NAME"):
        hub.check(name)


def test_without_the_packages_of_an_export_the_command_names_them(monkeypatch, capsys):
    monkeypatch.setattr("vlg_fastai.checks._absent", lambda package: package == "onnx")
    with pytest.raises(SystemExit):
        commands.export([])
    assert "pip install -r requirements-export.txt" in capsys.readouterr().err


def test_what_stands_alone_imports_no_more_than_its_requirements():
    from test_house import imports

    allowed = {"numpy", "onnxruntime", "PIL", "gradio", "classifier", *sys.stdlib_module_names}
    for path in (Path(graph.__file__).parent / "standalone").glob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= allowed


def test_a_net_whose_classifier_is_not_linear_has_no_layout_of_timms():
    from vlg_fastai.model.backbone import create, view
    from vlg_fastai.model.bundle import ModelSpec
    from vlg_fastai.model.head import linear
    from vlg_fastai.model.sources import Source

    arch = "test_efficientnet"
    spec = ModelSpec(arch, "linear", ["a", "b"], view(arch, 32), [0.5, 0.5], 2.0)
    body = create(Source(arch, "nothing"), 32)
    head = linear(body.head_hidden_size, 2)
    net = pretrained.classifier_of(body, head[0], spec)
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        plain = head.eval()(body.eval().forward_head(body.forward_features(x), pre_logits=True))
        assert torch.allclose(net(x), plain / 2, atol=1e-5)
    assert pretrained.classifier_of(body, torch.nn.Linear(7, 2), spec) is None


@pytest.mark.slow
def test_an_earlier_export_is_replaced_as_a_whole(exported_probe, tmp_path):
    run, _ = exported_probe
    home = exported(run, tmp_path / "e", samples=4)
    assert {path.name for path in home.iterdir()} <= running.WRITTEN
    (home / "__pycache__").mkdir()
    exported(run, home, onnx=False)
    assert not (home / "samples").exists()
    assert not (home / "model.onnx").exists()
    assert (home / "model.safetensors").exists()


@pytest.mark.parametrize("holds", ["facts.json", "config.json", "README.md"])
def test_a_folder_that_is_no_export_is_left_alone(exported_probe, tmp_path, holds):
    run, _ = exported_probe
    (tmp_path / holds).write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        exported(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [holds]


@pytest.mark.parametrize("holds", ["notes.txt", ".git", "samples/mine.jpg"])
def test_an_earlier_export_with_files_of_the_user_is_left_alone(exported_probe, tmp_path, holds):
    run, home = exported_probe
    shutil.copytree(home, tmp_path / "e")
    (tmp_path / "e" / holds).write_text("mine")
    before = sorted((tmp_path / "e").rglob("*"))
    with pytest.raises(UserError, match=f"holds other files, such as {holds}"):
        exported(run, tmp_path / "e")
    assert sorted((tmp_path / "e").rglob("*")) == before


def test_a_linked_export_is_replaced_where_it_lies(tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "e/old").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "e")
    with running.built(tmp_path / "link") as made:
        (made / "new").write_text("")
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "link"]


def test_an_export_whose_place_is_taken_meanwhile_leaves_the_earlier_one(tmp_path, monkeypatch):
    home, rename = tmp_path / "e", Path.rename
    home.mkdir()
    (home / "old").write_text("")

    def refused(path, target):
        if path.name == "made":
            raise OSError("busy")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="busy"), running.built(home):
        pass
    assert [path.name for path in home.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


@pytest.mark.parametrize("given", [".", "..", "../e"])
def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch, given):
    (tmp_path / "e").mkdir()
    monkeypatch.chdir(tmp_path / "e")
    with pytest.raises(UserError, match="the current folder cannot be replaced"):
        running.check(ExportConfig(), Path(given))


@pytest.mark.slow
def test_an_export_that_answers_otherwise_is_not_made(exported_probe, tmp_path, monkeypatch):
    run, _ = exported_probe
    monkeypatch.setitem(running.TOLERANCE, "probe", 1e-12)
    with pytest.raises(UserError, match="nothing was exported"):
        exported(run, tmp_path / "e", samples=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_comments_inside_a_photo_stay_at_home(toy, tmp_path):
    data = shutil.copytree(toy, tmp_path / "data")
    for path in (data / "train").rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), comment=b"Taken by Ann")
        path.unlink()
    run = run_training(toy_config(data, tmp_path / "runs", **FINE_TUNED))
    home = exported(run, tmp_path / "e", samples=2)
    for sample in (home / "samples").iterdir():
        assert b"Taken by Ann" not in sample.read_bytes()
        with Image.open(sample) as image:
            assert not image.getexif()


def test_an_export_without_its_graph_is_named(tmp_path, exported_probe, challenge, capsys):
    _, home = exported_probe
    copy = shutil.copytree(home, tmp_path / "copy")
    (copy / "model.onnx").unlink()
    with pytest.raises(SystemExit):
        commands.predict(["--run", str(copy), "--test", str(challenge / "test")])
    assert "cannot be read as an export" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        commands.interpret(["--run", str(home)])
    assert "is an export" in capsys.readouterr().err


@pytest.mark.slow
def test_a_photo_that_goes_after_the_scan_costs_its_row_alone(exported_probe, challenge, tmp_path):
    _, home = exported_probe
    classifier = Classifier(home)
    paths = [*sorted((challenge / "test").glob("*.jpg"))[:2], tmp_path / "gone.jpg"]
    (answered,) = use.answers(classifier, [paths[2], *paths[:2]])
    assert answered[0].tolist() == [1, 2]
    assert np.isfinite(answered[1]).all()


def test_huge_photos_are_reduced_as_in_training(exported_probe, tmp_path, monkeypatch):
    _, home = exported_probe
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    for module in (images, standalone):
        monkeypatch.setattr(module, "HUGE", 1_000_000)
    classifier = Classifier(home)
    view = View(128, (0.5,) * 3, (0.5,) * 3, classifier.facts["interpolation"], 1.0)
    theirs = np.asarray(view.pixels().read(tmp_path / "a.png"))
    ours = np.asarray(classifier.smaller(standalone.upright(tmp_path / "a.png", classifier.side)))
    assert np.array_equal(theirs, ours)


def test_an_upload_that_fails_is_one_line(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with pytest.raises(UserError, match="--hub ann/cats: "):
        hub.upload(tmp_path, "ann/cats", space=False)


def test_options_of_the_card_are_those_that_train_takes():
    assert card.flag("ema", True) == "--ema"
    assert card.flag("probe", False) == "--no-probe"
    assert card.flag("lr_body", 1e-4) == "--lr-body 0.0001"


@pytest.mark.slow
def test_photos_are_answered_from_python_too(finished_run, toy):
    photos = sorted((toy / "test").iterdir())[:2]
    classes, probs = api.predict(
        photos=[str(one) for one in photos], run=finished_run, device="cpu", workers=0
    )
    assert classes == finished_run.facts.classes
    assert np.allclose(probs.sum(1), 1)


def test_the_card_of_a_blend_has_each_way_on_photos_that_no_run_saw():
    run = SimpleNamespace(facts=Facts(status="finished", classes=["a"], arch="resnet18"))
    way = {"accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "nll": 0.3}
    judged = {"kept": "mean", "photos": 200, "best": way, "mean": {**way, "accuracy": 0.92}}
    told = card.blended(SimpleNamespace(runs=[run, run], facts=stored([], [], 1, judged)))
    assert [figure for _, figure in told] == [
        "0.9000 (95 %: 0.800 to 0.950)", "0.9200 (95 %: 0.800 to 0.950)"
    ]  # fmt: skip


def test_photos_from_elsewhere_are_said_of_every_run_that_is_mixed():
    def run(**extra):
        return SimpleNamespace(facts=Facts(status="finished", classes=["a"], extra=extra or None))

    few = {"used": 3, "about": ["sd, MIT"], "strange": ["yak"]}
    many = {"used": 9, "about": ["own, CC0"], "strange": []}
    assert merged_extra([run(), run()]) is None
    assert merged_extra([run(), run(**few)]) == few
    told = merged_extra([run(**few), run(), run(**many)])
    assert told == {"used": 9, "about": ["own, CC0", "sd, MIT"], "strange": ["yak"]}


def written_run(path, **facts):
    "A run folder with `facts` alone, for what the card says of it."
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    Facts(status="finished", classes=["a"], arch="x", view={"size": 32}, **facts).write(path)
    return Run(path)


def test_the_card_of_a_blend_names_photos_from_elsewhere_of_any_of_its_runs(tmp_path):
    more = {"used": 3, "about": ["own, CC0"], "strange": []}
    runs = [written_run(tmp_path / "0001-a"), written_run(tmp_path / "0002-b", extra=more)]
    told = {"title": "t", "size": 32, "space": False, "precision": "fp32", "onnx": False,
            "likeness": False, "members": 2, "samples": "none", "lacking": ""}  # fmt: skip
    card.write(tmp_path, Blended.evenly(runs), told)
    assert "3 photos from elsewhere" in (tmp_path / "README.md").read_text()


def test_the_card_has_the_forecast_of_its_own_run_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = (written_run(tmp_path / root / "0001-x") for root in ("a", "b"))
    expected = {"accuracy": 0.7, "accuracy_interval": [0.6, 0.8], "photos": 9}
    for folder in (tmp_path, other.path):  # beside the submission, and in the folder of its run
        told = json.dumps({"run": "0001-x", "forecast": expected})
        (folder / "forecast.json").write_text(told)
    assert card.forecast(one) == []
    [(name, figure)] = card.forecast(other)
    assert name.startswith("accuracy expected on 9 ")
    assert figure == "0.70 (95 %: 0.60 to 0.80)"


def test_an_export_is_named_after_the_run_that_it_holds(monkeypatch):
    def stop(cfg, home):
        raise UserError(home.as_posix())

    monkeypatch.setattr(running, "weighed", lambda chosen: Blended.evenly(chosen[1:]))
    monkeypatch.setattr(running, "view_of", lambda runs: None)
    monkeypatch.setattr(running, "check", stop)
    with pytest.raises(UserError, match="export/0004-b"):
        export_runs(ExportConfig(), [Run(Path("runs/0003-a")), Run(Path("runs/0004-b"))])
