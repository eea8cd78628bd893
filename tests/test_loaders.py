"""The DataLoaders: balanced, augmented for training only, never out of memory."""

import itertools
import random
import threading
import warnings
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import COLOURS, draw_folder, toy_config
from fastai.data.transforms import IntToFloatTensor
from fastai.torch_core import TensorImage, set_seed
from fastai.vision.augment import Flip
from fastai.vision.core import PILImage
from PIL import Image

from vlg_fastai import console
from vlg_fastai.data import folder, loaders, scan, shares, split
from vlg_fastai.data.augment import BARS, Fit, Mirror
from vlg_fastai.data.degrade import JUDGING, SHOWING, TRAINING
from vlg_fastai.data.images import BrokenImageError
from vlg_fastai.data.order import drawn_by, lasting
from vlg_fastai.data.resident import keep_photos
from vlg_fastai.data.view import View
from vlg_fastai.machine.device import Machine
from vlg_fastai.machine.transfer import free_bytes

CPU = Machine(torch.device("cpu"), "fp32", 0)


def viewed(size, share, how="crop"):
    return View(size, (0.5,) * 3, (0.5,) * 3, "bilinear", share, how)


VIEW = View(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.9)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    root = draw_folder(
        tmp_path_factory.mktemp("uneven"), dict(zip(COLOURS, (60, 6, 12), strict=True))
    )
    return split.assign(scan.scan_classes(folder.layout(root)), 0.2, 0)


def dls_of(table, **options):
    set_seed(0)
    cfg = toy_config(None, None, **options)
    return loaders.build(table, sorted(table["label"].unique()), VIEW, VIEW.pixels(), CPU, cfg)


def drawn(dls, epochs=20):
    return Counter(int(i) for _ in range(epochs) for _, y in dls.train for i in y)


def test_the_weighted_loader_draws_every_class_equally_often(uneven):
    counts = drawn(dls_of(uneven))
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_without_weights_classes_come_as_often_as_they_are(uneven):
    counts = drawn(dls_of(uneven, weighted=False))
    assert max(counts.values()) > 4 * min(counts.values())


def test_oversampling_is_on_the_training_side_only(uneven):
    plain, more = dls_of(uneven, weighted=False), dls_of(uneven, oversample=True)
    assert len(more.train_ds) > len(plain.train_ds)
    assert len(more.valid_ds) == len(plain.valid_ds)
    assert not {*more.train_ds.items["file"]} & {*more.valid_ds.items["file"]}


def test_copies_of_a_photo_are_augmented_each_in_its_own_way(uneven):
    one = uneven[uneven["split"] == "train"].iloc[[0] * 8]
    table = pd.concat([one, uneven[uneven["split"] == "valid"]], ignore_index=True)
    x, _ = dls_of(table, weighted=False).train.one_batch()
    assert len({tensor.numpy().tobytes() for tensor in x}) == 8


def test_validation_is_in_order_and_never_augmented(uneven):
    dls = dls_of(uneven, aug="strong")
    first, again = (torch.cat([x for x, _ in dls.valid]) for _ in range(2))
    assert torch.equal(first, again)
    files = list(uneven.loc[uneven["split"] == "valid", "file"])
    assert list(dls.valid_ds.items["file"]) == files


