"""The generated challenge: reproducible by seed, complete or absent, with real difficulties."""

import csv
import random
from collections import Counter
from dataclasses import astuple, fields

import pytest
from conftest import run_training, toy_config
from PIL import Image, ImageChops

from vlg_fastai.config import UserError
from vlg_fastai.data import folder, scan, split
from vlg_fastai.demo import animals, challenge
from vlg_fastai.demo.animals import Species
from vlg_fastai.demo.score import score

pytestmark = pytest.mark.xdist_group("demo")  # one process: what the tests share is made once


@pytest.fixture
def small(monkeypatch):
    "Make the generated challenge small enough for a test."
    for name, value in {"FEWEST": 3, "MOST": 6, "TESTS": 60}.items():
        monkeypatch.setattr(challenge, name, value)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    "A challenge with few pictures per class, and many wrong labels and twins."
    with pytest.MonkeyPatch.context() as patch:
        changed = {"FEWEST": 4, "MOST": 8, "TESTS": 80, "WRONG_SHARE": 0.1, "TWIN_SHARE": 0.1}
        for name, value in changed.items():
            patch.setattr(challenge, name, value)
        root = tmp_path_factory.mktemp("d") / "demo"
        challenge.draw(root)
        return root


def table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_draws_the_same_challenge(tmp_path, monkeypatch, small):
    monkeypatch.setattr(challenge, "SEEN", dict(list(challenge.SEEN.items())[:3]))
    monkeypatch.setattr(challenge, "BROKEN_IN", ("antelope", "bear"))
    bits = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        challenge.draw(tmp_path / name, seed)
        files = (tmp_path / name).rglob("*.*")
        bits.append({p.relative_to(tmp_path / name): p.read_bytes() for p in files if p.is_file()})
    assert bits[0] == bits[1] != bits[2]
    assert not list(tmp_path.glob(".*"))


def test_every_value_of_an_attribute_is_in_three_seen_species_at_least():
    for field in fields(Species):
        counts = Counter(getattr(species, field.name) for species in challenge.SEEN.values())
        assert min(counts.values()) >= 3, field.name
        found = {getattr(species, field.name) for species in challenge.UNSEEN.values()}
        assert found <= set(counts)


def test_no_two_species_look_the_same():
    assert len({astuple(species) for species in challenge.EVERY.values()}) == 24 + 6


@pytest.mark.parametrize("degrees", [-10, -3.3, 0, 7.7])
def test_an_animal_is_turned_as_its_whole_sheet_would_be(degrees):
    for species in (challenge.EVERY["moose"], challenge.EVERY["okapi"]):
        animal = animals.figure(species, random.Random(1))
        whole = animal.rotate(degrees, Image.Resampling.BICUBIC)
        assert ImageChops.difference(animals._turned(animal, degrees), whole).getbbox() is None


def test_it_has_the_shape_of_a_challenge(drawn):
    layout = folder.layout(drawn)
    assert layout.is_demo
    assert [path.name for path in layout.classes] == sorted(challenge.SEEN)
    files, others, _ = folder.photos(layout.test)
    ids = [row["Id"] for row in table(drawn / "sample_submission.csv")]
    assert ids == [path.name for path in files]
    assert (len(ids), others) == (80, 0)
    assert (drawn / "unseen.txt").read_text().split() == list(challenge.UNSEEN)
    assert [row["class"] for row in table(drawn / "attributes.csv")] == list(challenge.EVERY)


def test_the_planted_difficulties_are_those_of_the_truth(drawn):
    facts = table(drawn / "truth/train.csv")
    assert {row["issue"] for row in facts} == {"wrong_label", "duplicate"}
    for row in facts:
        path = drawn / "train" / row["file"]
        assert path.exists()
        if row["issue"] == "wrong_label":
            assert path.parent.name != row["true_label"]
        else:
            assert (drawn / "train" / row["of"]).exists()
    scanned = scan.scan_classes(folder.layout(drawn))
    assert set(scanned.loc[scanned["problem"].notna(), "path"].map(lambda p: p.name)) == set(
        challenge.BROKEN
    )
    group = split.assign(scanned, 0.15, 0).set_index("file")["group"]
    twins = [(row["file"], row["of"]) for row in facts if row["issue"] == "duplicate"]
    together = sum(group[f"train/{a}"] == group[f"train/{b}"] for a, b in twins)
    assert together >= 0.8 * len(twins)


def test_the_test_side_mixes_seen_unseen_and_degraded(drawn):
    rows = table(drawn / "truth/test.csv")
    for row in rows:
        assert (row["Category"] in challenge.UNSEEN) == (row["unseen"] == "1")
    counts = Counter((row["unseen"], row["degraded"]) for row in rows)
    assert len(counts) == 4
    assert all(count >= 3 for count in counts.values())


def test_pictures_of_a_kind_differ(drawn):
    paths = sorted((drawn / "train" / "tiger").glob("0*.jpg"))
    assert len({Image.open(path).convert("RGB").tobytes() for path in paths}) == len(paths)


def test_the_truth_scores_itself_and_other_ids_are_refused(drawn, tmp_path):
    truth = drawn / "truth/test.csv"
    assert set(score(truth, truth).values()) == {1.0}
    found = score(drawn / "sample_submission.csv", truth)
    assert found["unseen"] == 0
    assert 0 <= found["all"] < 0.2
    (tmp_path / "s.csv").write_text("Id,Category\nx.jpg,bear\n")
    with pytest.raises(UserError, match="Ids differ from the truth"):
        score(tmp_path / "s.csv", truth)


def test_it_is_drawn_where_no_data_is_and_said(in_empty_folder, small, capsys):
    run = run_training(toy_config(None, in_empty_folder / "runs"))
    told = capsys.readouterr().out
    assert "using the generated challenge in data/demo, with --arch test_efficientnet" in told
    assert "--size 32 --epochs" in told
    assert len(run.facts.classes) == 24
