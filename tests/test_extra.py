"""Photos from elsewhere: learned from where they help, and never part of a held-out figure."""

import dataclasses
import random
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import COLOURS, PROBE, draw_folder, photo, run_prediction, run_training, toy_config
from safetensors.torch import load_file
from test_targets import STRONG, own_sides, weights_of

from vlg_fastai.config import UserError
from vlg_fastai.data import extra, shares
from vlg_fastai.data.order import WeightedPlaced
from vlg_fastai.data.store import Store
from vlg_fastai.demo import challenge as drawing
from vlg_fastai.demo.imagined import imagined
from vlg_fastai.model import probe
from vlg_fastai.model.more import More
from vlg_fastai.runs.files import read_csv
from vlg_fastai.train import pseudo, swapping, worth
from vlg_fastai.train.targets import OwnPhotosLast

# in one process, since its runs of the generated challenge take half a minute to set up
pytestmark = pytest.mark.xdist_group("extra")
NEW = (200, 60, 60)


def draw_extra(root, counts, seed=9):
    "Write `root`/<class>/*: photos of known colours, or of a new one."
    rng = random.Random(seed)
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            photo(rng, COLOURS.get(label, NEW)).save(root / label / f"{number:02d}.png")
    return root


def labelled(folder):
    from vlg_fastai.config import TrainConfig
    from vlg_fastai.data import folder as folders
    from vlg_fastai.data import scan, split

    return split.assign(scan.scan_classes(folders.layout(folder), cfg=TrainConfig()), 0.2, 0)


def test_folders_spelled_like_a_known_class_are_that_class(tmp_path):
    draw_extra(tmp_path / "e", {"Blue_Whale": 2, "otter": 1})
    found = extra.found([tmp_path / "e"], ["blue+whale", "frog"])
    assert found["label"].tolist() == ["blue+whale", "blue+whale", "otter"]


def test_a_folder_without_class_folders_is_named(tmp_path):
    with pytest.raises(UserError, match="--extra .*no photos in class folders"):
        extra.found([tmp_path], ["frog"])


def test_copies_are_left_out_and_counted(toy, tmp_path):
    home = draw_extra(tmp_path / "e", {"frog": 3})
    first = next((toy / "train/frog").iterdir())
    (home / "frog/copy.png").write_bytes(first.read_bytes())
    (home / "frog/of_test.png").write_bytes((toy / "test/000.png").read_bytes())
    (home / "frog/again.png").write_bytes((home / "frog/00.png").read_bytes())
    (home / "frog/broken.png").write_bytes(b"")
    table = extra.found([home], ["frog"])
    made = extra.freed(table, labelled(toy), toy / "test")
    assert made.left_out == {
        "unreadable": 1, "copies of labelled photos": 1, "copies of test photos": 1, "repeated": 1,
    }  # fmt: skip
    assert len(made.table) == 3


def test_a_photo_made_from_another_belongs_to_its_group(toy, tmp_path):
    home = draw_extra(tmp_path / "e", {"frog": 3})
    (home / "source.csv").write_text(
        "file,made_from,model\nfrog/00.png,train/frog/03.png,m\nfrog/01.png,train/frog/gone.png,m\n"
    )
    table = labelled(toy)
    made = extra.freed(extra.found([home], ["frog"]), table, None)
    group = table.set_index("file").loc["train/frog/03.png", "group"]
    assert made.table.set_index("file")["kin"].to_dict() == {
        "frog/00.png": group, "frog/02.png": extra.OF_NONE,
    }  # fmt: skip
    assert made.left_out == {"made from a photo that is not there": 1}
    assert made.table["about"].tolist() == ["m", ""]


def clouds(per_class, kinds=6, seed=0, apart=3.0):
    "Features of photos around a middle of each class, and their labels."
    middles = np.random.default_rng(5).normal(0, apart, (kinds, 12))
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(kinds), per_class)
    return (middles[y] + rng.normal(0, 1, (len(y), 12))).astype(np.float32), y