def test_a_batch_larger_than_the_photos_is_lowered_and_said(uneven, capsys):
    dls = dls_of(uneven, bs=500)
    assert len(dls.train) == 1  # fastai drops the last batch and would otherwise train on none
    assert "--bs 500 exceeds the" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_batches(uneven):
    first, again = (dls_of(uneven).train.one_batch() for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("size", [(1, 1), (4000, 3), (3, 4000), (50, 40)])
def test_every_shape_of_photo_fits(size):
    fit = Fit(viewed(48, 0.875), min_scale=0.35)
    for side in (0, 1):
        assert fit(PILImage(Image.new("RGB", size)), split_idx=side).size == (48, 48)


def test_validation_takes_the_centre_and_training_any_place():
    fit = Fit(viewed(10, 0.5))
    fit.before_call(None, 1)
    assert fit.box(100, 60) == (35, 15, 65, 45)
    boxes = set()
    for _ in range(20):
        fit.before_call(None, 0)
        left, top, right, bottom = fit.box(100, 60)
        boxes.add((left, top))
        assert 0 <= left < right <= 100
        assert 0 <= top < bottom <= 60
    assert len(boxes) > 10


def test_strong_crops_vary_in_area_and_shape_within_the_photo():
    fit = Fit(viewed(10, 0.9), min_scale=0.35)
    areas, ratios = [], []
    for _ in range(200):
        fit.before_call(None, 0)
        left, top, right, bottom = fit.box(120, 100)
        areas.append((right - left) * (bottom - top) / 100**2)
        ratios.append((right - left) / (bottom - top))
    assert 0.3 < min(areas) < 0.5 < 0.8 < max(areas) <= 1.2
    assert np.log(ratios).std() > 0.05


def test_names_of_augmentations_and_heads_agree_with_the_options():
    from typing import get_args, get_type_hints

    from vlg_fastai.config import TrainConfig
    from vlg_fastai.data.augment import AUGMENTATIONS
    from vlg_fastai.machine.precision import DTYPES
    from vlg_fastai.model.head import HEADS
    from vlg_fastai.recipes import RECIPES

    hints = get_type_hints(TrainConfig)
    for option, names in (("aug", AUGMENTATIONS), ("head", HEADS), ("recipe", RECIPES)):
        assert set(get_args(hints[option])) == set(names)
    assert set(get_args(hints["precision"])) == {"auto", "fp32", *DTYPES}


@pytest.mark.parametrize("aug", ["degraded", "trivial"])
def test_photos_are_changed_one_by_one_in_training_and_never_in_validation(uneven, aug):
    one = uneven[uneven["split"] == "train"].iloc[[0] * 24]
    table = pd.concat([one, uneven[uneven["split"] == "valid"]], ignore_index=True)
    changed, plain = (dls_of(table, weighted=False, bs=24, aug=name) for name in (aug, "none"))
    x = changed.train.one_batch()[0]
    assert x.shape == (24, 3, 32, 32)
    assert len({photo.numpy().tobytes() for photo in x}) > 12
    assert float(x.std(0).mean()) > 1.2 * float(plain.train.one_batch()[0].std(0).mean())
    pairs = zip(changed.valid, plain.valid, strict=True)
    assert all(torch.allclose(a[0], b[0], atol=1e-4) for a, b in pairs)


@pytest.mark.parametrize("degrade", [*TRAINING, *JUDGING, *SHOWING])
def test_a_degradation_keeps_the_size_and_grows_with_its_strength(degrade):
    photo = Image.fromarray(np.random.default_rng(0).integers(60, 190, (48, 64, 3), np.uint8))
    photo = photo.resize((12, 9)).resize((64, 48))
    before = np.asarray(photo, float)
    made = [degrade(photo, strength, random.Random(3)) for strength in (0.1, 0.9)]
    assert {image.size for image in made} == {(64, 48)}
    weak, strong = (np.abs(np.asarray(image, float) - before).mean() for image in made)
    assert weak < strong


def shown(how, width, height, training=False, **more):
    "A photo with a red left half and a blue right half, as a view shows it."
    photo = Image.new("RGB", (width, height), "red")
    photo.paste("blue", (width // 2, 0, width, height))
    fit = Fit(viewed(24, 0.5, how), **more)
    made = fit(PILImage(photo), split_idx=0 if training else 1)
    assert made.size == (24, 24)
    return np.asarray(made).astype(int)


def test_a_photo_is_cropped_squeezed_or_gets_bars():
    squeezed = shown("squish", 96, 24)
    assert (squeezed[:, :10, 0] > 200).all()
    assert (squeezed[:, 14:, 2] > 200).all()
    padded = shown("pad", 96, 24)
    assert (padded[9:15, :10, 0] > 200).all()
    assert (padded[:8] == BARS).all()
    assert (padded[16:] == BARS).all()
    assert (shown("pad", 24, 96)[:, :8] == BARS).all()
    cropped = shown("crop", 96, 24)
    assert not (cropped == BARS).all(2).any()


def test_training_on_whole_photos_takes_parts_where_crops_vary():
    for how in ("squish", "pad"):
        made = [shown(how, 96, 24, True, min_scale=0.3).tobytes() for _ in range(8)]
        assert len(set(made)) > 3
        assert shown(how, 96, 24, True).tobytes() == shown(how, 96, 24).tobytes()


def test_a_balance_by_the_root_lies_between_equal_classes_and_photos_as_they_are():
    table = pd.DataFrame({"label": ["a"] * 16 + ["b"], "split": "train"})
    for balance, ratio in (("equal", 1.0), ("sqrt", 4.0)):
        weights = shares.class_weights(table, balance)
        assert weights[:16].sum() / weights[16] == pytest.approx(ratio)


def machine_with(workers):
    return Machine(torch.device("cpu"), "fp32", workers)


def read_by(processes, uneven, monkeypatch, **options):
    monkeypatch.setattr("test_loaders.CPU", machine_with(processes))
    return dls_of(uneven, **options)


def pids(dl):
    return [process.pid for process in dl.readers.loader._iterator._workers]


def epoch(dl, seed=3):
    set_seed(seed)  # weighted photos are drawn with NumPy's generator
    return list(dl)


def same(one, other):
    return all(map(torch.equal, one, other))


def test_processes_that_read_live_as_long_as_they_are_asked_to(uneven, monkeypatch):
    dls = read_by(2, uneven, monkeypatch)
    list(dls.train)
    assert dls.train.readers is None  # gone with the epoch
    with lasting(dls):
        list(dls.train)
        first = pids(dls.train)
        for x, _ in dls.train:
            assert len(x) == 8
            break  # an epoch that was left early
        list(dls.train)
        assert pids(dls.train) == first
        assert len(set(first)) == 2
        workers = dls.train.readers.loader._iterator._workers
    for worker in workers:
        assert not worker.is_alive()


def test_processes_read_each_epoch_what_one_process_would(uneven, monkeypatch):
    alone, apart = (read_by(n, uneven, monkeypatch, aug="trivial") for n in (0, 2))
    for seed, side in itertools.product(range(3), ("train", "valid")):
        with lasting(apart):
            batches = (epoch(getattr(dls, side), seed) for dls in (alone, apart))
            pairs = list(zip(*batches, strict=True))
            assert pairs
            assert all(torch.equal(a[1], b[1]) for a, b in pairs)
            if side == "valid":
                assert all(torch.equal(a[0], b[0]) for a, b in pairs)


def test_the_photos_of_a_batch_are_read_side_by_side_and_come_in_order(monkeypatch, capsys):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    together, quiet = threading.Barrier(2), list(warnings.filters)

    def read(path):
        together.wait(timeout=20)  # for a second photo that is being read
        warnings.warn("an odd photo", stacklevel=1)
        if path == 5:
            raise BrokenImageError("not a photo")
        return Image.new("RGB", (40, 40), (path * 20, 0, 0))

    batches = list(loaders.plain(range(10), VIEW, 4, CPU, read))
    assert [places.tolist() for _, places in batches] == [[0, 1, 2, 3], [4, 6, 7], [8, 9]]
    shown = torch.cat([x[:, 0, 0, 0] for x, _ in batches]) * 0.5 + 0.5
    assert torch.allclose(shown * 255, torch.tensor([0.0, 1, 2, 3, 4, 6, 7, 8, 9]) * 20, atol=0.01)
    assert capsys.readouterr().out.count("5: not a photo: left out") == 1
    assert warnings.filters == quiet


def test_what_is_muted_is_muted_where_photos_are_read(capsys):
    def read(path):
        raise BrokenImageError("not a photo")

    with console.muted():
        assert not list(loaders.plain(range(3), VIEW, 2, CPU, read))
    assert not capsys.readouterr().out


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_photos_come_normalised_as_fastai_would_in_the_format_of_the_machine(memory_format):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(5)]
    view = View(32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 1.0)
    read = dict(enumerate(map(Image.fromarray, photos))).get
    machine = SimpleNamespace(
        device=torch.device("cpu"), workers=0, ranks=CPU.ranks, memory_format=memory_format
    )
    (x, _) = next(iter(loaders.plain(range(5), view, 8, machine, read)))
    plain = TensorImage(torch.tensor(np.stack(photos)).permute(0, 3, 1, 2))
    assert torch.equal(x, view.normalize()(IntToFloatTensor()(plain)).as_subclass(torch.Tensor))
    assert x.is_contiguous(memory_format=memory_format)


def test_a_photo_that_cannot_be_read_makes_its_batch_smaller(uneven, monkeypatch, tmp_path):
    gone = tmp_path / "gone.png"
    lost = uneven[uneven["split"] == "train"].iloc[[0]].assign(path=gone)
    table = pd.concat([uneven, lost], ignore_index=True)
    dls = read_by(2, table, monkeypatch, weighted=False)
    sizes = [len(y) for _, y in dls.train]
    assert sorted(set(sizes)) in ([8], [7, 8])  # the photo may be in the batch that is dropped
    assert Counter(sizes)[7] <= 1


def kept(dls, view, free, device=CPU.device):
    return keep_photos(dls, view.pixels(), view.fit(), device, free)


@pytest.mark.parametrize("how", ["crop", "squish", "pad"])
@pytest.mark.parametrize("weighted", [True, False])
def test_squares_cut_on_the_device_are_those_of_each_photo(uneven, monkeypatch, how, weighted):
    view = View(32, (0.5,) * 3, (0.5,) * 3, "bicubic", 0.7, how)
    monkeypatch.setattr("test_loaders.VIEW", view)
    one, cut = (dls_of(uneven, aug="none", weighted=weighted, bs=7) for _ in range(2))
    assert kept(cut, view, 1e9)
    for side in ("train", "valid", "train"):
        pairs = zip(epoch(getattr(one, side)), epoch(getattr(cut, side)), strict=True)
        for number, (plain, made) in enumerate(pairs):
            assert same(plain, made), (side, number)
            assert [*map(type, plain)] == [*map(type, made)]


@pytest.mark.parametrize("options", [{"targets": "soft"}, {"oversample": True}])
def test_what_belongs_to_a_photo_is_cut_with_it(uneven, options):
    one, cut = (dls_of(uneven, aug="none", **options) for _ in range(2))
    assert kept(cut, VIEW, 1e9)
    for side in ("train", "valid"):
        pairs = list(zip(epoch(getattr(one, side)), epoch(getattr(cut, side)), strict=True))
        assert all(same(plain[1:], made[1:]) for plain, made in pairs)
        assert {len(made) for _, made in pairs} == {3 if "targets" in options else 2}


def test_photos_on_the_device_need_no_process(uneven, monkeypatch):
    dls = read_by(2, uneven, monkeypatch, aug="basic")
    assert kept(dls, VIEW, 1e9)
    x, _ = next(iter(dls.train))
    assert x.shape == (8, 3, 32, 32)
    assert dls.train.readers is None


def test_small_photos_are_enlarged_once(uneven, monkeypatch):
    view = View(64, (0.5,) * 3, (0.5,) * 3, "bicubic", 0.9)
    monkeypatch.setattr("test_loaders.VIEW", view)
    one, cut = (dls_of(uneven, aug="none") for _ in range(2))
    assert kept(cut, view, 1e9)
    for (x, y), (z, again) in zip(epoch(one.train), epoch(cut.train), strict=True):
        assert torch.equal(y, again)
        assert (x - z).abs().mean() < 0.1


def test_photos_stay_off_the_device_where_they_do_not_fit_or_cannot_be_read(uneven, tmp_path):
    dls = dls_of(uneven)
    needed = 3 * 48 * 60 * uneven["path"].nunique()
    assert not kept(dls, VIEW, needed)  # three tenths of it are granted
    assert dls.train.resident is None
    assert kept(dls, VIEW, 4 * needed)
    lost = uneven.iloc[[0]].assign(path=tmp_path / "gone.png")
    assert not kept(dls_of(pd.concat([uneven, lost], ignore_index=True)), VIEW, 1e9)


@pytest.mark.parametrize(("aug", "asked"), [("basic", True), ("none", True), ("strong", False)])
def test_a_gpu_keeps_photos_whose_crop_has_one_scale(uneven, monkeypatch, aug, asked):
    seen = []
    monkeypatch.setattr(loaders, "free_bytes", lambda device: 7)
    monkeypatch.setattr(loaders, "keep_photos", lambda *given: seen.append(given[-1]))
    dls_of(uneven, aug=aug)
    assert seen == [7] * asked


def test_a_cpu_has_no_memory_of_its_own_to_keep_photos_in(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 9))
    assert free_bytes(torch.device("cpu")) == 0
    assert free_bytes(torch.device("cuda")) == 5


def test_photos_are_mirrored_as_fastai_would_and_only_in_training():
    x = torch.randint(256, (64, 3, 9, 11), dtype=torch.uint8)
    with drawn_by(5):
        flipped = Mirror()(TensorImage(x), split_idx=0)
    with drawn_by(5):
        wanted = Flip(p=0.5)(TensorImage(x.float()), split_idx=0)
    torch.testing.assert_close(flipped.float(), wanted, atol=0.01, rtol=0)
    assert flipped.dtype == torch.uint8
    there = [bool((one == other).all()) for one, other in zip(flipped, x, strict=True)]
    assert 16 < sum(there) < 48
    assert torch.equal(Mirror()(TensorImage(x), split_idx=1), TensorImage(x))
