"""Labels in a table: clear rows are understood, impossible ones cost one line and their row."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_prediction, run_training, toy_config

from vlg_fastai.cli import configured, parse
from vlg_fastai.config import AuditConfig, TrainConfig, UserError
from vlg_fastai.data import folder, folding, labels, listing, split
from vlg_fastai.data.twins import bound

HEADER = "image_id,breed,site\n"


def flat(toy, root, header=HEADER, suffix=False, name="train.csv", **form):
    "The toy folder in contest layout: one folder of photos, a table of labels, test photos."
    photos = root / "train_images"
    photos.mkdir(parents=True)
    rows = []
    for place in sorted((toy / "train").iterdir()):
        for path in sorted(place.iterdir()):
            there = photos / f"{place.name}_{path.name}"
            shutil.copy(path, there)
            rows.append((there.name if suffix else there.stem, place.name, f"s{len(rows) % 9}"))
    shutil.copytree(toy / "test", root / "test_images")
    text = header + "".join(",".join(row) + "\n" for row in rows)
    (root / name).write_text(text, **{"encoding": "utf-8", **form})
    return root


def listed(root, **options):
    cfg = TrainConfig(data=root, **options)
    return listing.of_classes(folder.layout(root, cfg=cfg), cfg=cfg)


@pytest.fixture
def contest(toy, tmp_path):
    return flat(toy, tmp_path / "contest")


def test_a_folder_with_a_table_and_no_class_folders_is_understood(contest, toy, tmp_path, capsys):
    root = tmp_path / "runs"
    options = {"epochs": 0, "arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}
    run = run_training(toy_config(contest, root, **options))
    told = capsys.readouterr().out
    assert "no class folders, so labels come from train.csv, photos from train_images" in told
    assert "train.csv: ids in 'image_id', labels in 'breed'" in told
    run_prediction(run, tmp_path / "a/s.csv", forecast=False)
    as_folders = run_training(toy_config(toy, root, **options))
    run_prediction(as_folders, tmp_path / "b/s.csv", forecast=False)
    assert (tmp_path / "a/s.csv").read_bytes() == (tmp_path / "b/s.csv").read_bytes()
    assert run.facts.accuracy == as_folders.facts.accuracy


def test_a_run_from_a_table_repeats_from_its_config_anywhere(contest, tmp_path, monkeypatch):
    run = run_training(toy_config(contest, tmp_path / "runs", group_col="site"))
    monkeypatch.chdir(tmp_path)
    given = {"config": run.path, "runs": tmp_path / "again"}
    again = run_training(configured(TrainConfig, given, adapt=folder.defaults_for))
    assert (again.path / "split.csv").read_text() == (run.path / "split.csv").read_text()
    assert again.config["labels"] == str(contest / "train.csv")
    places = run.split.assign(site=run.split["file"].map(site_of(contest)))
    assert places.groupby("site")["split"].nunique().max() == 1


def site_of(contest):
    table = pd.read_csv(contest / "train.csv")
    return {f"train_images/{row.image_id}.png": row.site for row in table.itertuples()}


def test_the_audit_takes_a_table_too(contest, tmp_path):
    from vlg_fastai.audit.run import audit
    from vlg_fastai.model.sources import choose

    cfg = AuditConfig(data=contest, out=tmp_path / "audit", size=64, device="cpu", workers=0,
                      arch="tf_efficientnet_lite0")  # fmt: skip
    found = pd.read_csv(audit(cfg, choose(cfg.arch, None, True)))
    places = contest / "train_images", contest
    assert all(any((place / file).exists() for place in places) for file in found["file"])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("image_id,breed,site", "ID, Label ,camera"),
        lambda text: "\n".join(",".join(row.split(",")[::-1]) for row in text.splitlines()),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", " \n"),
    ],
)
def test_other_separators_headers_and_orders_say_the_same(contest, change, capsys):
    plain = listed(contest)
    path = contest / "train.csv"
    path.write_text(change(path.read_text("utf-8")), encoding="utf-8", newline="")
    assert listed(contest)[["file", "label"]].equals(plain[["file", "label"]])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_is_read_in_its_encoding(toy, tmp_path, encoding, capsys):
    root = flat(toy, tmp_path / "x", suffix=True, encoding=encoding)
    assert set(listed(root)["label"]) == {"blue+whale", "frog", "höhlen bär"}


def test_options_name_table_photos_and_columns(toy, tmp_path):
    root = flat(toy, tmp_path / "x", "a,b,c\n", name="notes.csv")
    with pytest.raises(UserError, match="holds no class folders|no class folders"):
        folder.layout(root)
    found = listed(root, labels=root / "notes.csv", photos=root / "train_images", label_col="b")
    assert len(found) == 42
    with pytest.raises(UserError, match="--label-col zebra: no such column; the table has a, b, c"):
        listed(root, labels=root / "notes.csv", label_col="zebra")
    with pytest.raises(UserError, match="which column holds the labels .candidates: b, c"):
        listed(root, labels=root / "notes.csv")
    with pytest.raises(UserError, match="--photos .*: needs --labels"):
        listed(root, photos=root / "train_images")
    with pytest.raises(UserError, match="is not inside --data"):
        listed(root, labels=root / "notes.csv", photos=toy / "test")
    given = TrainConfig(labels=root / "notes.csv", photos=root / "train_images")
    assert folder.choose(None, given) == root


def append(root, text, name="train.csv"):
    with (root / name).open("a", encoding="utf-8") as file:
        file.write(text)


@pytest.mark.parametrize(
    ("rows", "line", "lost"),
    [
        ("gone,frog,s1\n", None, -1),  # listed, and broken in the scan
        ("frog_00,frog,s1\n", None, 0),  # the same row twice
        ("frog_00,blue+whale,s1\n", "2 rows give a photo two labels, e.g. train_images/", 1),
        ("frog_00,,s1\n", "1 rows have no label", 0),
        ("frog_00,frog|blue+whale,s1\n", "1 rows have several labels in one cell", 0),
    ],
)
def test_rows_that_cannot_be_used_cost_a_line_and_themselves(contest, rows, line, lost, capsys):
    before = len(listed(contest))
    first = pd.read_csv(contest / "train.csv").query("breed == 'frog'")["image_id"].iloc[0]
    append(contest, rows.replace("frog_00", first))
    capsys.readouterr()
    assert len(listed(contest)) == before - lost
    told = capsys.readouterr().out
    assert line is None or line.removesuffix("train_images/") in told


def test_photos_without_a_row_are_counted(contest, capsys):
    text = (contest / "train.csv").read_text("utf-8").splitlines(keepends=True)
    (contest / "train.csv").write_text("".join(text[:-2]), encoding="utf-8")
    assert len(listed(contest)) == 40
    assert "2 photos in train_images without a row" in capsys.readouterr().out


BROKEN = [
    "", "\n", "x", "a,b", "a,b\n", ",\n,\n", "a,a\n1,2\n", '"a,b\n1,2', "a,b\n1,2,3,4\n", "\0\0",
    "a;b\n", "a,b\n\0,2\n", "image_id\nfrog\n", "image_id,breed\nnowhere,frog\n" * 3, "\ufeff",
    '"image_id""","breed\n', "a,b\n" + "x" * 200_000 + ",1\n", "a\tb\n1", "é,ü\n1,2", "1,2\n3,4",
    "a,b,c\n1\n", "[1, 2]", "{}", "<html></html>", "PK\x03\x04", "a,b\r1,2\r", "=cmd,b\n1,2\n",
    "image_id,fold,breed\nx,y,z\n", "split,breed\nvalid,frog\n", "a|b\n1|2\n",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_a_table_that_is_none_is_one_line(contest, number):
    (contest / "train.csv").write_bytes(BROKEN[number].encode("utf-8"))
    with pytest.raises(UserError, match="--labels .*train.csv"):
        listed(contest)
    (contest / "train.csv").write_bytes(bytes([0xFF, 0xFE, 0x00]))
    with pytest.raises(UserError, match="--labels .*train.csv"):
        listed(contest)