def side_of(per_class=20, known=6, kinds=6):
    x, y = clouds(per_class, kinds)
    x, y = x[y < known], y[y < known]
    groups = np.arange(len(y))
    return worth.Side.of(x, y, groups, probe.out_of_fold(x, y, groups, kinds, Store()))


def more_of(side, per_class=10, seed=1, kin=None):
    x, y = clouds(per_class, side.classes, seed)
    kin = np.full(len(y), extra.OF_NONE) if kin is None else kin
    return More(x, y, kin, shares.weights(y, side.own))


def test_what_was_made_from_a_held_out_photo_is_not_learned_from(monkeypatch):
    monkeypatch.setattr(probe, "STRENGTHS", (0.01,))
    x, y = clouds(20, 4, apart=0.5)
    groups = np.arange(len(y))
    poison = More(x, (y + 1) % 4, groups, np.full(len(y), 50.0))  # a wrong label on every photo
    given = x, y, groups, 4, Store()
    fold = next(iter(probe.folds(y, groups, 0)))[1]
    alone = poison.among(np.isin(groups, groups[fold]))  # what was made from one part's photos
    plain = probe.out_of_fold(*given).logits
    with_them = probe.out_of_fold_beside(alone, *given, 0).logits
    assert np.array_equal(with_them[fold], plain[fold])
    others = np.setdiff1d(np.arange(len(y)), fold)
    assert not np.allclose(with_them[others], plain[others])
    same = probe.elsewhere(x[fold], fold, 0.01, (x, y, groups, 4, alone))
    assert np.array_equal(same, probe.elsewhere(x[fold], fold, 0.01, (x, y, groups, 4, None)))


def test_no_model_that_is_judged_learns_from_test_photos():
    x, y = clouds(20, 4, apart=0.5)
    groups = np.arange(len(y))
    more = More(x, (y + 1) % 4, np.full(len(y), extra.NEVER), np.full(len(y), 50.0))
    given = x, y, groups, 4, Store()
    with_them = probe.out_of_fold_beside(more, *given, 0)
    assert np.array_equal(with_them.logits, probe.out_of_fold(*given).logits)
    heads = [probe.fit(x, y, 0.01, 4, one)[0].weight for one in (more, None)]
    assert not torch.allclose(*heads)  # the model itself does


def test_a_class_without_any_photo_left_is_never_predicted():
    x, y = clouds(20, 3)
    for labels in (y, np.minimum(y, 1)):
        z = probe.fit(x, labels, 0.03, 4)(torch.as_tensor(x)).argmax(1).numpy()
        assert (z == labels).mean() > 0.95


def test_extra_photos_share_the_weight_of_their_class():
    own = np.array([100, 10, 0])
    found = shares.weights(np.repeat([0, 1, 2], [50, 20, 500]), own)
    totals = [found[a:b].sum() for a, b in ((0, 50), (50, 70), (70, 570))]
    assert totals == pytest.approx([100 / 9, 10, 55])  # a tenth; half of few; as the mean class
    assert shares.weights(np.array([0]), own) == [1.0]  # no photo counts more than a labelled one


def test_photos_of_another_class_are_found_out():
    side = side_of(known=5)
    more = more_of(side)
    wrong = dataclasses.replace(
        more, y=np.where(np.arange(len(more)) % 2, more.y, (more.y + 1) % 6)
    )
    known = wrong.y < 5
    found = worth.doubted(side, wrong)
    assert found[::2][known[::2]].mean() > 0.9
    assert found[1::2][known[1::2]].mean() < 0.1


def test_a_class_without_labelled_photos_is_judged_by_its_own_others():
    side = side_of(known=5)
    more = more_of(side, per_class=20)
    odd = np.flatnonzero(more.y == 5)[:4]
    x = more.x.copy()
    x[odd] = clouds(4, 6, 3)[0][:4]  # of the first class
    found = worth.doubted(side, dataclasses.replace(more, x=x))
    assert found[odd].all()
    assert found[np.setdiff1d(np.flatnonzero(more.y == 5), odd)].mean() < 0.2


