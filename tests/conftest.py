"""Toy photos and a run trained on them; nothing here needs a network, a GPU or real photos."""

import dataclasses
import hashlib
import os
import random
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image, ImageDraw

from vlg_fastai.config import PredictConfig, TrainConfig
from vlg_fastai.demo import challenge as drawing

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do, before torch is loaded
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run in parallel, as do the processes they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
ARCH = "test_efficientnet"  # timm's own toy net: trains an epoch of these folders in a second
FINE_TUNED = {"size": 64, "lr": 5e-3, "probe": False, "warm_start": False}
PROBE = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 128, "epochs": 0}
COLOURS = {"blue+whale": (40, 70, 200), "höhlen bär": (150, 90, 40), "frog": (40, 180, 60)}


def photo(rng, colour, size=(60, 48)):
    "A noisy blob of `colour` somewhere on a noisy background; no two are alike."
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 90, (*size[::-1], 3))
    image = Image.fromarray(pixels.astype(np.uint8)).resize((12, 10)).resize(size)
    x, y = rng.randint(5, size[0] - 25), rng.randint(5, size[1] - 25)
    shade = tuple(min(255, max(0, c + rng.randint(-30, 30))) for c in colour)
    ImageDraw.Draw(image).ellipse((x, y, x + 20, y + 20), fill=shade)
    return image


def draw_folder(root, counts, tests=9, seed=0):
    "Write `root`/train/<class>/* with `counts` photos and `root`/test/*; returns `root`."
    rng = random.Random(seed)
    for label, count in counts.items():
        (root / "train" / label).mkdir(parents=True)
        for number in range(count):
            photo(rng, COLOURS[label]).save(root / "train" / label / f"{number:02d}.png")
    (root / "test").mkdir()
    for number in range(tests):
        photo(rng, rng.choice(list(COLOURS.values()))).save(root / "test" / f"{number:03d}.png")
    return root


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    "Keep tests from writing to the user's cache folder or reading from it."
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlg_fastai.data.store.user_cache_path", lambda _: cache)
        yield


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    "Three classes of 10, 14 and 18 photos, nine test photos."
    counts = dict(zip(COLOURS, (10, 14, 18), strict=True))
    return draw_folder(tmp_path_factory.mktemp("toy"), counts)


def toy_config(data, runs, **options):
    "A config that trains in about a second."
    given = {"arch": ARCH, "pretrained": False, "size": 32, "epochs": 1, "bs": 8}
    given |= {"device": "cpu", "precision": "fp32", "workers": 0}  # the same on every machine
    return TrainConfig(data=data, runs=runs, **{**given, **options})


def run_training(cfg):
    from vlg_fastai.model.sources import choose
    from vlg_fastai.train.run import train

    return train(cfg, choose(cfg.arch, cfg.weights, cfg.pretrained))


def run_prediction(run, out, **options):
    from vlg_fastai.data.folder import test_of
    from vlg_fastai.predict.run import predict

    given = {"device": "cpu", "precision": "fp32", "workers": 0, "out": out}
    cfg = PredictConfig(**{**given, **options})
    chosen = run if isinstance(run, list) else [run]
    return predict(cfg, chosen, test_of(cfg, chosen[0]))


@pytest.fixture(scope="session")
def finished_run(toy, tmp_path_factory):
    "A run on real ImageNet features (the bundled net), good enough to tell the colours apart."
    cfg = toy_config(toy, tmp_path_factory.mktemp("runs"), arch="tf_efficientnet_lite0")
    return run_training(dataclasses.replace(cfg, pretrained=True, epochs=10, **FINE_TUNED))


@pytest.fixture(scope="session")
def toy_scene(finished_run, toy):
    "Features of the toy photos from the frozen backbone."
    import torch

    from vlg_fastai.data import scan
    from vlg_fastai.machine.device import Machine
    from vlg_fastai.unseen.features import RunFeatures

    asked = scan.scan_files(toy / "test")
    machine = Machine(torch.device("cpu"), "fp32", 0)
    return RunFeatures.of_run(finished_run, PredictConfig(), asked, machine)


def gone_after_the_scan(monkeypatch, path):
    "Delete the labelled photo at `path` as soon as it has been scanned."
    from vlg_fastai.data import scan

    scanned = scan.scan_classes

    def spoilt(*given, **more):
        table = scanned(*given, **more)
        path.unlink()
        return table

    monkeypatch.setattr(scan, "scan_classes", spoilt)


@pytest.fixture(scope="session")
def browser():
    "A headless Chromium, or a reason to skip."
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


def opened(browser, folder, width=1280, scheme="light"):
    "(index.html of `folder` in its own tab, what the browser complained about)."
    view = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    page, errors = browser.new_context(accept_downloads=True, **view).new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    page.on("request", lambda r: errors.append(r.url) if r.url.startswith("http") else None)
    page.goto((folder / "index.html").as_uri())
    return page, errors


def obstacles(page):
    "The accessibility problems that axe finds: contrast, labels, alt texts, keyboard, structure."
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"][:120]) for one in found]


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path()


@pytest.fixture(scope="session")
def challenge(tmp_path_factory):
    "A small generated challenge: 24 animals to train on, six more in its tests, one in ink."
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # of all processes that run tests, of which the first draws
    with FileLock(home / "challenge.lock"), pytest.MonkeyPatch.context() as patch:
        for name, value in {"FEWEST": 15, "MOST": 20, "TESTS": 90, "DEGRADED_SHARE": 0.0}.items():
            patch.setattr(drawing, name, value)
        root = home / "challenge/demo"
        if not root.exists():
            drawing.draw(root)
    return root


@pytest.fixture(scope="session")
def probed(challenge, tmp_path_factory):
    "A probe trained on the generated challenge."
    return run_training(toy_config(challenge, tmp_path_factory.mktemp("runs"), **PROBE))


@pytest.fixture(scope="session")
def graphs_once():
    "A net that is exported again, with the same weights at the same size, is traced once."
    if find_spec("onnxruntime") is None:
        yield
        return
    from vlg_fastai.export import graph

    made, write = {}, graph.write

    def written(path, module, *given):
        tensors = b"".join(value.numpy().tobytes() for value in module.state_dict().values())
        ours = [one for one in module.modules() if isinstance(one, graph.Leaf | graph.Group)]
        plain = [{k: value for k, value in vars(one).items() if k[0] != "_"} for one in ours]
        key = hashlib.sha256(tensors).hexdigest(), str(module), str(plain), *given
        if key not in made:
            write(path, module, *given)
            made[key] = path.read_bytes()
        path.write_bytes(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "write", written)
        yield


@pytest.fixture(scope="session")
def exported_probe(graphs_once, probed, tmp_path_factory):
    "The run `probed`, and its export with four samples."
    pytest.importorskip("onnxruntime", reason="pip install -r requirements-export.txt")
    from vlg_fastai.export.options import ExportConfig
    from vlg_fastai.export.run import export_runs

    out = tmp_path_factory.mktemp("export") / "e"
    return probed, export_runs(ExportConfig(out=out, samples=4), [probed])
