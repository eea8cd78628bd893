"""The store: computed once, the same for all readers, safe from kills, never over its limit."""

import multiprocessing
import os
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    COLOURS,
    draw_folder,
    gone_after_the_scan,
    run_prediction,
    run_training,
    toy_config,
)
from PIL import Image

from vlg_fastai.data import loaders, scan
from vlg_fastai.data import pixels as pixels_module
from vlg_fastai.data.images import BrokenImageError, content_hash
from vlg_fastai.data.pixels import Pixels
from vlg_fastai.data.segments import MOST_BYTES, write
from vlg_fastai.data.shelf import INDEX
from vlg_fastai.data.store import GIGABYTE, Store
from vlg_fastai.data.view import View
from vlg_fastai.model.bundle import ModelSpec
from vlg_fastai.model.features import FeatureExtractor


def keys(count, start=0):
    return [content_hash(str(number).encode()) for number in range(start, start + count)]


def pairs(names, size=6):
    return [(name, np.full((size,), i, np.float16)) for i, name in enumerate(names)]


def test_what_was_kept_is_there_for_the_next_process(tmp_path):
    names = keys(5)
    arrays = [np.arange(12, dtype=np.uint8).reshape(2, 2, 3) + i for i in range(5)]
    Store(tmp_path).shelf("pixels", 224).fill(zip(names, arrays, strict=True))
    again = Store(tmp_path).shelf("pixels", 224)
    assert all((again[name] == array).all() for name, array in zip(names, arrays, strict=True))
    assert isinstance(again[names[0]], np.memmap)
    assert not again.missing(names)


def test_shelves_of_other_facts_are_apart(tmp_path):
    names = keys(2)
    Store(tmp_path).shelf("features", "a", 224).fill(pairs(names))
    assert Store(tmp_path).shelf("features", "b", 224).missing(names) == names
    assert Store(tmp_path).shelf("features", "a", 96).missing(names) == names


def test_only_what_is_missing_is_asked_for_once(tmp_path):
    shelf = Store(tmp_path).shelf("features")
    shelf.fill(pairs(keys(3)))
    assert shelf.missing(keys(5) + keys(5)) == keys(5)[3:]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store()
    shelf = store.shelf("features")
    shelf.fill(pairs(keys(3)))
    assert shelf.rows(keys(3)).shape == (3, 6)
    assert store.shelf("features").missing(keys(3)) == keys(3)
    assert not list(tmp_path.iterdir())


def killed_while_filling(folder):
    def slow():
        for i, pair in enumerate(pairs(keys(40), MOST_BYTES // 8)):
            if i == 20:
                os.kill(os.getpid(), 9)
            yield pair

    Store(folder).shelf("features").fill(slow())


def test_a_kill_costs_only_what_was_not_yet_in_a_segment(tmp_path):
    process = multiprocessing.get_context("fork").Process(
        target=killed_while_filling, args=(tmp_path,)
    )
    process.start()
    process.join()
    shelf = Store(tmp_path).shelf("features")
    assert 0 < len(shelf.places) < 21
    for i, name in enumerate(keys(len(shelf.places))):
        assert (shelf[name] == i).all()
    shelf.fill(pairs(keys(40), 4))
    assert not Store(tmp_path).shelf("features").missing(keys(40))


def writer(folder, start):
    store = Store(
        folder, limit=30_000
    )  # too small for both: each makes room while the other writes
    for first in range(start, start + 200, 5):
        store.shelf("features").fill(pairs(keys(5, first), 100))
        store.shelf("features").missing(keys(5, first))


def test_two_processes_may_write_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=writer, args=(tmp_path, start)) for start in (0, 150)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    shelf = Store(tmp_path).shelf("features")
    there = [i for i, name in enumerate(keys(350)) if name in shelf]
    assert len(there) >= 10
    assert all((shelf[keys(350)[i]] == i % 5).all() for i in there)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "text"])
def test_a_damaged_segment_is_computed_again(tmp_path, damage):
    Store(tmp_path).shelf("features").fill(pairs(keys(3)))
    (data,) = [path for path in tmp_path.rglob("*.npy") if ".index" not in path.name]
    content = {"cut": data.read_bytes()[:-4], "empty": b"", "text": b"no numbers"}
    if damage == "gone":
        data.unlink()
    else:
        data.write_bytes(content[damage])
    shelf = Store(tmp_path).shelf("features")
    missing = shelf.missing(keys(3))
    assert missing
    shelf.fill(pairs(missing))
    assert not Store(tmp_path).shelf("features").missing(keys(3))


