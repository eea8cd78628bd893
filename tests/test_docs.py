"""README, docs and notebooks: every link leads somewhere, every command runs as written."""

import dataclasses
import json
import os
import random
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from conftest import run_training, toy_config
from fastai.callback.core import Callback

from vlg_fastai.commands import COMMANDS
from vlg_fastai.demo import challenge as drawing
from vlg_fastai.demo.imagined import imagined
from vlg_fastai.demo.score import main as score
from vlg_fastai.model import probe
from vlg_fastai.model.sources import choose
from vlg_fastai.train.run import train
from vlg_fastai.unseen import imagenet

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"# (needs (a GPU|a network|several cores)|on Kaggle)")
NET = {"size": 32, "bs": 64, "arch": "tf_efficientnet_lite0", "pretrained": True}
QUICK = ["--device", "cpu", "--precision", "fp32", "--workers", "0"]
SMALL = {  # what is added to a command, so that it runs in seconds
    "train": ["--size", "32", "--bs", "64", *QUICK],
    "predict": QUICK,
    "audit": ["--size", "32", *QUICK],
    "interpret": QUICK,
    "compare": [],
    "export": [],
    "generate": ["--count", "4"],
    "tune": ["--size", "32", "--folds", "2", *QUICK],
}
NAMES = [path.stem for path in PAGES]


def lines_of(page):
    "Commands in the page's bash blocks."
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def commands_of(page):
    "Commands of the page that need nothing special, a line's parts apart."
    lines = [line.split("  #")[0] for line in lines_of(page) if not NEEDS.search(line)]
    return [part.strip() for line in lines for part in line.split("&&")]


def draw_small(folder):
    "Generate a challenge of eight animals."
    with pytest.MonkeyPatch.context() as patch:
        few = {"FEWEST": 8, "MOST": 9, "TESTS": 36, "SEEN": dict(list(drawing.SEEN.items())[:8])}
        for name, value in {**few, "BROKEN_IN": list(drawing.SEEN)[:2]}.items():
            patch.setattr(drawing, name, value)
        drawing.draw(folder)


def train_seven(root):
    "Train runs 1 to 7, and write a blend of two of them."
    data, runs = root / "data/demo", root / "runs"
    for rate in (3e-3, 2e-3, 1e-3):  # runs 1 to 3: a soup wants fine-tuned nets that differ
        run_training(toy_config(data, runs, lr=rate, probe=False, warm_start=False, **NET))
    for path in sorted(runs.iterdir()):
        name = f"{int(path.name[:4]) + 3:04d}{path.name[4:]}"
        shutil.copytree(path, runs / name, copy_function=os.link)
    run_training(toy_config(data, runs, **NET))  # run 7, with candidates
    two = [str(path) for path in sorted(runs.iterdir())[:2]]
    blend = {"runs": two, "shares": [0.5, 0.5], "temperature": 1.0}
    (root / "shared").mkdir()
    (root / "shared/blend.json").write_text(json.dumps(blend))


@pytest.fixture(scope="module")
def few_strengths():
    "Probes have two strengths to choose from: no command depends on which is best."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "STRENGTHS", probe.STRENGTHS[::3])
        yield


@pytest.fixture(scope="module")
def workshop(few_strengths, tmp_path_factory):
    "A challenge, a table, seven finished runs and one that stopped."
    root = tmp_path_factory.mktemp("workshop")
    draw_small(root / "data/demo")
    challenge = root / "data/demo"
    (root / "path/to").mkdir(parents=True)
    (root / "path/to/challenge").symlink_to(root / "data/demo", target_is_directory=True)
    photos = sorted((challenge / "train").glob("*/*.jpg"))
    (root / "table/images").mkdir(parents=True)
    rows = ["image_id,breed"]
    for number, path in enumerate(photos[::2]):
        shutil.copy(path, root / f"table/images/{number}.jpg")
        rows.append(f"{number},{path.parent.name}")
    (root / "table/train.csv").write_text("\n".join(rows) + "\n")
    shutil.copy(photos[0], root / "photo.jpg")
    names = (challenge / "unseen.txt").read_text()
    (root / "names.txt").write_text(names)
    seen = "\n".join(path.name for path in sorted((challenge / "train").iterdir()))
    (root / "all.txt").write_text(f"{seen}\n{names}")
    rng = random.Random(0)
    for label in [*sorted(path.name for path in (challenge / "train").iterdir()), *names.split()]:
        (root / "extra" / label).mkdir(parents=True)
        for number in range(4):
            imagined(label, rng).save(root / "extra" / label / f"{number}.jpg")
    train_seven(root)
    return root