def test_extra_photos_gain_where_they_are_like_the_labelled_ones_and_not_where_they_are_noise():
    x, y = clouds(4, 6, apart=1.0)
    groups, store = np.arange(len(y)), Store()
    before = probe.out_of_fold(x, y, groups, 6, store)
    side = worth.Side.of(x, y, groups, before)
    good, kinds = clouds(60, 6, 2, apart=1.0)
    more = More(good, kinds, np.full(len(kinds), -1), shares.weights(kinds, side.own))
    noise = dataclasses.replace(more, x=np.random.default_rng(0).normal(0, 3, good.shape))
    after, worse = (
        probe.out_of_fold_beside(one, x, y, groups, 6, store, 0) for one in (more, noise)
    )
    assert worth.gain(side, before, after)["clear"]
    assert not worth.gain(side, before, worse)["clear"]


def shifted_world(seed, known=14, kinds=18):
    "A Side of `known` classes, More of all, and test features of the others; extras are off a bit."
    rng = np.random.default_rng(seed)
    middles = rng.normal(0, 1.0, (kinds, 16))
    offset = rng.normal(0, 0.4, (kinds, 16))  # what the generator gets wrong of each class

    def drawn(labels, off):
        return (
            middles[labels] + off * offset[labels] + rng.normal(0, 1, (len(labels), 16))
        ).astype(np.float32)

    y = np.repeat(np.arange(known), 25)
    groups = np.arange(len(y))
    x = drawn(y, 0)
    side = worth.Side.of(x, y, groups, probe.out_of_fold(x, y, groups, kinds, Store()))
    labels = np.repeat(np.arange(kinds), 20)
    weight = shares.weights(labels, side.own)
    more = More(drawn(labels, 1), labels, np.full(len(labels), -1), weight)
    asked = np.repeat(np.arange(known, kinds), 100)
    return side, more, drawn(asked, 0), asked


def test_the_swap_test_foretells_the_accuracy_of_classes_that_only_extra_photos_show():
    held, widths = [], []
    for seed in range(12):
        side, more, asked, truth = shifted_world(seed)
        found = swapping.swap(side, more, np.ones(len(more), bool))
        z = side.answers(asked, more)
        z[:, np.unique(truth)] += found["bias"]
        low, high = found["accuracy_interval"]
        held.append(low <= (z.argmax(1) == truth).mean() <= high)
        widths.append(high - low)
    assert np.mean(held) >= 0.8
    assert np.mean(widths) < 0.4


def test_the_swap_test_needs_extra_photos_of_known_classes():
    side, more, _, _ = shifted_world(0)
    alone = more.among(more.y >= 14)
    assert swapping.swap(side, alone, np.ones(len(alone), bool)) is None
    known = more.among(more.y < 14)
    assert swapping.swap(side, known, np.ones(len(known), bool)) is None


@pytest.mark.parametrize("swapped", [True, False])
def test_a_part_that_judges_one_side_alone_is_left_out(monkeypatch, swapped):
    side, more, _, _ = shifted_world(0)
    part, new, held = np.array([0, 1]), np.arange(14, 18), np.arange(0, len(side.y), 5)
    given = side, more, np.ones(len(more), bool), new, part, held
    assert swapping._part(*given) is not None
    doubted = np.isin(side.y, part) != swapped  # all photos of the other side
    monkeypatch.setattr(swapping, "pruned", lambda *_: doubted)
    assert swapping._part(*given) is None


def table_of(counts, extras):
    rows = [(label, "train", False) for label, n in counts.items() for _ in range(n)]
    rows += [(label, "train", True) for label, n in extras.items() for _ in range(n)]
    rows += [(label, "valid", False) for label in counts]
    return pd.DataFrame(rows, columns=["label", "split", "extra"])


