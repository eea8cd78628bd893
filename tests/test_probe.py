"""Probe and warm start: honest out-of-fold figures, one Linear, no silently worse run."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run_prediction, run_training, toy_config
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from vlg_fastai.config import InterpretConfig, UserError
from vlg_fastai.data.pixels import Pixels
from vlg_fastai.data.store import Store
from vlg_fastai.machine.device import Machine
from vlg_fastai.model import bundle, inference, probe
from vlg_fastai.model.features import FeatureExtractor
from vlg_fastai.model.head import mlp
from vlg_fastai.report.interpret import interpret
from vlg_fastai.runs.facts import called
from vlg_fastai.runs.run import Run
from vlg_fastai.train import candidates, choosing, mixing
from vlg_fastai.train.candidates import Candidate

CPU = Machine(torch.device("cpu"), "fp32", 0)
PRETRAINED = {"arch": "tf_efficientnet_lite0", "pretrained": True, "size": 64}


def clusters(n=240, d=16, classes=4, spread=1.2, seed=0):
    "Features around a centre for each class, labels, and groups of one photo each."
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, d)) * 2
    return (centres[y] + rng.normal(size=(n, d)) * spread).astype(np.float32), y, np.arange(n)


def test_the_scale_folds_into_one_linear_layer():
    x, y, _ = clusters()
    head = probe.fit(x, y, 0.03, 4)
    factor = probe.scale(x)
    assert np.linalg.norm(x * factor, axis=1).mean() == pytest.approx(probe.NORM, rel=1e-4)
    fitted = LogisticRegression(C=0.03, tol=probe.TOLERANCE, max_iter=400).fit(x * factor, y)
    with torch.inference_mode():
        z = head.eval()(torch.as_tensor(x)).numpy()
    assert np.allclose(inference.probabilities(z, 1), fitted.predict_proba(x * factor), atol=1e-4)


def test_out_of_fold_logits_are_of_probes_that_never_saw_the_photo_or_its_twin():
    x, _, _ = clusters(200, 64, spread=3)
    labels = np.random.default_rng(1).integers(0, 4, 100)
    x, y, groups = np.repeat(x[:100], 2, 0), np.repeat(labels, 2), np.repeat(np.arange(100), 2)
    grouped = probe.out_of_fold(x, y, groups, 4, Store())
    assert grouped.figures(y)["accuracy"] < 0.45  # the labels are random: nothing can be learned
    leaking = probe.out_of_fold(x, y, np.arange(200), 4, Store())
    assert leaking.figures(y)["accuracy"] > 0.8  # what a split between twins would have claimed


def test_the_strength_is_that_of_the_least_calibrated_nll():
    x, y, groups = clusters(300, 40, spread=4)
    found = probe.out_of_fold(x, y, groups, 4, Store())
    worst = {}
    for strength in probe.STRENGTHS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(probe, "STRENGTHS", (strength,))
            worst[strength] = probe.out_of_fold(x, y, groups, 4, Store()).figures(y)["nll"]
    assert found.strength == min(worst, key=worst.get)


def test_a_fit_sees_no_more_than_its_most_and_every_class_in_its_share(monkeypatch):
    monkeypatch.setattr(probe, "MOST", 100)
    y = np.repeat([0, 1, 2], [900, 90, 10])
    rows = probe.drawn(y)
    assert list(np.bincount(y[rows])) == [90, 9, 1]
    assert len(np.unique(rows)) == 100
    x, y, groups = clusters(400)
    found = probe.out_of_fold(x.astype(np.float16), y, groups, 4, Store())
    assert found.logits.shape == (400, 4)
    assert found.figures(y)["accuracy"] > 0.9
    assert probe.fit(x, y, 0.03, 4)(torch.as_tensor(x)).argmax(1).numpy().tolist() != [0] * 400


def test_long_features_in_half_precision_are_scaled_as_they_are():
    x = np.full((5, 400), 100, np.float16)  # the square of one such row is beyond fp16
    assert probe.scale(x) == pytest.approx(probe.NORM / 2000, rel=1e-3)


def test_out_of_fold_logits_are_kept(tmp_path, monkeypatch):
    x, y, groups = clusters()
    first = probe.out_of_fold(x, y, groups, 4, Store(tmp_path))
    monkeypatch.setattr(probe, "_searched", None)  # any further fit would fail
    again = probe.out_of_fold(x, y, groups, 4, Store(tmp_path))
    assert (first.logits == again.logits).all()
    assert first.strength == again.strength
    with pytest.raises(TypeError):
        probe.out_of_fold(x, y[::-1].copy(), groups, 4, Store(tmp_path))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_that_a_fold_never_saw_is_unlikely_and_no_error(classes):
    x, y, groups = clusters(40, 8, classes)
    groups[y == 1] = 1000  # all of class 1 is one group: the fold without it never sees it
    x, y, groups = x[(y != 1) | (np.arange(40) < 12)], *(
        a[(y != 1) | (np.arange(40) < 12)] for a in (y, groups)
    )  # fmt: skip
    if classes == 2:
        x, y, groups = np.vstack([x, x + 0.1]), np.tile(y, 2), np.concatenate([groups, groups])
        y[:2], groups[:2] = 1, [2000, 2001]
    fold = probe.out_of_fold(x, y, groups, classes, Store())
    assert fold.logits.shape == (len(y), classes)
    assert np.isfinite(fold.logits).all()


@pytest.fixture(scope="module")
def probed(toy, tmp_path_factory):
    return run_training(toy_config(toy, tmp_path_factory.mktemp("p"), epochs=0, **PRETRAINED))


def test_no_epochs_make_an_ordinary_run_of_the_probe_alone(probed, toy, tmp_path):
    facts = probed.facts
    assert (facts.model, facts.head, facts.status) == ("probe", "linear", "finished")
    assert facts.epochs == 0
    written = run_prediction(probed, tmp_path / "s.csv")
    assert len(written.read_text(encoding="utf-8").splitlines()) == 10
    made = interpret(InterpretConfig(device="cpu", precision="fp32"), [probed])
    assert all(path.exists() for path in made)


@pytest.mark.parametrize("tta", [False, True])
def test_features_of_test_photos_are_computed_once(probed, tmp_path, monkeypatch, tta):
    options = {"cache": tmp_path / "cache", "tta": tta}
    first = run_prediction(probed, tmp_path / "s.csv", **options)
    told = (tmp_path / "probabilities.csv").read_bytes()
    monkeypatch.setattr(
        FeatureExtractor, "_computed", None
    )  # any further use of the backbone would fail
    again = run_prediction(probed, tmp_path / "s.csv", **options)
    assert first == again
    assert (tmp_path / "probabilities.csv").read_bytes() == told
    with pytest.raises(TypeError):
        run_prediction(probed, tmp_path / "s.csv", cache="off")


def test_a_first_prediction_puts_each_test_photo_through_the_net_once(
    probed, toy, tmp_path, monkeypatch
):
    seen, rows = [], FeatureExtractor._rows

    def counted(self, x, given):
        seen.append(len(x))
        return rows(self, x, given)

    monkeypatch.setattr(FeatureExtractor, "_rows", counted)
    run = run_training(toy_config(toy, tmp_path, epochs=0, cache=tmp_path / "c", **PRETRAINED))
    labelled = sum(seen)
    run_prediction(run, tmp_path / "s.csv", cache=tmp_path / "c")
    assert labelled == 42
    assert sum(seen) == labelled + 9
    interpret(
        InterpretConfig(page=True, device="cpu", precision="fp32", cache=tmp_path / "c"), [run]
    )
    assert sum(seen) == labelled + 9


def test_interpret_takes_decoded_photos_from_the_cache(toy, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    run = run_training(toy_config(toy, tmp_path / "runs", cache=cache))
    machine = {"device": "cpu", "precision": "fp32"}
    pictures = []
    for given in (cache, "off"):
        if given == cache:
            monkeypatch.setattr(Pixels, "read", None)  # decoding any file would fail
        (png,) = interpret(InterpretConfig(gradcam=(3,), cache=given, **machine), [run])
        pictures.append(png.read_bytes())
        monkeypatch.undo()
    assert pictures[0] == pictures[1]


def test_out_of_fold_probabilities_of_every_labelled_photo_are_kept(probed):
    oof = pd.read_csv(probed.path / "oof.csv")
    split = pd.read_csv(probed.path / "split.csv")
    classes = probed.facts.classes
    assert list(oof["file"]) == list(split.loc[split["split"] != "unused", "file"])
    assert np.allclose(oof[classes].sum(axis=1), 1, atol=1e-4)
    right = (oof[classes].idxmax(axis=1) == oof["label"]).mean()
    assert right == pytest.approx(probed.facts.probe["accuracy"])
    valid = pd.read_csv(probed.path / "valid.csv")
    same = oof.set_index("file").loc[valid["file"], classes].to_numpy()
    assert np.allclose(valid[classes], same, atol=1e-6)


def test_the_backbone_of_a_probe_is_the_trained_one_untouched(probed):
    model, _ = bundle.load(probed, CPU)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    from vlg_fastai.model import backbone, sources

    net = backbone.trained(sources.choose("tf_efficientnet_lite0", None, True), 64).eval()
    with torch.inference_mode():
        wanted = net.forward_head(net.forward_features(x), pre_logits=True)
        assert torch.allclose(model[0](x), wanted, atol=1e-5)


def test_features_and_own_logits_are_those_of_the_trained_net(toy, tmp_path):
    import torch.nn.functional as F  # noqa: N812

    from vlg_fastai.data import loaders, scan
    from vlg_fastai.model import backbone, sources

    source = sources.choose("tf_efficientnet_lite0", None, True)
    view = backbone.view(source.arch, 64, 1.0)
    extractor = FeatureExtractor.load(source, view, CPU, Store(tmp_path))
    photos = scan.scan_files(toy / "test")
    photos = pd.concat([photos, photos.iloc[:2]], ignore_index=True)  # two files occur twice
    features, own = extractor.features(photos), extractor.own_logits(photos)
    assert (features.shape, own.shape) == ((11, 1280), (11, 1000))
    net = backbone.trained(source, 64).eval()
    for flip in (False, True):
        rows = extractor.features(photos, flip=flip)
        for (x, _), at in zip(loaders.plain(photos["path"], view, 4, CPU), (0, 4, 8), strict=True):
            with torch.inference_mode():
                maps = net.forward_features(torch.Tensor(x.flip(-1) if flip else x))
                wanted = net.forward_head(maps, pre_logits=True).numpy()
                logits = net.forward_head(maps).numpy()
            assert np.allclose(rows[at : at + 4], wanted, atol=2e-2)
            if not flip:
                assert np.allclose(own[at : at + 4], logits, atol=2e-2)
    assert F.cosine_similarity(*map(torch.as_tensor, (features[:1], features[9:10]))) > 0.9999


def test_a_run_keeps_the_best_of_its_candidates_and_tells_all(toy, tmp_path, capsys):
    run = run_training(toy_config(toy, tmp_path, **PRETRAINED))
    rows = {row["model"]: row for row in run.facts.candidates}
    nets = ["average 0.25", "average 0.5", "average 0.75", "fine-tuned"]
    assert list(rows) == ["probe", "warm start", *nets, "blend 0.25", "blend 0.5", "blend 0.75"]
    loss = {name: row["nll"] + row["nll_degraded"] for name, row in rows.items()}
    assert loss[run.facts.model] <= loss["probe"]
    assert set(run.facts.nested) == {"accuracy", "accuracy_interval", "nll"}
    told = capsys.readouterr().out
    assert f"kept: {called(run.facts.model)}" in told
    assert all(called(name) in told for name in rows)


def test_fine_tuning_that_ruins_the_model_is_not_kept(toy, tmp_path):
    ruin = {"lr": 0.5, "lr_body": 0.5, "epochs": 2}
    run = run_training(toy_config(toy, tmp_path, **PRETRAINED, **ruin, choose="clean"))
    assert run.facts.model in ("probe", "warm start")
    assert run.facts.accuracy > 0.8


def test_the_original_recipe_alone_is_two_options_away(toy, tmp_path):
    run = run_training(toy_config(toy, tmp_path, **PRETRAINED, probe=False, warm_start=False))
    assert [row["model"] for row in run.facts.candidates] == ["fine-tuned"]
    assert not (run.path / "oof.csv").exists()


def test_a_warm_start_begins_where_a_cold_one_ends(toy, tmp_path):
    still = {"lr": 1e-9, "lr_body": 1e-9, "probe": False, **PRETRAINED}
    warm, cold = (
        run_training(toy_config(toy, tmp_path, warm_start=answer, **still))
        for answer in (True, False)
    )
    first = {row["model"]: row["nll"] for row in warm.facts.candidates}
    assert first["warm start"] < 0.5 * cold.facts.nll


def test_what_is_kept_is_what_was_scored(toy, tmp_path):
    # without the probe, which is judged out of fold and refitted on all photos
    run = run_training(toy_config(toy, tmp_path, epochs=2, lr=1e-4, probe=False, **PRETRAINED))
    run_prediction(run, tmp_path / "s.csv", test=toy / "train")
    now = pd.read_csv(tmp_path / "probabilities.csv").set_index("file")
    valid = pd.read_csv(run.path / "valid.csv")
    names, classes = valid["file"].str.removeprefix("train/"), run.facts.classes
    assert run.facts.model in ("warm start", "average 0.5", "average 0.75", "fine-tuned")
    assert np.allclose(now.loc[names, classes], valid[classes], atol=1e-4)


@pytest.mark.parametrize("best", ["probe", "warm start", "average 0.5", "fine-tuned", "blend 0.25"])
def test_whichever_candidate_is_best_is_the_one_in_the_file(toy, tmp_path, monkeypatch, best):
    def chosen(found, y, groups, *more):
        kept = [candidate.name for candidate in found].index(best)
        rows = [{"model": c.name, "nll": 0.0, "accuracy": 0.0, "nll_degraded": 0.0,
                 "accuracy_degraded": 0.0} for c in found]  # fmt: skip
        return found[kept], rows, None

    monkeypatch.setattr(choosing, "best", chosen)
    run = run_training(toy_config(toy, tmp_path, **PRETRAINED))
    others = {path.name for path in (run.path / "candidates").iterdir()}
    everything = {"probe", "warm_start", "average_0.25", "fine-tuned"}  # equal averages: the first
    assert others == everything - {best.replace(" ", "_")}
    for name in ["", *sorted(others)]:
        one = Run(run.path / "candidates" / name) if name else run
        assert one.facts.model.replace(" ", "_") == name or not name
        if one.facts.is_probe or "blend" in one.facts.model:
            continue  # judged by out-of-fold probes, saved with the one fitted on all photos
        run_prediction(one, tmp_path / "s.csv", test=toy / "train")
        now = pd.read_csv(tmp_path / "probabilities.csv").set_index("file")
        valid = pd.read_csv(one.path / "valid.csv")
        names, classes = valid["file"].str.removeprefix("train/"), one.facts.classes
        assert np.allclose(now.loc[names, classes], valid[classes], atol=1e-4)


def test_a_candidate_whose_logits_are_no_numbers_never_wins():
    y, sound = np.array([0, 1, 2, 0]), np.eye(3)[[0, 1, 1, 2]]
    found = [
        Candidate("probe", "linear", None, sound),
        Candidate("fine-tuned", "mlp", None, np.full((4, 3), np.nan)),
    ]
    assert choosing.best(found, y, y)[0].name == "probe"
    assert choosing.best(found[::-1], y, y)[0].name == "probe"


@pytest.mark.parametrize("counts", [(4,) * 10, (100, 1), (1, 1), (3, 2)])
def test_small_and_lopsided_folders_have_a_probe_all_the_same(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    x = np.random.default_rng(0).normal(size=(len(y), 8)).astype(np.float32)
    fold = probe.out_of_fold(x, y, np.arange(len(y)), len(counts), Store())
    assert np.isfinite(fold.logits).all()
    assert probe.fit(x, y, fold.strength, len(counts))(torch.as_tensor(x)).shape == (
        len(y), len(counts)
    )  # fmt: skip


def test_a_probe_says_that_it_cannot_judge_mirroring(probed, tmp_path, capsys):
    run_prediction(probed, tmp_path / "s.csv", tta=True)
    assert "none is left to judge --tta" in capsys.readouterr().out


def test_no_probe_of_a_backbone_that_knows_nothing_unless_it_is_asked_for(toy, tmp_path):
    assert run_training(toy_config(toy, tmp_path)).facts.probe is None
    assert run_training(toy_config(toy, tmp_path, epochs=0)).facts.model == "probe"


def test_weights_of_an_earlier_run_bring_no_classifier_of_their_own(probed, toy, tmp_path):
    weights = probed.path / "model.safetensors"
    run = run_training(toy_config(toy, tmp_path, epochs=0, weights=weights, **PRETRAINED))
    assert run.facts.weights == {"from": "file", "file": "model.safetensors"}
    other = dict(PRETRAINED, arch="resnet18")
    with pytest.raises(UserError, match="not weights of resnet18"):
        run_training(toy_config(toy, tmp_path, epochs=0, weights=weights, **other))


def test_the_average_lies_half_way_and_has_statistics_of_its_own():
    torch.manual_seed(0)
    one, other = (nn.Sequential(nn.Flatten(), mlp(6, 3)) for _ in range(2))
    other[1][2].running_mean += 1  # as after training
    batches = [(torch.randn(16, 6, 1, 1) * 3 + 5, None) for _ in range(4)]
    mean = mixing.average(one, other, 0.5, batches, CPU)
    pairs = zip(one.parameters(), other.parameters(), mean.parameters(), strict=True)
    assert all(torch.allclose((a + b) / 2, m, atol=1e-6) for a, b, m in pairs)
    layer = mean[1][2]
    with torch.no_grad():
        seen = mean[1][1](torch.cat([x for x, _ in batches]).flatten(1))
    assert torch.allclose(layer.running_mean, seen.mean(0), atol=1.5)
    assert not torch.allclose(layer.running_mean, torch.zeros_like(layer.running_mean), atol=1e-2)
    assert not mean.training
    assert layer.momentum == 0.1


def test_without_held_out_photos_the_fine_tuned_net_is_kept():
    none = np.zeros((0, 3))
    found = [Candidate(name, "mlp", None, none) for name in ("probe", "fine-tuned")]
    found.append(Candidate("blend 0.5", "mlp", None, none, cost=candidates.NETS))
    kept, rows, nested = choosing.best(found, np.zeros(0, int), np.zeros(0, int))
    assert kept.name == "fine-tuned"
    assert rows[0]["nll"] is nested is None


def test_the_head_computes_in_fp32_at_any_precision():
    head, x = mlp(8, 3).eval(), torch.randn(4, 8) * 30
    with torch.inference_mode():
        wanted = head(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(head(x), wanted)


def test_model_of_a_run_is_one_file_without_leftovers(probed):
    names = load_file(probed.path / "model.safetensors")
    assert not [name for name in names if "classifier" in name]
    assert len([name for name in names if name.startswith("1.")]) == 2


def test_what_is_worse_than_guessing_is_never_kept_over_the_probe():
    y = np.array([0, 1, 2, 0])
    bad, worse = 9 * np.eye(3)[[1, 2, 0, 1]], 90 * np.eye(3)[[1, 2, 0, 1]]
    found = [Candidate("probe", "linear", None, worse), Candidate("fine-tuned", "mlp", None, bad)]
    assert choosing.best(found, y, y)[1][1]["nll"] > np.log(3)
    assert choosing.best(found, y, y)[0].name == "probe"
    none = [Candidate("fine-tuned", "mlp", None, np.full((4, 3), np.nan))]
    with pytest.raises(UserError, match="no model of this run gives finite predictions"):
        choosing.best(none, y, y)


def test_a_damaged_cache_of_a_probe_is_computed_again(tmp_path, capsys):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 20)
    x = (rng.normal(size=(60, 8)) + 2 * np.eye(8)[y]).astype(np.float16)
    given = x, y, np.arange(60), 3
    first = probe.out_of_fold(*given, Store(tmp_path))
    (data,) = (path for path in tmp_path.rglob("*.npy") if not path.name.endswith("index.npy"))
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    again = probe.out_of_fold(*given, Store(tmp_path))
    assert "damaged" in capsys.readouterr().out
    np.testing.assert_array_equal(again.logits, first.logits)