def test_what_was_used_longest_ago_makes_room(tmp_path):
    for kind in ("old", "used", "new"):
        store = Store(tmp_path, limit=50_000)  # as in an earlier process
        store.shelf(kind).fill(pairs(keys(1), 900))
        for path in (tmp_path / store.shelf(kind).folder.name).iterdir():
            os.utime(path, (time.time() - 1000, time.time() - 1000))
    store = Store(tmp_path, limit=5000)
    store.shelf("used").missing(keys(1))  # a lookup counts as use
    store.shelf("last").fill(pairs(keys(1), 900))
    there = {kind for kind in ("old", "used", "new", "last") if keys(1)[0] in store.shelf(kind)}
    assert {"used", "last"} <= there
    assert len(there) == 2


def test_what_this_process_reads_from_another_shelf_makes_no_room(tmp_path):
    store = Store(tmp_path, limit=5000)
    store.shelf("pixels").fill(pairs(keys(1), 900))
    for path in tmp_path.rglob("*.npy"):
        os.utime(path, (time.time() - 1000, time.time() - 1000))
    store.shelf("features").fill(pairs(keys(1), 900))
    assert not Store(tmp_path).shelf("pixels").missing(keys(1))


def test_files_of_a_killed_writer_are_swept_a_day_later(tmp_path):
    shelf = Store(tmp_path).shelf("features")
    shelf.fill(pairs(keys(1)))
    orphans = [shelf.folder / name for name in (".1.npy", "2.npy", ".2.index.npy")]
    for path in orphans:
        path.write_bytes(b"half")
    Store(tmp_path).shelf("features")
    assert all(path.exists() for path in orphans)  # their writer may still be running
    for path in orphans:
        os.utime(path, (0, 0))
    assert not Store(tmp_path).shelf("features").missing(keys(1))
    assert not any(path.exists() for path in orphans)