@pytest.mark.parametrize("weighted", [True, False])
def test_training_samples_extra_photos_by_their_share(weighted):
    table = table_of({"a": 90, "b": 30}, {"a": 200, "b": 5, "new": 400})
    cfg = SimpleNamespace(weighted=weighted, balance="equal")
    drawn = shares.draws(table, cfg)
    train = (table["split"] == "train").to_numpy()
    by = table[train].assign(w=drawn[train]).groupby(["label", "extra"])["w"].sum()
    assert by["a", True] / by["a"].sum() == pytest.approx(0.1)
    assert by["new", True] / by["a"].sum() == pytest.approx(1.0 if weighted else 0.6)
    last = shares.draws(table, cfg, extras=False)[train]
    kept = table[train].assign(w=last).groupby(["label", "extra"])["w"].sum()
    assert kept["a", True] == kept["b", True] == 0
    assert kept["new", True] > 0  # it has no others
    assert shares.length(table[train]) == {"n": 90 + 30 + 400}


def test_an_epoch_is_no_longer_for_extra_photos_of_known_classes():
    dl = WeightedPlaced(list(range(300)), bs=10, wgts=np.ones(300), n=40, shuffle=True)
    order = [place for _, place in dl.get_idxs()]
    assert len(order) == 40
    assert max(order) > 40


def test_the_last_quarter_of_the_epochs_is_on_labelled_photos():
    first, later = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    seen = []
    dl = SimpleNamespace(wgts=first, first=first, later=later)
    for epoch in [*range(8), 0]:  # another phase begins anew
        one = OwnPhotosLast()
        one.learn = SimpleNamespace(dls=SimpleNamespace(train=dl), epoch=epoch, n_epoch=8)
        one.before_epoch()
        seen.append(dl.wgts.tolist())
    assert seen == [[0.5, 0.5]] * 6 + [[1.0, 0.0]] * 2 + [[0.5, 0.5]]


@pytest.fixture(scope="module")
def imagined_folder(tmp_path_factory):
    "Imagined pictures of every animal of the generated challenge."
    root, rng = tmp_path_factory.mktemp("x") / "extra", random.Random(3)
    for label in drawing.EVERY:
        (root / label).mkdir(parents=True)
        for number in range(8):
            imagined(label, rng).save(root / label / f"{number:02d}.jpg", quality=90)
    return root


@pytest.fixture(scope="module")
def with_extra(challenge, imagined_folder, tmp_path_factory):
    cfg = toy_config(challenge, tmp_path_factory.mktemp("r"), **PROBE, extra=(imagined_folder,))
    return run_training(cfg)


def test_no_extra_photo_is_in_a_file_of_labelled_ones(with_extra, probed):
    for name in ("split.csv", "valid.csv", "oof.csv"):
        files = read_csv(with_extra.path / name)["file"]
        assert files.str.startswith("train/").all(), name
        assert len(files) == len(read_csv(probed.path / name)), name


def test_classes_that_only_extra_photos_show_are_classes_of_the_run(with_extra):
    facts = with_extra.facts
    assert set(facts.classes) == set(drawing.EVERY)
    assert facts.extra["strange"] == sorted(drawing.UNSEEN)
    prior = dict(zip(facts.classes, facts.prior, strict=True))
    assert {prior[label] for label in drawing.UNSEEN} == {0.0}
    assert facts.extra["swap"]["classes"] == len(drawing.SEEN)
    table = read_csv(with_extra.path / "extra.csv")
    assert set(table["label"]) == set(drawing.EVERY)
    assert (with_extra.path / "reports/extra.png").exists()


def test_classes_with_extra_photos_alone_are_predicted(with_extra, challenge, tmp_path, capsys):
    run_prediction(with_extra, tmp_path / "s.csv")
    answers = read_csv(tmp_path / "probabilities.csv").set_index("Id")["category"]
    truth = read_csv(challenge / "truth/test.csv").set_index("Id")
    unseen = truth.index[truth["unseen"] == 1]
    assert (answers[unseen] == truth["Category"][unseen]).mean() > 0.5
    assert "6 classes that only extra photos show" in capsys.readouterr().out