@pytest.fixture
def few_sentences(monkeypatch):
    "The encoder of sentences has twenty classes of ImageNet to read, over and over."
    described = imagenet.ImageNetInfo.index_to_description

    def of_few(self, index, detailed=False):
        return described(self, index % 20, detailed=detailed)

    monkeypatch.setattr(imagenet.ImageNetInfo, "index_to_description", of_few)


@pytest.fixture
def in_workshop(workshop, tmp_path, monkeypatch):
    "The same in a copy that a page may write to."
    copy = tmp_path / "w"
    shutil.copytree(workshop, copy, symlinks=True, copy_function=os.link)
    (copy / "path/to/challenge").unlink()
    (copy / "path/to/challenge").symlink_to(copy / "data/demo", target_is_directory=True)
    monkeypatch.chdir(copy)
    return copy


class KilledError(BaseException):
    "Nothing in the suite catches it, as nothing catches a kill."


class Kill(Callback):
    def after_batch(self):
        if self.training:
            raise KilledError


def stop_a_run(root):
    "Leave a run that was killed in its first epoch."
    cfg = toy_config(root / "data/demo", root / "runs", recipe="strong", **NET)
    cfg = dataclasses.replace(cfg, checkpoint_minutes=1e-9)
    with pytest.raises(KilledError):
        train(cfg, choose(cfg.arch, None, True), [Kill()])


def run(command, root, monkeypatch):
    "Run a command of the docs as written, with smaller photos and at most one epoch."
    words = shlex.split(command.removeprefix("!"))
    if words[:1] == ["python"] and words[1:3] == ["-m", "vlg_fastai.score"]:
        monkeypatch.setattr(sys, "argv", words[2:])
        return score()
    assert words[0] == "python", f"{command}: mark it with '# needs a GPU' or '# needs a network'"
    name = Path(words[1]).stem
    if "--resume" in words:
        stop_a_run(root)
        return COMMANDS[name](words[2:])
    if name == "train":
        for option, most in (("--epochs", 1), ("--folds", 2)):
            if option in words:
                at = words.index(option) + 1
                words[at] = str(min(int(words[at]), most))
        if not {"--epochs", "--dry-run", "--config"} & set(words):
            words += ["--epochs", "1"]
    if name == "tune" and "--fix" not in words:
        words += ["--fix", "epochs=1"]
    return COMMANDS[name]([*words[2:], *SMALL[name]])


def earlier(page):
    "Commands of the pages before this one: they are not run twice, unless others build on them."
    told = {one for other in PAGES[: PAGES.index(page)] for one in commands_of(other)}
    return {one for one in told if not one.startswith("python predict.py")}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")  # a dozen photos
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands_of(page)], ids=lambda p: p.stem
)
@pytest.mark.usefixtures("few_sentences", "graphs_once")
def test_every_command_of_the_page_runs(page, in_workshop, monkeypatch, capsys):
    monkeypatch.setattr("vlg_fastai.predict.blending.FEW", 5)  # photos that blends are judged by
    # of a probe on 32 pixels, which doubts many labels
    monkeypatch.setattr("vlg_fastai.train.pseudo.PURE", 0.3)
    monkeypatch.setattr("vlg_fastai.unseen.folds.FEWEST_PHOTOS", 10)
    known = earlier(page)
    for command in (one for one in commands_of(page) if one not in known):
        if command.startswith("pip install -r "):
            for name in re.findall(r"-r (\S+)", command):
                assert (ROOT / name).is_file(), command
        elif command != "pytest":
            monkeypatch.setattr(sys, "argv", [command.split()[1]])
            run(command, in_workshop, monkeypatch)


def test_the_readme_is_read_in_five_minutes():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert len(re.findall(r"\w+", re.sub(r"\(http\S*\)", "", text))) < 5 * 260  # words a minute


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_inside_leads_to_a_file(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_numbers_have_a_leading_zero(page):
    text = re.sub(r"```.*?```|`[^`]*`|\([^)\s]*\)", "", page.read_text("utf-8"), flags=re.DOTALL)
    assert not re.findall(r"(?<![\w.])\.\d+", text)


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {page.name for page in PAGES if page != README}