def test_clearing_removes_shelves_and_nothing_else(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "my-vectors").mkdir()
    for name in ("emb.npy", "emb.index.npy"):
        np.save(tmp_path / "my-vectors" / name, np.zeros(1000))
    (tmp_path / "holiday-photos").mkdir()
    own = {"thesis.txt", "my-vectors", "holiday-photos"}
    store = Store(tmp_path)
    store.shelf("features").fill(pairs(keys(2)))
    assert {path.name for path in tmp_path.iterdir()} > own
    store.clear()
    Store(tmp_path, limit=0).trim()
    assert {path.name for path in tmp_path.iterdir()} == own
    assert len(list((tmp_path / "my-vectors").iterdir())) == 2
    assert "emptied" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_costs_a_line_and_not_the_run(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    shelf = Store(tmp_path / "file").shelf("features")
    shelf.fill(pairs(keys(2)))
    assert shelf.rows(keys(2)).shape == (2, 6)
    assert "continuing without" in capsys.readouterr().out


def test_a_cache_folder_that_cannot_be_made_costs_the_run_nothing(toy, tmp_path):
    (tmp_path / "file").write_text("no folder")
    run = run_training(toy_config(toy, tmp_path / "runs", cache=tmp_path / "file" / "cache"))
    assert run.facts.status == "finished"


@pytest.mark.parametrize("kind", [np.uint8, np.float16, bool, INDEX])
def test_numbers_are_written_as_numpy_writes_them(tmp_path, kind):
    arrays = [np.zeros((4, 6), kind)[::2], np.ones((3, 2, 2), kind).T, np.zeros((0,), kind)]
    write(tmp_path / "ours.npy", arrays)
    np.save(tmp_path / "numpy.npy", np.concatenate([array.ravel() for array in arrays]))
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_full_disk_leaves_no_half_written_files(tmp_path, monkeypatch, capsys):
    def full(path, content):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    shelf = Store(tmp_path).shelf("features")
    monkeypatch.setattr("vlg_fastai.data.shelf.write", full)
    shelf.fill(pairs(keys(3)))
    assert shelf.refused
    assert shelf.rows(keys(3)).shape == (3, 6)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert capsys.readouterr().out.count("No space left") == 1


def test_photos_of_another_folder_make_room_on_the_same_shelf(tmp_path):
    Store(tmp_path).shelf("pixels").fill(pairs(keys(1), 900))
    store = Store(tmp_path, limit=4000)
    (old,) = [path for path in tmp_path.rglob("*.npy") if ".index" not in path.name]
    os.utime(old, (time.time() - 1000, time.time() - 1000))
    later = store.shelf("pixels")
    later.missing(keys(2, 5))
    assert store.room() > 3000
    later.fill(pairs(keys(2, 5), 900))
    assert not old.exists()
    assert not Store(tmp_path).shelf("pixels").missing(keys(2, 5))


def test_a_shelf_goes_to_another_process_as_its_folder(tmp_path):
    shelf = Store(tmp_path).shelf("features")
    shelf.fill(pairs(keys(2), 1_000_000))
    sent = pickle.dumps(shelf)
    assert len(sent) < 2000
    assert (pickle.loads(sent)[keys(2)[1]] == 1).all()


# decoded photos


@pytest.fixture
def photos(tmp_path):
    sizes = [(600, 400), (120, 90), (30, 2000), (224, 224), (1000, 225)]
    rows = []
    for i, size in enumerate(sizes):
        noise = np.random.default_rng(i).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        path = tmp_path / f"{i}.png"
        Image.fromarray(noise).save(path)
        rows.append((path, content_hash(path.read_bytes())))
    return pd.DataFrame(rows, columns=["path", "content"])


def test_kept_pixels_are_those_that_reading_the_file_gives(photos, tmp_path):
    store = Store(tmp_path / "cache")
    kept = Pixels.of(photos, 224, Image.Resampling.BICUBIC, store)
    plain = Pixels(224, Image.Resampling.BICUBIC)
    for path in photos["path"]:
        assert (np.asarray(kept(path)) == np.asarray(plain(path))).all()
    assert kept(photos["path"][0]).size == (336, 224)
    assert kept(photos["path"][1]).size == (120, 90)  # never enlarged before the crop


def test_a_photo_is_decoded_once(photos, tmp_path, monkeypatch):
    store = Store(tmp_path / "cache")
    Pixels.of(photos, 224, Image.Resampling.BICUBIC, store)
    monkeypatch.setattr(pixels_module, "read_image", None)  # decoding again would fail
    again = Pixels.of(photos, 224, Image.Resampling.BICUBIC, store)
    assert [again(path).mode for path in photos["path"]] == ["RGB"] * len(photos)


def test_photos_that_would_not_fit_are_read_from_their_files(photos, tmp_path, capsys):
    store = Store(tmp_path / "cache", limit=1000)
    reader = Pixels.of(photos, 224, Image.Resampling.BICUBIC, store)
    assert reader(photos["path"][0]).size == (336, 224)
    assert "more than --cache-gb" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.npy"))


def weights(run):
    return (run.path / "model.safetensors").read_bytes()


def test_a_run_is_the_same_with_a_cold_a_warm_and_no_cache(toy, tmp_path):
    options = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}
    made = [
        run_training(toy_config(toy, tmp_path / f"{i}", cache=cache, **options))
        for i, cache in enumerate([tmp_path / "cache", tmp_path / "cache", "off"])
    ]
    assert weights(made[0]) == weights(made[1]) == weights(made[2])
    tables = [
        run_prediction(made[0], tmp_path / f"{i}" / "s.csv", cache=cache).read_bytes()
        for i, cache in enumerate([tmp_path / "cache", tmp_path / "cache", "off"])
    ]
    assert tables[0] == tables[1] == tables[2]


def test_clear_cache_empties_it_and_is_not_part_of_a_repeat(toy, tmp_path, capsys):
    run_training(toy_config(toy, tmp_path / "runs", cache=tmp_path / "cache"))
    again = toy_config(toy, tmp_path / "runs", cache=tmp_path / "cache", clear_cache=True)
    assert "clear_cache" not in run_training(again).config
    assert "emptied" in capsys.readouterr().out