def test_the_forecast_comes_from_labelled_photos_alone(with_extra, probed, tmp_path):
    from vlg_fastai.runs.files import read_json

    found = []
    for name, run in (("with", with_extra), ("without", probed)):
        (tmp_path / name).mkdir()
        run_prediction(run, tmp_path / name / "s.csv")
        found.append(read_json(tmp_path / name / "forecast.json")["forecast"])
    assert found[0]["share"] == pytest.approx(found[1]["share"], abs=0.02)
    assert found[0]["accuracy"] == pytest.approx(found[1]["accuracy"], abs=0.02)


def test_bad_photos_of_known_classes_are_left_out(challenge, tmp_path):
    rng = random.Random(0)
    names = list(drawing.SEEN)
    for label, other in zip(names, names[1:] + names[:1], strict=True):
        (tmp_path / "e" / label).mkdir(parents=True)
        for number in range(4):
            imagined(other, rng).save(tmp_path / "e" / label / f"{number}.jpg")
    cfg = toy_config(challenge, tmp_path / "runs", **PROBE, extra=(tmp_path / "e",))
    facts = run_training(cfg).facts
    assert facts.extra["used"] == 0


def test_held_out_labels_leave_every_weight_as_it_is_with_extra_photos(tmp_path):
    home = draw_extra(tmp_path / "e", {**dict.fromkeys(COLOURS, 6), "red": 6})
    more = {"extra": (home,), "epochs": 1}
    runs = [
        run_training(toy_config(own_sides(tmp_path / name, swapped), tmp_path / "runs",
                                **{**STRONG, **more}))
        for name, swapped in (("as it is", False), ("swapped", True))
    ]  # fmt: skip
    a, b = (load_file(weights_of(run)) for run in runs)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert [run.facts.extra["used"] for run in runs] == [runs[0].facts.extra["used"]] * 2


def test_folds_learn_from_extra_photos(toy, tmp_path):
    home = draw_extra(tmp_path / "e", {**dict.fromkeys(COLOURS, 6), "red": 6})
    cfg = toy_config(toy, tmp_path / "runs", arch="tf_efficientnet_lite0", folds=2)
    run = run_training(dataclasses.replace(cfg, pretrained=True, extra=(home,), epochs=1))
    assert run.facts.classes == sorted([*COLOURS, "red"])
    assert run.facts.extra["strange"] == ["red"]
    assert len(read_csv(run.path / "oof.csv")) == 42


def test_without_trained_weights_extra_photos_are_used_unjudged(toy, tmp_path, capsys):
    home = draw_extra(tmp_path / "e", {"red": 6})
    run = run_training(toy_config(toy, tmp_path / "runs", extra=(home,)))
    assert "red" in run.facts.classes
    assert "nothing judges them without features" in capsys.readouterr().out


def test_a_run_whose_extra_photos_changed_does_not_resume():
    from vlg_fastai.train.beginning import check_same_machine

    then = {"weights": "w", "extra": "a", "device": "cpu"}
    with pytest.raises(UserError, match="extra photos have changed"):
        check_same_machine(then, {**then, "extra": "b"})
    check_same_machine({"weights": "w", "device": "cpu"}, {**then, "extra": None})  # an older run


def test_extra_photos_and_oversampling_exclude_each_other(toy, tmp_path):
    from vlg_fastai.checks import check

    cfg = toy_config(toy, tmp_path, extra=(tmp_path,), oversample=True)
    with pytest.raises(UserError, match="--oversample True: conflicts with --extra"):
        check(cfg)


class Scores:
    "Evidence of photos that are right where they are sure, and of unseen ones that seem sure."

    def __init__(self, strange):
        sure = np.linspace(0.01, 1, 400)
        self.known = np.column_stack([sure, sure])
        self.right = sure > 0.3
        scores = np.column_stack([strange, strange])
        self.folds = [SimpleNamespace(scores=scores, new=np.ones(len(strange), bool))]