def with_column(root, name, values):
    table = pd.read_csv(root / "train.csv")
    table[name] = values(table)
    table.to_csv(root / "train.csv", index=False)
    return root


def test_a_split_of_the_table_is_respected(contest, tmp_path):
    with_column(contest, "split", lambda table: np.where(table.index % 3, "Train", "val"))
    run = run_training(toy_config(contest, tmp_path))
    places = run.split.sort_values("file")["split"].value_counts()
    assert places["valid"] == 14
    assert places["train"] == 28


def test_folds_of_the_table_are_respected(contest, tmp_path, capsys):
    with_column(contest, "fold", lambda table: table.index % 3 + 1)
    run = run_training(toy_config(contest, tmp_path))
    assert "the table has 3 folds; holding out the first" in capsys.readouterr().out
    assert run.facts.held_out == 14
    found = listed(contest).assign(problem=None, content=np.arange(42).astype(str))
    apart = found.assign(dhash=np.random.default_rng(0).integers(0, 2**63, 42, np.uint64))
    made = folding.in_folds(apart.assign(grey=[bytes([i]) * 256 for i in range(42)]), 3, 0)
    assert (made["fold"] == found[split.GIVEN]).all()
    with pytest.raises(UserError, match="--folds 4: the table has 3 folds; give --folds 3"):
        folding._as_given(found.assign(group=0), 4)