def test_what_is_in_use_is_never_trimmed_from_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store.asked_for(toy_config(None, None, cache=Path("cache"), cache_gb=0.000002))
    shelf = store.shelf("features")
    shelf.fill(pairs(keys(1), 900))
    again = store.shelf("features")
    assert not again.missing(keys(1))
    again.fill(pairs(keys(1, 5), 900))  # over the limit, but both are in use
    assert not store.shelf("features").missing(keys(1) + keys(1, 5))


def test_the_limit_is_that_of_the_option(tmp_path):
    cfg = toy_config(None, None, cache=tmp_path, cache_gb=2.5)
    assert Store.asked_for(cfg).limit == 2.5 * GIGABYTE


def test_a_photo_that_changed_is_decoded_anew(tmp_path):
    root = draw_folder(tmp_path / "d", dict(zip(COLOURS, (6, 6, 6), strict=True)))
    options = {"cache": tmp_path / "cache", "precision": "fp32"}
    run = run_training(toy_config(root, tmp_path / "runs", **options))
    first = run_prediction(run, tmp_path / "a.csv", cache=tmp_path / "cache")
    before = pd.read_csv(tmp_path / "probabilities.csv")
    Image.new("RGB", (50, 50), (255, 0, 255)).save(root / "test" / "000.png")
    run_prediction(run, first, cache=tmp_path / "cache")
    after = pd.read_csv(tmp_path / "probabilities.csv")
    assert before["p"][0] != after["p"][0]
    assert before["p"][1:].equals(after["p"][1:])


def segment_of(folder):
    (data,) = [path for path in folder.rglob("*.npy") if ".index" not in path.name]
    return data


@pytest.mark.parametrize("part", ["numbers", "index"])
def test_numbers_that_the_disk_changed_are_computed_again_and_said(tmp_path, capsys, part):
    Store(tmp_path).shelf("features").fill(pairs(keys(5), 600))
    path = segment_of(tmp_path)
    path = path if part == "numbers" else path.with_name(path.name.replace(".npy", ".index.npy"))
    content = bytearray(path.read_bytes())
    content[-40:] = bytes(40)  # right length, wrong content
    path.write_bytes(content)
    shelf = Store(tmp_path).shelf("features")
    missing = shelf.missing(keys(5))
    assert missing == keys(5)  # nothing in a damaged segment is trusted
    assert "damaged" in capsys.readouterr().out
    shelf.fill(pairs(missing, 600))
    again = Store(tmp_path).shelf("features")
    assert not again.missing(keys(5))
    assert all((again[key] == i).all() for i, key in enumerate(keys(5)))
    assert "damaged" not in capsys.readouterr().out


def test_damaged_pixels_are_read_from_the_photo_again(toy, tmp_path, capsys):
    table = pd.DataFrame({"path": sorted((toy / "test").iterdir())})
    table["content"] = [content_hash(path.read_bytes()) for path in table["path"]]
    sound = Pixels.of(table, 32, Image.Resampling.BICUBIC, Store(tmp_path))
    wanted = [np.asarray(sound(path)) for path in table["path"]]
    content = bytearray(segment_of(tmp_path).read_bytes())
    content[-5000:] = bytes(5000)
    segment_of(tmp_path).write_bytes(content)
    again = Pixels.of(table, 32, Image.Resampling.BICUBIC, Store(tmp_path))
    shown = [np.asarray(again(path)) for path in table["path"]]
    assert all((a == b).all() for a, b in zip(shown, wanted, strict=True))
    assert capsys.readouterr().out.count(": damaged") == 1


def test_numbers_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "fsync", lambda file: done.append("flush"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *pair: (done.append("rename"), replace(*pair)))
    Store(tmp_path).shelf("features").fill(pairs(keys(2)))
    assert done == ["flush", "rename", "flush", "rename"]


def test_a_file_replaced_after_the_scan_never_stands_under_the_old_content(toy, tmp_path, capsys):
    data = Path(shutil.copytree(toy, tmp_path / "toy"))
    table = scan.scan_files(data / "test")
    shutil.copy(data / "test/001.png", data / "test/000.png")
    store, view = Store(tmp_path / "cache"), View(32, (0.5,) * 3, (0.5,) * 3, "bicubic", 1)
    pixels = view.pixels(table, store)
    with pytest.raises(BrokenImageError, match="changed after it was scanned"):
        pixels(data / "test/000.png")
    shelf = store.shelf("pixels", 32, int(Image.Resampling.BICUBIC))
    assert shelf.missing(table["content"]) == [table["content"][0]]