def test_test_photos_are_taken_where_nine_of_ten_are_right():
    unsure, sure = (Scores(np.full(50, value)) for value in (0.1, 2.0))
    least = pseudo.threshold(unsure, 0.3)
    assert pseudo.pure(unsure, 0.3, 1.0, least) >= pseudo.PURE
    assert 0.1 < least < 0.35
    assert pseudo.threshold(sure, 0.3) is None  # unseen ones look as sure
    assert pseudo.threshold(sure, 0.0) == pytest.approx(least, abs=0.05)
    assert pseudo.threshold(unsure, 0.3, worse=20.0) > least  # a test that is harder
    assert pseudo.threshold(unsure, 0.3, worse=500.0) is None


def test_a_certainty_that_says_nothing_takes_nothing():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        evidence = Scores(np.full(50, 0.1))
        evidence.right = rng.random(400) < 0.5
        assert pseudo.threshold(evidence, 0.0) is None


def test_chance_labels_stay_chance_however_many_test_photos_are_taken():
    after = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(0, 1, (72, 64)).astype(np.float32), rng.integers(0, 6, 72)
        groups = np.arange(72)
        side = worth.Side.of(x, y, groups, probe.out_of_fold(x, y, groups, 6, Store()))
        asked = rng.normal(0, 1, (400, 64)).astype(np.float32)
        after.append(pseudo.gain(side, asked, 0.0)["accuracy"][1])
    assert np.mean(after) < 0.25  # 0.17; answers that saw these labels made it 0.99


def test_without_a_test_there_is_nothing_to_choose_from(tmp_path):
    data = draw_folder(tmp_path / "d", dict.fromkeys(COLOURS, 10))
    for path in (data / "test").iterdir():
        path.unlink()
    (data / "test").rmdir()
    cfg = toy_config(data, tmp_path / "r", **PROBE, pseudo=0.5)
    with pytest.raises(UserError, match="--pseudo 0.5: .* has no folder of test photos"):
        run_training(cfg)


def test_sure_test_photos_are_learned_from(challenge, probed, tmp_path):
    run = run_training(toy_config(challenge, tmp_path / "r", **PROBE, pseudo=0.4))
    told = run.facts.extra["pseudo"]
    assert 0 < told["photos"] <= 0.4 * told["of"] + 1
    assert told["gain"]["clear"] == (run.facts.extra["used"] > 0)
    assert set(run.facts.classes) == set(drawing.SEEN)
    assert read_csv(run.path / "extra.csv")["source"].eq("pseudo").all()
    mine, plain = (read_csv(one.path / "oof.csv") for one in (run, probed))
    assert mine.equals(plain)  # its score is that of models without them


def test_held_out_labels_leave_what_is_taken_of_the_test_as_it_is(challenge, tmp_path, monkeypatch):
    monkeypatch.setattr(pseudo, "PURE", 0.3)  # few classes of few photos leave little that is sure
    names, rows = list(drawing.SEEN)[:8], []
    truth = read_csv(challenge / "truth/test.csv").set_index("Id")["Category"]
    asked = truth.index[truth.isin([*names, *drawing.UNSEEN])]
    for swapped in (False, True):
        home = tmp_path / str(swapped)
        (home / "test").mkdir(parents=True)
        for name in asked:
            shutil.copy(challenge / "test" / name, home / "test")
        for label in names:
            shutil.copytree(challenge / "train" / label, home / "train" / label)
            told = names[names.index(label) - 1] if swapped else label
            (home / "valid" / told).mkdir(parents=True)
            for path in sorted((home / "train" / label).iterdir())[:3]:
                path.rename(home / "valid" / told / path.name)
        run = run_training(toy_config(home, tmp_path / f"r{swapped}", **PROBE, pseudo=0.4))
        rows.append(read_csv(run.path / "extra.csv")[["file", "label", "used"]])
    assert rows[0].equals(rows[1])
    assert len(rows[0])


