"""Comparing runs: only on photos that all of them held out, and never more certain than noise
allows."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import obstacles, opened, run_training, toy_config
from scipy.stats import binomtest

from vlg_fastai.compare import judged, paired
from vlg_fastai.compare.onpage import curves
from vlg_fastai.compare.rows import differing, in_words, rows
from vlg_fastai.compare.run import compare
from vlg_fastai.config import CompareConfig, UserError
from vlg_fastai.model.intervals import wilson
from vlg_fastai.runs import find
from vlg_fastai.runs.run import Run

CLASSES = ["bear", "folder", "label"]  # two of them are names of our own columns
ROOT = Path(__file__).parents[1]


def finished(root, right, *, seed=0, number=1, files=None, labels=None, **config):
    "A run folder whose held-out photos are predicted correctly where `right` (n,) is True."
    n, rng = len(right), np.random.default_rng(seed)
    path = root / f"{number:04d}-toy"
    path.mkdir(parents=True)
    files = files or [f"train/{i:04d}.jpg" for i in range(n)]
    y = np.arange(n) % 3
    probs = rng.dirichlet([1, 1, 1], n) * 0.3
    probs[np.arange(n), np.where(right, y, (y + 1) % 3)] += 0.7
    labels = labels or [CLASSES[k] for k in y]
    told = pd.DataFrame({"file": files, "label": labels})
    valid = pd.concat([told, pd.DataFrame(probs, columns=CLASSES)], axis=1)
    valid.to_csv(path / "valid.csv", index=False)
    content = [Path(file).stem for file in files]
    split = {"file": files, "label": labels, "folder": labels, "content": content,
             "group": range(n), "split": "valid", "problem": ""}  # fmt: skip
    pd.DataFrame(split).to_csv(path / "split.csv", index=False)
    (path / "config.json").write_text(json.dumps({"epochs": 5, "lr": 0.002, **config}))
    facts = {"status": "finished", "seconds": 9.0, "photos_per_second": 50, "model": "probe",
             "accuracy": float(np.mean(right)), "classes": CLASSES}  # fmt: skip
    (path / "facts.json").write_text(json.dumps(facts))
    return Run(path)


def answers(n, wrong):
    right = np.ones(n, bool)
    right[list(wrong)] = False
    return right


def compared(root, **options):
    chosen = CompareConfig(runs=root, **options)
    return compare(chosen, *find.finished(root, chosen.run, chosen.against))


def of(root):
    "The Together of all runs below `root`, largest first."
    return judged.together(judged.judge_all(find.finished(root, ())[0]))


def test_one_comparison_is_mcnemars_exact_test():
    for worse, better in ((9, 1), (4, 0), (12, 5)):
        scores = np.ones((2, 100))
        scores[1, :worse] = 0
        scores[0, worse : worse + better] = 0
        exact = binomtest(worse, worse + better).pvalue
        found = paired.against(scores, np.arange(100), 0)
        assert found.p[1] == pytest.approx(exact, abs=0.02)
        assert found.p[0] == 1
        assert found.difference[1] == pytest.approx((better - worse) / 100)


def test_of_many_runs_that_differ_by_chance_alone_none_is_called_worse():
    rng, wrongly = np.random.default_rng(1), 0
    for _ in range(20):
        scores = (rng.random((40, 200)) < 0.85).astype(float)
        best = int(scores.mean(1).argmax())
        found = paired.against(scores, np.arange(200), best, chosen=True)
        wrongly += any(found.verdict(i) != "cannot tell" for i in range(40))
    assert wrongly <= 4  # the reference is also the luckiest run: all pairs must count
    loose = [paired.against(scores[[best, i]], np.arange(200), 0).p[1] for i in range(40)]
    assert min(loose) < 0.05


def test_a_real_difference_is_told():
    rng = np.random.default_rng(2)
    scores = (rng.random((5, 400)) < 0.9).astype(float)
    scores[3] = rng.random(400) < 0.7
    found = paired.against(scores, np.arange(400), 0)
    assert found.verdict(3) == "worse"
    assert found.low[3] < found.difference[3] < found.high[3] < 0
    assert paired.against(scores, np.arange(400), 3).verdict(0) == "better"


def test_copies_of_a_photo_are_one_witness():
    scores = np.ones((2, 120))
    scores[1, :12] = 0
    alone = paired.against(scores, np.arange(120), 0)
    copies = paired.against(scores, np.r_[np.zeros(12, int), np.arange(108)], 0)
    assert alone.verdict(1) == "worse"
    assert copies.verdict(1) == "cannot tell"
    assert copies.high[1] - copies.low[1] > 2 * (alone.high[1] - alone.low[1])


def test_the_interval_of_an_accuracy_is_wilsons():
    right = np.arange(40) < np.array([[40], [33], [2], [0]])
    for row, found in zip(right, wilson(right.astype(float), np.arange(40)), strict=True):
        expected = binomtest(int(row.sum()), 40).proportion_ci(method="wilson")
        assert found == pytest.approx([expected.low, expected.high], abs=1e-9)


def test_copies_of_photos_make_the_interval_of_an_accuracy_no_narrower():
    rng = np.random.default_rng(6)
    alone = (rng.random((200, 60)) < 0.8).astype(float)
    copied, groups = alone[:, np.repeat(np.arange(60), 4)], np.repeat(np.arange(60), 4)
    assert wilson(copied, groups) == pytest.approx(wilson(alone, np.arange(60)))
    perfect = np.ones((1, 240))
    assert wilson(perfect, groups) == pytest.approx(wilson(perfect[:, :60], np.arange(60)))
    low, high = wilson(copied, groups).T
    assert ((low <= 0.8) & (high >= 0.8)).mean() > 0.9
    low, high = wilson(copied, np.arange(240)).T
    assert ((low <= 0.8) & (high >= 0.8)).mean() < 0.8  # if copies counted as separate photos


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(3), 0
    for i in range(100):
        both = rng.random((2, 300)) < np.array([[0.9], [0.8]])
        found = paired.against(both.astype(float), np.arange(300), 0, seed=i)
        held += found.low[1] <= -0.1 <= found.high[1]
    assert 88 <= held <= 100


def test_the_best_of_many_equal_runs_is_expected_to_be_no_better_than_they_are():
    rng = np.random.default_rng(4)
    scores = (rng.random((60, 150)) < 0.8).astype(float)
    expected = paired.of_choosing(scores, np.arange(150))
    assert scores.mean(1).max() > 0.86
    assert expected == pytest.approx(0.8, abs=0.03)


def test_runs_of_one_split_are_one_table_and_others_are_never_beside_them(tmp_path, capsys):
    for number in (1, 2, 3):
        finished(tmp_path, answers(90, range(number * 4)), number=number)
    other = [f"train/other{i}.jpg" for i in range(90)]
    for number in (4, 5):
        finished(tmp_path, answers(90, ()), number=number, files=other)
    finished(tmp_path, answers(90, ()), number=6, files=[f"x/y{i}.jpg" for i in range(90)])
    sets = of(tmp_path)
    assert [[run.number for run in one.runs] for one in sets] == [[1, 2, 3], [4, 5], [6]]
    compared(tmp_path)
    told = capsys.readouterr().out
    assert "3 runs on the same 90 held-out photos" in told
    assert "2 runs on the same 90 held-out photos" in told
    assert "never compare their scores" in told
    assert told.count("not comparable") == 1
    assert told.count(" best ") >= 2


def test_the_score_is_that_of_the_photos_all_held_out(tmp_path):
    files = [f"train/{i:04d}.jpg" for i in range(100)]
    finished(tmp_path, answers(100, range(10)), number=1, files=files)
    moved = [f"elsewhere/{i:04d}.jpg" for i in range(5, 100)]  # the same photos under other names
    labels = [CLASSES[k % 3] for k in range(100)][5:]
    finished(tmp_path, answers(95, range(5)), number=2, files=moved, labels=labels)
    (one,) = of(tmp_path)
    assert one.right.shape == (2, 95)
    assert one.right[0].sum() == 90


def test_a_relabelled_photo_is_no_shared_one(tmp_path):
    labels = [CLASSES[k % 3] for k in range(60)]
    finished(tmp_path, answers(60, ()), number=1)
    finished(tmp_path, answers(60, ()), number=2, labels=["label", *labels[1:]])
    (one,) = of(tmp_path)
    assert one.right.shape == (2, 59)


def test_equal_copies_of_a_photo_are_all_counted(tmp_path):
    files = ["a/0001.jpg", "b/0001.jpg", *[f"c/{i:04d}.jpg" for i in range(2, 30)]]
    labels = ["bear", "bear", *["folder"] * 28]
    for number in (1, 2):
        finished(tmp_path, answers(30, ()), number=number, files=files, labels=labels)
    (one,) = of(tmp_path)
    assert one.right.shape == (2, 30)


def test_what_cannot_be_read_costs_a_line(tmp_path, capsys):
    for number in range(1, 6):
        finished(tmp_path, answers(30, range(number)), number=number)
    (tmp_path / "0002-toy/valid.csv").unlink()
    (tmp_path / "0003-toy/config.json").write_text("{")
    (tmp_path / "0004-toy/split.csv").unlink()
    run = finished(tmp_path, answers(30, ()), number=6)
    pd.read_csv(run.path / "split.csv").iloc[1:].to_csv(run.path / "split.csv", index=False)
    compared(tmp_path)
    told = capsys.readouterr().out
    assert told.count("left out: ") == 4
    assert "names photos that split.csv lacks" in told
    assert "2 runs on the same 30" in told


def test_interrupted_and_dry_runs_are_taken_only_by_name(tmp_path, capsys):
    finished(tmp_path, answers(30, range(3)), number=1)
    for number, status in ((2, "interrupted"), (3, "dry run")):
        run = finished(tmp_path, answers(30, ()), number=number)
        (run.path / "facts.json").write_text(json.dumps({**run.facts.named(), "status": status}))
    assert [run.number for run in find.finished(tmp_path, ())[0]] == [1]
    assert "left out: 2 unfinished or dry runs; --run includes them" in capsys.readouterr().out
    assert [run.number for run in find.finished(tmp_path, ("1", "2"))[0]] == [1, 2]
    with pytest.raises(UserError, match="no finished run"):
        find.finished(tmp_path / "none", ())


def test_another_reference_and_figure_can_be_named(tmp_path, capsys):
    finished(tmp_path, answers(200, range(60)), number=1)
    finished(tmp_path, answers(200, range(10)), number=2)
    compared(tmp_path, against="1", by="nll")
    told = capsys.readouterr().out
    assert "reference" in told
    assert "better" in told
    assert "vs 0001-toy" in told
    first = next(one for one in of(tmp_path))
    named = rows(first, "nll", first.runs[0])
    assert named[1].difference < 0  # less is better
    assert named[1].likely[0] < named[1].difference < named[1].likely[1] < 0


@pytest.mark.parametrize(("order", "expected"), [("score", [3, 2, 1]), ("run", [1, 2, 3]),
                                                 ("seconds", [2, 1, 3])])  # fmt: skip
def test_rows_come_in_the_order_that_was_asked_for(tmp_path, capsys, order, expected):
    for number, wrong, seconds in ((1, 9, 20), (2, 5, 10), (3, 1, 30)):
        run = finished(tmp_path, answers(90, range(wrong)), number=number)
        facts = {**run.facts.named(), "seconds": seconds}
        (run.path / "facts.json").write_text(json.dumps(facts))
    compared(tmp_path, sort=order)
    told = capsys.readouterr().out
    places = [told.index(f"{number:04d}-toy") for number in expected]
    assert places == sorted(places)


def test_options_are_told_where_they_are_other_than_most():
    configs = [{"epochs": 5, "lr": 0.002, "runs": "a"}, {"epochs": 5, "lr": 0.01, "runs": "b"},
               {"epochs": 9, "lr": 0.002}, {"recipe": "strong", "epochs": 5, "lr": 0.002,
                "wd": 0.05, "ema": True, "label_smoothing": 0.1}]  # fmt: skip
    assert differing(configs) == ["", "lr 0.01", "epochs 9", "label_smoothing 0.1, recipe strong"]


def test_trained_runs_of_two_backbones_share_their_photos(toy, tmp_path):
    first = toy_config(toy, tmp_path, valid_pct=0.4)
    run_training(first)
    run_training(dataclasses.replace(first, arch="test_vit", epochs=2))
    (one,) = of(tmp_path)
    assert len(one.runs) == 2
    assert one.right.shape[1] == one.runs[0].facts.photos["valid"]
    accuracy = [run.facts.accuracy for run in one.runs]
    assert one.right.mean(1).tolist() == pytest.approx(accuracy)
    assert one.nll.mean(1)[0] == pytest.approx(one.runs[0].facts.nll, abs=1e-4)


def test_the_command_answers_without_torch(tmp_path):
    for number in (1, 2):
        finished(tmp_path / "runs", answers(60, range(number)), number=number)
    code = (
        "import sys; sys.argv = ['compare.py']; import compare; compare.main();"
        "print([name for name in ('torch', 'fastai', 'sklearn') if name in sys.modules])"
    )
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
    assert "next: open runs/index.html" in done.stdout


def test_a_wrong_name_is_one_line(tmp_path, capsys):
    import compare as script

    finished(tmp_path, answers(30, ()), number=1)
    with pytest.raises(SystemExit) as stop:
        script.main(["--runs", str(tmp_path), "--against", "7"])
    assert stop.value.code == 2
    assert "error: --against 7: no such run" in capsys.readouterr().err


@pytest.fixture
def page_of_runs(tmp_path):
    for number in range(1, 13):
        right = answers(120, range(0, 120, 13 - number))
        finished(tmp_path, right, number=number, epochs=number)
    finished(tmp_path, answers(50, ()), number=20, files=[f"z/{i}.jpg" for i in range(50)])
    report = tmp_path / "0003-toy/reports/index.html"
    report.parent.mkdir()
    shutil.copy(ROOT / "README.md", report)
    compared(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"),
                                               (390, "dark")])  # fmt: skip
def test_the_page_of_runs_sorts_links_and_has_no_obstacles(browser, page_of_runs, width, scheme):
    page, errors = opened(browser, page_of_runs, width, scheme)
    page.wait_for_selector(".chart .scatterlayer")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_attribute("td a[href*=html]", "href") == "0003-toy/reports/index.html"
    lead = page.locator(".lead")
    assert lead.bounding_box()["y"] < 300
    assert lead.inner_text().startswith("0001-toy is better than")
    page.locator("td a[href^='#run-']").first.click()  # no page yet: how to make one
    assert "python interpret.py --run" in page.evaluate("document.activeElement.textContent")

    def column(number):
        at = f"table >> nth=0 >> tbody tr > :nth-child({number})"
        return page.locator(at).all_inner_texts()

    page.get_by_role("button", name="accuracy").first.click()
    assert [float(text) for text in column(3)] == sorted(map(float, column(3)), reverse=True)
    page.get_by_role("button", name="run").first.focus()
    page.keyboard.press("Enter")
    assert [name.strip() for name in column(1)] == [f"{i:04d}-toy" for i in range(1, 13)]
    assert page.locator("table").count() == 2
    assert obstacles(page) == []
    assert errors == []
    page.context.close()


def verdicts(*words):
    made = [SimpleNamespace(verdict=word, run=Run(Path(f"000{i}-x")))
            for i, word in enumerate(words, 1)]  # fmt: skip
    return in_words(made, "accuracy")


def test_the_verdict_is_a_sentence():
    assert verdicts("best", "worse", "worse") == (
        "0001-x is better than the 2 other runs, by more than noise"
    )
    assert "no run is clearly better: the other run cannot be told" in verdicts(
        "best", "cannot tell"
    )
    assert verdicts("best", "worse", "cannot tell").startswith(
        "0001-x is better than 1 of the 2 other runs by more than noise; 1 cannot"
    )
    assert verdicts("better", "reference", "worse") == (
        "against 0002-x, of 2 other runs: 1 better, 1 worse"
    )


def test_the_page_shows_forecasts_sizes_and_curves_and_names_as_text(tmp_path, browser):
    names = ["epoch", "nll", "accuracy"]
    for number, losses in ((1, [0.9, 0.7, 0.8]), (2, [0.8, 0.6])):
        made = finished(tmp_path, answers(60, range(number)), number=number)
        rows = [(i, loss, 1 - loss / 2) for i, loss in enumerate(losses, 1)]
        pd.DataFrame(rows, columns=names).to_csv(made.path / "history.csv", index=False)
        (made.path / "model.safetensors").write_bytes(bytes(3_000_000 * number))
    told = {"forecast": {"accuracy": 0.7, "accuracy_interval": [0.5, 0.9]}}
    (made.path / "forecast.json").write_text(json.dumps(told))
    made.path.rename(tmp_path / "0002-<b>x")
    compared(tmp_path)
    page, errors = opened(browser, tmp_path)
    page.wait_for_selector("body[data-ready]")
    text = page.inner_text("table")
    assert "0.70 (0.50 to 0.90)" in text
    assert page.locator("td[data-of=MB]").all_inner_texts() == ["3", "6"]
    for chart in ("nll0", "accuracy0"):
        legend = page.locator(f"[data-chart={chart}] .legendtext").all_text_contents()
        assert legend == ["0001-toy", "0002-<b>x"]
    assert "0002-<b>x" in page.locator("[data-chart=part0] .ytick text").all_text_contents()
    assert errors == []
    page.context.close()


def test_a_single_epoch_is_no_curve(tmp_path):
    made = [
        SimpleNamespace(run=finished(tmp_path, answers(60, range(n)), number=n)) for n in (1, 2)
    ]
    for row in made:
        (row.run.path / "history.csv").write_text("epoch,nll,accuracy\n1,0.9,0.5\n")
    assert curves(made) == {}
    (made[1].run.path / "history.csv").write_text("epoch,nll,accuracy\n1,0.9,0.5\n2,0.8,0.6\n")
    assert set(curves(made)) == {"nll", "accuracy"}


def test_a_run_named_twice_is_one_and_a_damaged_one_costs_a_line(tmp_path, capsys, monkeypatch):
    for number in (1, 2, 3):
        finished(tmp_path, answers(30, range(number)), number=number)
    (tmp_path / "0003-toy/facts.json").write_text("{")
    assert [run.number for run in find.finished(tmp_path, ())[0]] == [1, 2]
    assert "left out: " in capsys.readouterr().out
    monkeypatch.chdir(tmp_path.parent)
    same = ("1", "0001-toy", str(Path(tmp_path.name) / "0001-toy"))
    chosen, reference = find.finished(Path(tmp_path.name), same, str(tmp_path / "0001-toy"))
    assert len(chosen) == 1
    assert reference is chosen[0]


def test_a_reference_of_another_split_is_said(tmp_path, capsys):
    for number in (1, 2):
        finished(tmp_path, answers(60, range(number)), number=number)
    other = [f"z/{i}.jpg" for i in range(60)]
    finished(tmp_path, answers(60, ()), number=3, files=other)
    compared(tmp_path, against="3")
    told = capsys.readouterr().out
    assert "--against 0003-toy: not among these runs; compared with the best" in told


@pytest.mark.parametrize(("row", "column", "value"), [(3, 1, "unicorn"), (4, 3, ""), (5, 3, "x")])
def test_damaged_answers_cost_their_run_and_a_line(tmp_path, capsys, row, column, value):
    for number in (1, 2, 3):
        finished(tmp_path, answers(30, range(number)), number=number)
    path = tmp_path / "0002-toy/valid.csv"
    table = pd.read_csv(path, dtype=str)
    table.iloc[row, column] = value
    table.to_csv(path, index=False)
    (one,) = of(tmp_path)
    assert [run.number for run in one.runs] == [1, 3]
    assert "valid.csv" in capsys.readouterr().out