def test_photos_that_go_or_change_after_the_scan_cost_their_row_alone(
    finished_run, toy, tmp_path, monkeypatch, capsys
):
    data = Path(shutil.copytree(toy, tmp_path / "toy"))
    scanned = scan.scan_files

    def spoilt(folder):
        table = scanned(folder)
        (data / "test/002.png").unlink()
        shutil.copy(data / "test/001.png", data / "test/000.png")
        return table

    plain = tmp_path / "plain/a.csv"
    run_prediction(finished_run, plain, test=data / "test", cache="off")
    monkeypatch.setattr(scan, "scan_files", spoilt)
    for number, run in enumerate([finished_run, probe_of(toy, tmp_path)]):
        restored = Path(shutil.copytree(toy / "test", data / "test", dirs_exist_ok=True))
        out = tmp_path / f"{number}/s.csv"
        run_prediction(run, out, test=restored, cache="off")
        told = pd.read_csv(out.with_name("probabilities.csv")).set_index("file")
        assert told.loc["000.png", "problem"] == "changed after it was scanned"
        assert told.loc["002.png", "problem"] == "No such file or directory"
        prior = told.loc[["000.png", "002.png"], run.facts.classes].to_numpy()
        assert np.allclose(prior, run.facts.prior, atol=1e-6)
        assert "the training prior stands in for 2 more photos" in capsys.readouterr().out
    first = pd.read_csv(plain).merge(pd.read_csv(tmp_path / "0/s.csv"), on="Id")
    same = ~first["Id"].isin(["000.png", "002.png"])
    assert (first["Category_x"] == first["Category_y"])[same].all()
    assert len(first) == 9


def probe_of(toy, tmp_path):
    trained = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64, "epochs": 0}
    return run_training(toy_config(toy, tmp_path / "probe", **trained))


@pytest.mark.parametrize("options", [
    {}, {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}, {"cache": "off"}
])  # fmt: skip
def test_photos_that_go_after_the_scan_do_not_end_a_training(
    toy, tmp_path, monkeypatch, capsys, options
):
    data = Path(shutil.copytree(toy, tmp_path / "toy"))
    gone_after_the_scan(monkeypatch, data / "train/frog/03.png")
    run = run_training(toy_config(data, tmp_path / "runs", **{"cache": tmp_path / "c", **options}))
    split = pd.read_csv(run.path / "split.csv").set_index("file")
    assert split.loc["train/frog/03.png", "split"] == "unused"
    assert split.loc["train/frog/03.png", "problem"] == "No such file or directory"
    assert "1 photo left out after the scan" in capsys.readouterr().out


def test_a_photo_that_goes_during_the_fit_is_left_out_of_its_batches(toy, tmp_path, monkeypatch):
    data = Path(shutil.copytree(toy, tmp_path / "toy"))
    build = loaders.build

    def spoilt(table, *given):
        made = build(table, *given)
        for split in ("train", "valid"):
            table.loc[table["split"] == split, "path"].iloc[0].unlink()
        return made

    monkeypatch.setattr(loaders, "build", spoilt)
    run = run_training(toy_config(data, tmp_path / "runs", cache="off"))
    assert run.facts.status == "finished"
    assert np.isfinite(pd.read_csv(run.path / "valid.csv").iloc[:, 2:].to_numpy()).all()


def test_what_training_computed_is_computed_by_no_later_command(toy, tmp_path, monkeypatch):
    trained = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64, "epochs": 1}
    run = run_training(toy_config(toy, tmp_path / "runs", cache=tmp_path / "cache", **trained))
    assert ModelSpec.of_run(run).view == View.stored(run.facts.view)
    seen, computed = [], FeatureExtractor._computed

    def counted(extractor, paths, *given):
        seen.extend(paths)
        return computed(extractor, paths, *given)

    monkeypatch.setattr(FeatureExtractor, "_computed", counted)
    run_prediction(run, tmp_path / "s.csv", cache=tmp_path / "cache")
    assert {path.parent for path in seen} <= {toy / "test"}  # no labelled photo is computed again