def test_what_is_bound_is_never_on_both_sides():
    rng = np.random.default_rng(0)
    for _ in range(1_000):
        n = int(rng.integers(2, 60))
        groups = rng.integers(0, n, n)
        kin = np.array([f"p{k}" if k else "" for k in rng.integers(0, max(n // 3, 1), n)], object)
        found = bound(groups, kin)
        for own in (groups, kin):
            for name in set(own) - {""}:
                assert len(set(found[own == name])) == 1
        assert len(set(found)) >= 1
    assert len(set(bound(np.arange(5), np.array([""] * 5, object)))) == 5


def test_a_group_column_keeps_its_photos_in_one_fold(contest, tmp_path):
    run = run_training(toy_config(contest, tmp_path, group_col="site", folds=3, epochs=0,
                       arch="tf_efficientnet_lite0", pretrained=True, size=64))  # fmt: skip
    sites = run.split["file"].map(site_of(contest))
    assert run.split.groupby(sites)["fold"].nunique().max() == 1


def test_class_folders_beside_a_table_stay_class_folders(toy, tmp_path):
    data = shutil.copytree(toy, tmp_path / "data")
    (data / "train.csv").write_text("id,label\na,b\n")
    assert folder.layout(data).labels is None


def test_labels_are_no_numbers_and_nothing_is_missing(toy, tmp_path):
    root = flat(toy, tmp_path / "x")
    table = pd.read_csv(root / "train.csv")
    table["breed"] = table["breed"].map({"frog": "NA", "blue+whale": "007", "höhlen bär": "None"})
    table.to_csv(root / "train.csv", index=False)
    assert set(listed(root)["label"]) == {"NA", "007", "None"}


def test_paths_of_photos_in_folders_below_are_ids(toy, tmp_path):
    root = flat(toy, tmp_path / "x", suffix=True)
    deep = root / "train_images/deep"
    deep.mkdir()
    table = pd.read_csv(root / "train.csv")
    for name in table["image_id"][:5]:
        Path(root / "train_images" / name).rename(deep / name)
    table.loc[:4, "image_id"] = "deep/" + table.loc[:4, "image_id"]
    table.to_csv(root / "train.csv", index=False)
    assert listed(root)["file"].str.startswith("train_images/deep/").sum() == 5


def test_ids_and_order_come_from_the_table_of_the_test(contest, tmp_path, capsys):
    ids = sorted(path.stem for path in (contest / "test_images").iterdir())[::-1]
    (contest / "test.csv").write_text("image_id,width\n" + "".join(f"{i},64\n" for i in ids))
    run = run_training(toy_config(contest, tmp_path / "runs"))
    run_prediction(run, tmp_path / "s.csv", forecast=False)
    assert "ids and order of" in capsys.readouterr().out
    made = pd.read_csv(tmp_path / "s.csv", dtype=str)
    assert list(made.columns) == ["image_id", "breed"]
    assert made["image_id"].tolist() == ids
    (contest / "test.csv").write_text("nothing\nx\n")
    run_prediction(run, tmp_path / "t.csv", forecast=False)
    assert "no column holds ids" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "t.csv")) == 9


def test_a_file_that_is_missing_is_listed_with_its_reason(contest, tmp_path, capsys):
    append(contest, "gone,frog,s1\n")
    run = run_training(toy_config(contest, tmp_path))
    assert "1 of 43 files cannot be read" in capsys.readouterr().out
    lost = run.split.set_index("file").loc["train_images/gone"]
    assert lost["split"] == "unused"
    assert "no such file" in lost["problem"].lower()


def test_folds_count_from_those_of_the_rows_that_are_kept(contest, tmp_path):
    with_column(contest, "split", lambda table: np.where(table.index < 4, "test", "train"))
    with_column(contest, "fold", lambda table: np.where(table.index < 4, "", table.index % 3 + 1))
    found = listed(contest)
    assert len(found) == 38
    assert sorted(found[split.GIVEN].unique()) == [0, 1, 2]
    good = found.assign(group=np.arange(len(found)))
    assert sorted(folding._as_given(good, 3)["fold"].unique()) == [0, 1, 2]
    late = good.assign(given_fold=good[split.GIVEN] + 5)
    assert sorted(folding._as_given(late, 3)["fold"].unique()) == [0, 1, 2]


def test_a_class_in_one_given_fold_alone_is_taught_in_every_fold(contest):
    found = listed(contest).assign(given_fold=lambda table: np.arange(len(table)) % 3)
    rare = found["label"] == "frog"
    good = found.assign(given_fold=np.where(rare, 2, found[split.GIVEN]), group=np.arange(42))
    made = folding._as_given(good.assign(given_fold=np.where(rare, 2, np.arange(42) % 2)), 3)
    assert (made.loc[rare.to_numpy(), "fold"] == split.ALWAYS).sum() == 1


@pytest.mark.parametrize("option", ["id_col", "label_col", "group_col"])
def test_a_column_without_a_table_is_refused(toy, option):
    flag = option.replace("_", "-")
    with pytest.raises(UserError, match=f"--{flag} patient: needs a table of labels"):
        folder.layout(toy, cfg=TrainConfig(data=toy, **{option: "patient"}))


def test_a_column_is_named_without_naming_the_table(contest):
    path = contest / "train.csv"
    path.write_text(path.read_text("utf-8").replace("breed", "kind of animal"), "utf-8")
    cfg = parse(TrainConfig, ["--data", str(contest), "--label-col", "kind of animal"])
    assert len(listed(contest, label_col=cfg.label_col)) == 42


def test_photos_without_a_row_may_share_an_id(contest, capsys):
    for suffix in ("png", "jpg"):
        (contest / f"train_images/stranger.{suffix}").write_bytes(b"")
    assert len(listed(contest)) == 42
    assert "2 photos in train_images without a row" in capsys.readouterr().out


def test_a_photo_of_the_test_has_a_row(contest, capsys):
    with_column(contest, "split", lambda table: np.where(table.index % 3, "train", "test"))
    assert len(listed(contest)) == 28
    told = capsys.readouterr().out
    assert "14 rows belong to the test" in told
    assert "without a row" not in told


@pytest.mark.parametrize(("together", "kept"), [(5, 13), (1, 8)])
def test_words_that_are_frequent_together_are_a_name(together, kept, capsys):
    cells = ["sea"] * 3 + ["lion"] * 5 + ["sea lion"] * together
    files = [f"{number}.png" for number in range(len(cells))]
    table = pd.DataFrame({"file": files, "label": cells, "side": "train"})
    assert len(labels.usable("t.csv", table)) == kept
    assert ("several labels in one cell" in capsys.readouterr().out) == (kept == 8)


def test_ids_of_the_test_without_a_photo_cost_a_line_and_themselves(contest, tmp_path, capsys):
    ids = sorted(path.stem for path in (contest / "test_images").iterdir())
    text = "image_id,width\n" + "".join(f"{i},64\n" for i in [*ids, "gone", ids[0]])
    (contest / "test.csv").write_text(text)
    run = run_training(toy_config(contest, tmp_path / "runs"))
    run_prediction(run, tmp_path / "s.csv", forecast=False)
    told = capsys.readouterr().out.replace("\n", " ")
    assert f"2 of 11 ids repeated or without a photo, e.g. gone, {ids[0]}: left out" in told
    assert "have no Id" not in told
    assert pd.read_csv(tmp_path / "s.csv", dtype=str)["image_id"].tolist() == ids


def test_photos_in_folders_below_stay_below_where_they_are_named(toy, tmp_path, monkeypatch):
    root = flat(toy, tmp_path / "x", suffix=True)
    deep = root / "train_images/2024/jan"
    deep.mkdir(parents=True)
    for path in sorted((root / "train_images").glob("*.png")):
        path.rename(deep / path.name)
    monkeypatch.chdir(tmp_path)
    named = {"labels": Path("x/train.csv"), "photos": Path("x/train_images")}
    cfg = TrainConfig(data=None, **named)
    found = folder.layout(folder.choose(None, cfg), cfg=cfg)
    made = listing.of_classes(found, cfg=cfg)
    assert made["file"].str.startswith("train_images/2024/jan/").all()
    assert found.train.relative_to(found.root).as_posix() == "train_images"