def test_an_unlike_test_is_not_learned_from(challenge, tmp_path, monkeypatch):
    told = {"known": SimpleNamespace(value=0.9), "unseen": SimpleNamespace(value=0.1)}
    monkeypatch.setattr(pseudo, "shipped", lambda: lambda _: (told, True))
    cfg = toy_config(challenge, tmp_path / "r", **PROBE, pseudo=0.4)
    with pytest.raises(UserError, match="no simulated test resembles this one"):
        run_training(cfg)


def test_what_was_made_from_a_held_out_photo_never_reaches_a_fit(toy, tmp_path):
    home = draw_extra(tmp_path / "e", {"frog": 18})
    rows = [f"frog/{i:02d}.png,train/frog/{i:02d}.png" for i in range(18)]
    (home / "source.csv").write_text("file,made_from\n" + "\n".join(rows) + "\n")
    run = run_training(toy_config(toy, tmp_path / "runs", extra=(home,)))  # no features
    split = run.split.set_index("file")["split"]
    table = read_csv(run.path / "extra.csv")
    sides = split.loc[table["made_from"]].to_numpy()
    assert (sides == "valid").any()
    assert not table["used"][sides == "valid"].any()
    assert table["used"][sides == "train"].all()


def test_the_label_of_a_folder_that_cannot_be_named_so_is_in_the_table(tmp_path):
    home = draw_extra(tmp_path / "e", {"Geoffroy_s_cat": 2})
    (home / "source.csv").write_text(
        "file,label\nGeoffroy_s_cat/00.png,Geoffroy's cat\nGeoffroy_s_cat/01.png,Geoffroy's cat\n"
    )
    assert set(extra.found([home], ["Geoffroy's cat"])["label"]) == {"Geoffroy's cat"}


def test_a_folder_of_sides_is_not_one_of_classes(tmp_path):
    draw_extra(tmp_path / "a/train", {"otter": 2})
    assert set(extra.found([tmp_path / "a"], [])["label"]) == {"otter"}
    draw_extra(tmp_path / "b", {"otter": 2, "test": 1})
    with pytest.raises(UserError, match="holds the folder 'test'"):
        extra.found([tmp_path / "b"], [])
    draw_extra(tmp_path / "c/otter", {"web": 2, "drawn": 1})
    assert set(extra.found([tmp_path / "c"], [])["label"]) == {"otter"}


def test_a_batch_is_no_larger_than_an_epoch(toy, tmp_path):
    home = draw_extra(tmp_path / "e", {"frog": 60})
    run = run_training(toy_config(toy, tmp_path / "runs", extra=(home,), bs=64))
    assert run.facts.epochs == 1


def test_the_swap_test_gives_up_where_too_few_classes_remain():
    for counts in ((3, 1, 1, 1), (8, 8, 1, 1), (1, 1, 1, 4)):
        x, labels = clouds(10, 6)
        y = np.repeat(np.arange(4), counts)
        rows = np.concatenate([np.flatnonzero(labels == k)[:n] for k, n in enumerate(counts)])
        groups = np.arange(len(y))
        side = worth.Side.of(x[rows], y, groups, probe.out_of_fold(x[rows], y, groups, 6, Store()))
        found = swapping.swap(side, more_of(side), np.ones(60, bool))
        assert found is None or 0 <= found["accuracy"] <= 1


def test_a_class_that_only_extra_photos_show_survives_self_training():
    from vlg_fastai.unseen import selftraining

    x, y = clouds(20, 4)
    shown = x[y < 2], y[y < 2]  # class 2 has extra photos alone, 3 is a name
    scores = np.log(np.full((len(y), 4), 0.01))
    scores[np.arange(len(y)), y] = 0
    done = selftraining.transduced(scores, 3, shown, x, (0.01, 1.0, probe.scale(x)))
    assert (done.argmax(1)[y == 2] == 2).all()
