"""The page of a run: true to its figures, self-contained, usable by mouse, keyboard and phone."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import (
    COLOURS,
    draw_folder,
    obstacles,
    opened,
    run_prediction,
    run_training,
    toy_config,
)
from PIL import Image
from plotly.graph_objects import Figure
from safetensors.torch import load_file, save_file

from vlg_fastai import console
from vlg_fastai.config import InterpretConfig, UserError
from vlg_fastai.data.decisions import COLUMNS
from vlg_fastai.machine import device
from vlg_fastai.model.intervals import interval
from vlg_fastai.pages import album, charts
from vlg_fastai.report import atlas, cards, gallery, reliability
from vlg_fastai.report.around import Around
from vlg_fastai.report.inputs import ReportInputs
from vlg_fastai.report.interpret import interpret, surroundings
from vlg_fastai.runs.predictions import HeldOut, held_out
from vlg_fastai.runs.run import Run

pytestmark = pytest.mark.xdist_group("page")  # one process: what the tests share is made once
MACHINE = {"device": "cpu", "precision": "fp32", "workers": 0}
COUNTS = {"blue+whale": 22, "frog": 24, "höhlen bär": 26}


def written(run, **options):
    "The text of the page of `run`."
    cfg = dataclasses.replace(InterpretConfig(page=True, **MACHINE), **options)
    (path,) = interpret(cfg, [run])
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    "Photos with wrong labels and a twin under another label on the held-out side."
    data = draw_folder(tmp_path_factory.mktemp("p") / "data", COUNTS, tests=24, seed=5)
    frog, whale = data / "train" / "frog", data / "train" / "blue+whale"
    for i in range(3):
        (frog / f"{i:02d}.png").rename(whale / f"wrong{i}.png")
    shutil.copy(frog / "05.png", whale / "twin.png")
    return data


@pytest.fixture(scope="module")
def run(challenge, tmp_path_factory):
    "A run that has curves, held-out mistakes and predictions of its test photos."
    runs = tmp_path_factory.mktemp("runs")
    cfg = toy_config(
        challenge, runs, arch="tf_efficientnet_lite0", size=64, epochs=2, valid_pct=0.5, seed=1
    )
    made = run_training(dataclasses.replace(cfg, pretrained=True))
    run_prediction(made, runs / "submission.csv")
    return made


@pytest.fixture(scope="module")
def page_text(run):
    return written(run)


def figures(text):
    "{name: figure} of the page's headline."
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd><dd>(.*?)</dd>", text)
    return {name: (figure, note) for name, figure, note in found}


def embedded(text, name):
    "A value embedded in the page's script."
    return json.JSONDecoder().raw_decode(text, text.index(f"{name} = ") + len(name) + 3)[0]


def test_the_headline_is_what_the_run_and_its_forecast_say(run, page_text, tmp_path):
    facts, told = run.facts, figures(page_text)
    photos = facts.photos["valid"]
    held = held_out(run)
    low, high = interval(held.guess == held.y, held.groups)
    assert (low, high) == pytest.approx(facts.accuracy_interval)
    assert told["validation accuracy"] == (
        f"{facts.accuracy:.3f}",
        f"{low:.3f} to {high:.3f}, {photos} photos",
    )
    run_prediction(run, tmp_path / "again.csv")
    said = json.loads((tmp_path / "forecast.json").read_text())["forecast"]
    low, high = said["accuracy_interval"]
    assert told["expected on this test"] == (
        f"{said['accuracy']:.2f}",
        f"{low:.2f} to {high:.2f}, 24 photos",
    )


def test_the_page_expects_what_predict_was_told_of_unseen_classes(run, page_text, tmp_path):
    told = Run(shutil.copytree(run.path, tmp_path / run.path.name))
    run_prediction(told, tmp_path / "s.csv", unseen_frac=0.5)
    said = json.loads((tmp_path / "forecast.json").read_text())["forecast"]
    text = written(told)
    assert figures(text)["expected on this test"][0] == f"{said['accuracy']:.2f}"
    assert "50% of its photos are of classes that were not trained on, as given" in text
    assert figures(text)["expected on this test"] != figures(page_text)["expected on this test"]


def test_the_page_begins_with_a_sentence_two_bands_and_what_to_do_next(run, page_text):
    top = page_text[page_text.index('class="hero"') : page_text.index('id="score"')]
    held = held_out(run)
    right = (held.guess == held.y).mean()
    assert f"{right:.0%} of the held-out photos are predicted correctly" in top
    low, high = run.facts.accuracy_interval
    assert f"validation: {right:.2f} ({low:.2f} to {high:.2f})" in top
    assert "your test photos: " in top
    steps = re.findall(r"<li>(.*?)</li>", top)
    assert len(steps) == 3
    assert "doubtful label" in steps[0]
    assert 'href="#losses"' in steps[0]
    assert 'href="#confusion"' in steps[1]
    assert f"python predict.py --run {run.words}" in steps[2]


def test_a_link_to_doubtful_labels_leaves_only_these_on_show(browser, run, page_text):
    page, errors = opened(browser, run.reports)
    page.wait_for_selector("body[data-ready]")
    page.get_by_role("link", name="doubtful label").click()
    shown = page.locator(".card:visible").evaluate_all("all => all.map(c => c.dataset.reading)")
    assert shown
    assert set(shown) == {"label"}
    assert not errors


def test_every_held_out_photo_is_in_its_cell(run, page_text):
    held, cells = held_out(run), embedded(page_text, "CELLS")
    for i, file in enumerate(held.files):
        assert file in [one["name"] for one in cells[f"{held.y[i]}/{held.guess[i]}"]]
    assert sum(map(len, cells.values())) == len(held.files)


def test_the_page_needs_nothing_but_itself(page_text):
    start = page_text.index('id="library"')
    library = start, page_text.index("</script>", start)
    own = page_text[: library[0]] + page_text[library[1] :]
    assert not re.search(r"""(src|href)=["'](?!#)(?!data:)""", own)
    assert not re.search("https?://", own)


def readings(text):
    "{file: reading of its loss} for the cards of a page."
    cards = re.findall(r'<article class="card" data-reading="(\w*)" aria-label="([^"]*)"', text)
    return {name: reading for reading, name in cards}


def test_worst_losses_are_told_apart(page_text):
    "The planted twin and wrong labels are recognized as such wherever they are shown."
    found = readings(page_text)
    wrong = [reading for name, reading in found.items() if "wrong" in name]
    assert wrong
    assert set(wrong) <= {"label", "twin"}
    twins = {"train/blue+whale/twin.png", "train/frog/05.png"} & set(found)
    assert all(found[name] == "twin" for name in twins)


def test_worst_losses_are_mistakes_and_of_near_duplicates_only_one(run, page_text):
    held = held_out(run)
    row = {file: i for i, file in enumerate(held.files)}
    shown = [row[name] for name in readings(page_text)]
    assert not held.right[shown].any()
    assert len(set(held.groups[shown])) == len(shown) == len(set(held.groups[~held.right]))
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4], [0.9, 0.1]])
    files, y = np.array(list("abcde")), np.array([1, 1, 1, 1, 0])
    held = HeldOut(files, y, probs, ["x", "y"], np.array([5, 7, 5, 8, 9]))
    assert cards.mistakes(held, 9).tolist() == [0, 1, 3]  # c repeats a, e is right
    assert cards.mistakes(held, 2).tolist() == [0, 1]


def test_the_map_places_every_photo_and_numbers_clusters_of_unlike_ones(run, page_text):
    found = embedded(page_text, "ATLAS")
    points, held = found["points"], held_out(run)
    assert len(points["name"]) == sum(found["kinds"]) == len(points["x"]) == len(points["said"])
    at = {name: i for i, name in enumerate(points["name"])}
    for file, y, guess in zip(held.files, held.y, held.guess, strict=True):
        assert points["label"][at[file]] == y
        assert points["said"][at[file]][0] == guess
    numbers = [one["number"] for one in found["clusters"]]
    assert numbers == list(range(1, len(numbers) + 1))
    for one in found["clusters"]:
        assert {points["cluster"][i] for i in one["rows"]} == {one["number"]}
        assert {points["kind"][i] for i in one["rows"]} == {atlas.UNLIKE}
    assert sum(len(one["rows"]) for one in found["clusters"]) == found["kinds"][atlas.UNLIKE]


def test_the_map_is_used_by_mouse_and_keyboard(browser, run, page_text):
    page, errors = opened(browser, run.reports)
    page.wait_for_selector("body[data-ready]")
    points = embedded(page_text, "ATLAS")["points"]
    page.locator("#plane").scroll_into_view_if_needed()
    x, y = page.evaluate("place(0)")
    box = page.locator("#plane").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    assert page.locator("#hover").is_visible()
    page.mouse.down()
    page.mouse.up()
    assert page.inner_text("#found h3").startswith("around train/")
    page.select_option("#class", "1")
    frogs = [i for i, (label, said) in enumerate(zip(points["label"], points["said"], strict=True))
             if label == 1 or (said and said[0] == 1)]  # fmt: skip
    assert page.inner_text("#found h3") == f"frog: {len(frogs)} photos"
    before = page.evaluate("scale")
    page.focus("#plane")
    page.keyboard.press("+")
    assert page.evaluate("scale") > before
    page.select_option("#class", "")
    if page.locator("[data-cluster]").count():
        page.locator("[data-cluster]").first.click()
        assert page.inner_text("#found h3").startswith("cluster 1: ")
    assert errors == []
    page.context.close()


def test_a_page_is_printed_light_with_every_photo_of_its_cards(browser, run, page_text):
    page, errors = opened(browser, run.reports, scheme="dark")
    page.wait_for_selector("body[data-ready]")
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_function(
        "getComputedStyle(document.querySelector('.chart .xtick text')).fill === 'rgb(0, 0, 0)'"
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.locator(".card").first.is_visible()
    tall = page.eval_on_selector_all(".chart", "all => all.map(one => one.offsetHeight)")
    assert min(tall) > 300  # or they would lie over the text below
    assert errors == []
    page.context.close()


def around_of(run, **options):
    cfg = InterpretConfig(**MACHINE, **options)
    return Around(surroundings(cfg, run, device.prepare(cfg), ["page"])[0])


def test_a_twin_under_another_label_is_shown_beside_it(run):
    around = around_of(run)
    run_features, row = around.run_features, around.row["train/blue+whale/twin.png"]
    (other, cosine), *_ = around.twins(row)
    assert run_features.shown["file"][other] == "train/frog/05.png"
    assert cosine == pytest.approx(1, abs=1e-3)
    assert around.reading(row) == "twin"
    near = run_features.shown.iloc[around.nearest(row, 1)]
    assert set(near["label"]) == {"frog"}
    assert set(near["split"]) == {"train"}
    assert "train/frog/05.png" not in set(near["file"])  # a twin is not evidence
    assert 0 <= around.rank.min() <= around.rank.max() <= 1


def test_a_dropped_photo_is_nobodys_neighbour(run, tmp_path):
    split = pd.read_csv(run.path / "split.csv").set_index("file")
    content = split.loc["train/blue+whale/wrong0.png", "content"]
    path = tmp_path / "decisions.csv"
    row = {"content": content, "label": "blue+whale", "file": "x", "action": "drop"}
    pd.DataFrame([row]).reindex(columns=COLUMNS).to_csv(path, index=False)
    assert "train/blue+whale/wrong0.png" in around_of(run).row
    assert "train/blue+whale/wrong0.png" not in around_of(run, decisions=path).row


def test_without_photos_and_test_the_page_says_so_and_is_written(run, tmp_path, capsys):
    copy = Run(shutil.copytree(run.path, tmp_path / "0001-x"))
    empty = tmp_path / "empty"
    empty.mkdir()
    config = {**run.config, "data": str(empty)}
    (copy.path / "config.json").write_text(json.dumps(config))
    text = written(copy, cache=tmp_path / "cache")
    assert "photos are not in" in text
    assert figures(text)["expected on this test"][0] == "-"
    assert "no picture" in text


def test_photos_that_are_elsewhere_are_said_and_the_rest_is_there(run, tmp_path, capsys):
    other = draw_folder(tmp_path / "other", dict.fromkeys(COLOURS, 2), seed=9)
    copy = Run(shutil.copytree(run.path, tmp_path / "0001-x"))
    facts = {
        key: value for key, value in run.facts.named().items() if key not in ("model", "candidates")
    }
    (copy.path / "facts.json").write_text(json.dumps(facts))  # as in the oldest runs
    text = written(copy, data=other)
    assert "photos are not in" in capsys.readouterr().out
    assert figures(text)["selected model"][0] == "fine-tuned"
    assert "no picture" in text


def test_a_run_without_trained_weights_has_a_page_without_neighbours(toy, tmp_path):
    made = run_training(toy_config(toy, tmp_path, epochs=1))
    text = written(made)
    assert "the run did not start from trained weights" in text
    assert 'id="matrix"' in text


def test_class_names_do_no_harm_to_the_page(tmp_path, browser):
    names = ["007", "\"<b>quote' & var(--x)", "<!--<script>throw 1"]
    data = tmp_path / "data"
    for label, name in zip(COUNTS, names, strict=True):
        draw_folder(tmp_path / label, {label: 6}, tests=1, seed=len(label))
        shutil.copytree(tmp_path / label / "train" / label, data / "train" / name)
    made = run_training(toy_config(data, tmp_path / "runs", valid_pct=0.5))
    text = written(made)
    page, errors = opened(browser, made.reports)
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#each tbody tr").count() == 3
    told = page.eval_on_selector_all("#truth option", "all => all.map(one => one.textContent)")
    assert sorted(told) == sorted(names)
    heads = page.locator("#matrix thead th").all_text_contents()
    assert sorted(heads) == sorted(names)
    assert page.locator("#matrix tbody th").all_text_contents() == heads
    number = sorted(names).index("007")
    cell = next(key for key in embedded(text, "CELLS") if key.startswith(f"{number}/"))
    page.evaluate("show(2, 2)")
    page.locator(f"#cell-{cell.replace('/', '-')} button").click()
    page.wait_for_function(f"document.getElementById('truth').value === '{number}'")
    assert errors == []
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"),
                                               (390, "dark")])  # fmt: skip
def test_the_page_has_no_obstacles(browser, run, page_text, width, scheme):
    page, errors = opened(browser, run.reports, width, scheme)
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)")
    ink = page.evaluate("getComputedStyle(document.querySelector('.chart .xtick text')).fill")
    assert ink == ("rgb(27, 31, 36)" if scheme == "light" else "rgb(230, 237, 243)")
    assert obstacles(page) == []
    assert errors == []
    page.context.close()


def test_a_click_on_a_cell_shows_its_photos(browser, run, page_text):
    page, errors = opened(browser, run.reports)
    page.wait_for_selector("body[data-ready]")
    held = held_out(run)
    frogs = np.flatnonzero((held.y == 1) & (held.guess == 1))
    page.locator("#cell-1-1 button").click()
    page.wait_for_function("document.querySelector('#cell h3').textContent.startsWith('frog c')")
    shown = page.eval_on_selector_all("#cell img", "all => all.map(one => one.alt)")
    assert 0 < len(shown) <= len(frogs)
    assert set(shown) <= set(held.files[frogs])
    assert page.input_value("#truth") == page.input_value("#answer") == "1"
    assert errors == []
    page.context.close()


def test_cells_can_be_chosen_and_classes_sorted_by_keyboard(browser, run, page_text):
    page, errors = opened(browser, run.reports)
    page.wait_for_selector("body[data-ready]")
    page.focus("#truth")
    page.keyboard.press("Home")
    page.focus("#answer")
    page.keyboard.press("End")
    assert page.inner_text("#cell h3").startswith("blue+whale predicted as höhlen bär: ")
    page.locator("[data-truth]").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "cell"

    def column(number):
        at = f"#each tbody tr > :nth-child({number})"
        return page.eval_on_selector_all(at, "all => all.map(one => one.textContent)")

    page.get_by_role("button", name="in training").focus()
    for order in (True, False):
        page.keyboard.press("Enter")
        counts = [int(text) for text in column(2)]
        assert counts == sorted(counts, reverse=order)
    page.get_by_role("button", name="class", exact=True).click()
    assert column(1) == sorted(column(1))
    assert page.locator("#each th[aria-sort=ascending]").count() == 1
    assert errors == []
    page.context.close()


def test_the_matrix_is_reordered_and_losses_filtered(browser, run, page_text):
    page, errors = opened(browser, run.reports)
    page.wait_for_selector("body[data-ready]")
    orders = embedded(page_text, "ORDERS")
    for words, names in orders.items():
        page.select_option("#order", words)
        heads = page.locator("#matrix thead th").all_text_contents()
        assert heads == [sorted(COUNTS)[k] for k in names]
    page.select_option("#reading", "label")
    visible = page.eval_on_selector_all(
        ".card", "all => all.filter(one => !one.hidden).map(one => one.dataset.reading)"
    )
    assert visible
    assert set(visible) == {"label"}
    assert errors == []
    page.context.close()


def test_a_change_of_theme_repaints_the_charts(browser, run, page_text):
    page, errors = opened(browser, run.reports, scheme="light")
    page.wait_for_selector("body[data-ready]")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
        " === 'rgb(230, 237, 243)'"
    )
    assert errors == []
    page.context.close()


def test_forty_classes_with_a_thousand_photos_stay_below_25_mb(tmp_path):
    "The pictures are counted, not their size: the worst case is an album that is full."
    full = album.Album()
    rng = np.random.default_rng(0)
    sizes = []
    for i in range(40):
        noise = rng.integers(0, 255, (9, 12, 3)).astype(np.uint8)
        path = tmp_path / f"{i}.jpg"
        Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(path)
        sizes.append(full.add(path))
    uris = full.pictures()
    plotly = 4.9e6
    assert np.mean([len(uri) for uri in uris]) * album.MOST + plotly < 25e6
    assert full.add(tmp_path / "0.jpg") == 0


def test_a_full_album_gives_no_more_numbers_and_counts_what_it_lacks(tmp_path):
    one = album.Album(most=2)
    assert [one.add(name) for name in ("a", "b", "a", "c", "c")] == [0, 1, 0, None, None]
    assert one.left_out == {"c"}


def test_charts_are_valid_figures_of_the_library():
    rng = np.random.default_rng(0)
    held = rng.random(60)
    table = reliability.binned(held, rng.random(60) < held, 10)
    names = ["epoch", "train_loss", "valid_loss", "nll", "accuracy"]
    history = pd.DataFrame([[i, 1.0, float("nan"), 0.5, 0.9] for i in range(1, 4)], columns=names)
    found = [("probe", 0.6, 0.8), ("warm start", 1.0, None), ("fine-tuned", 0.5, 0.9)]
    started = [dict(zip(["model", "nll", "accuracy"], row, strict=True)) for row in found]
    curves = charts.curves(history, started, 2)
    specs = [charts.reliability(table), *curves.values()]
    for spec in specs:
        plain = json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(spec)))
        assert Figure(plain).data
    assert "NaN" not in json.dumps(specs)
    names = [[one["name"] for one in chart["data"]] for chart in curves.values()]
    assert names[0][-2:] == ["probe 0.600", "warm start 1.000"]
    assert names[1] == ["fine-tuned net", "probe 0.800"]


def test_an_axis_of_one_epoch_is_one_epoch_wide_and_no_epoch_is_marked_without_one():
    names = ["epoch", "train_loss", "valid_loss", "nll", "accuracy"]
    history = pd.DataFrame([[1, 2.4, 1.7, 0.8, 0.85]], columns=names)
    for found in charts.curves(history, [], None).values():
        assert found["layout"]["xaxis"]["range"] == [0.5, 1.5]
        assert found["layout"]["shapes"] == []
    low, high = charts.curves(history, [], None)["accuracies"]["layout"]["yaxis"]["range"]
    assert 0.5 < low < 0.85 < high < 1.1


def test_of_many_classes_those_with_the_most_mistakes_are_drawn():
    n = charts.MOST_CLASSES + 20
    counts = np.eye(n, dtype=int) * 5
    counts[110, 3] = counts[7, 115] = 2
    drawn = charts.drawn(counts)
    assert len(drawn) == charts.MOST_CLASSES
    assert {110, 3, 7, 115} <= set(drawn.tolist())


def test_a_thousand_classes_are_laid_out_in_seconds(tmp_path):
    n = 1_000
    counts = np.eye(n, dtype=int) * 9
    rng = np.random.default_rng(0)
    np.add.at(counts, (rng.integers(0, n, 4_000), rng.integers(0, n, 4_000)), 1)
    for order in charts.orders(counts).values():
        assert sorted(order) == charts.drawn(counts).tolist()


def test_cells_leave_room_for_the_gallery(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "CELLS", 5)
    probs = np.tile([0.9, 0.1], (40, 1))
    files = np.array([f"train/{i}.jpg" for i in range(40)])
    held = HeldOut(files, np.arange(40) % 2, probs, ["a", "b"])
    full = album.Album(most=9)
    cells = gallery.cells(ReportInputs(held, tmp_path, tmp_path), full)
    assert sum(one["picture"] is not None for cell in cells.values() for one in cell) == 5
    assert sum(map(len, cells.values())) == 40
    worst = gallery.worst(ReportInputs(held, tmp_path, tmp_path), full, 0)
    assert all(one["picture"] is not None for one in worst)


def test_classes_taken_for_each_other_lie_side_by_side():
    counts = np.eye(6, dtype=int) * 10
    for a, b in ((0, 3), (1, 4), (2, 5)):
        counts[a, b] = counts[b, a] = 5
    order = list(charts.similar(counts))
    assert all(abs(order.index(a) - order.index(b)) == 1 for a, b in ((0, 3), (1, 4), (2, 5)))
    assert sorted(charts.similar(np.eye(2))) == [0, 1]


def test_few_photos_in_a_bin_have_a_wide_interval():
    sure = np.array([0.95] * 100 + [0.15] * 2)
    right = np.array([True] * 95 + [False] * 7)
    table = reliability.binned(sure, right, 10)
    few, many = table.iloc[0], table.iloc[-1]
    assert few["accuracy"] == 0
    assert few["high"] > 0.5
    assert many["high"] - many["low"] < 0.12


def test_what_one_run_says_of_the_test_is_kept_with_it_and_shown(run, page_text, tmp_path):
    said = pd.read_csv(run.path / "test.csv")
    assert len(said) == 24
    assert page_text.count("test predictions, surest of") == said["category"].nunique()
    assert set(COLOURS) >= set(said["category"])
    other = Run(shutil.copytree(run.path, tmp_path / "0002-other"))
    weights = load_file(other.path / "model.safetensors")
    save_file({key: value + 1e-3 * ("1." in key) for key, value in weights.items()},
              other.path / "model.safetensors")  # fmt: skip
    run_prediction([run, other], tmp_path / "both.csv", forecast=False)
    assert pd.read_csv(run.path / "test.csv").equals(said)


def luminance(colour):
    "Relative luminance of #rrggbb (WCAG 2)."
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_can_be_read_on_every_cell(browser, run, page_text, scheme):
    page, _ = opened(browser, run.reports, scheme=scheme)
    names = ["--ink", "--right", "--right-pale", "--wrong", "--wrong-pale"]
    ink, *cells = page.evaluate("names => names.map(colour)", names)
    for cell in cells:
        low, high = sorted([luminance(ink), luminance(cell)])
        assert (high + 0.05) / (low + 0.05) >= 4.5
    page.context.close()


def test_other_test_photos_of_the_same_names_get_no_answers(run, page_text, tmp_path):
    other = draw_folder(tmp_path / "other", dict.fromkeys(COLOURS, 1), tests=24, seed=77) / "test"
    mixed = tmp_path / "mixed"
    shutil.copytree(other, mixed)
    names = sorted(path.name for path in mixed.iterdir())
    theirs = Path(run.config["data"]) / "test"
    for name in names[:5]:
        shutil.copy(theirs / name, mixed / name)
    assert [path.name for path in sorted(theirs.iterdir())] == names
    cfg = InterpretConfig(test=mixed, **MACHINE)
    run_features, _ = surroundings(cfg, run, device.prepare(cfg), ["page"])
    said = gallery.test_said(
        ReportInputs(None, tmp_path, tmp_path, run_features=run_features, run=run)
    )
    assert sorted(said["file"]) == names[:5]
    assert "test predictions, surest" in page_text


def test_classes_called_like_columns_do_no_harm(tmp_path):
    names = ["content", "file", "007"]
    data = tmp_path / "data"
    for label, name in zip(COUNTS, names, strict=True):
        draw_folder(tmp_path / label, {label: 8}, tests=3, seed=len(label))
        shutil.copytree(tmp_path / label / "train" / label, data / "train" / name)
    shutil.copytree(tmp_path / "frog" / "test", data / "test")
    cfg = toy_config(data, tmp_path / "runs", arch="tf_efficientnet_lite0", epochs=0)
    made = run_training(dataclasses.replace(cfg, pretrained=True))
    run_prediction(made, tmp_path / "submission.csv", forecast=False)
    said = pd.read_csv(tmp_path / "submission.csv", dtype=str)
    text = written(made)
    counted = re.findall(r'<a href="#class-\d">(.*?)</a>.*<td [^>]*>(\d+)</td></tr>', text)
    expected = said.iloc[:, 1].value_counts()
    assert {name: int(number) for name, number in counted} == {
        name: int(expected.get(name, 0)) for name in names
    }


def test_what_was_decided_since_is_said_on_the_card(run, tmp_path):
    held = held_out(run)
    worst, second = np.argsort(-held.losses, kind="stable")[:2]
    split = pd.read_csv(run.path / "split.csv").set_index("file")
    other = next(name for name in held.classes if name != held.classes[held.y[worst]])
    rows = [
        {"content": split.loc[held.files[i], "content"], "file": held.files[i], "action": action,
         "label": held.classes[held.y[i]], "new_label": new}
        for i, action, new in ((worst, "relabel", other), (second, "drop", ""))
    ]  # fmt: skip
    path = tmp_path / "decisions.csv"
    pd.DataFrame(rows).reindex(columns=COLUMNS).to_csv(path, index=False)
    copy = Run(shutil.copytree(run.path, tmp_path / "0001-x"))
    text = written(copy, decisions=path)
    assert f"<b>now labelled {other}</b>: decided since" in text
    assert "<b>no longer in use</b>: decided since" in text
    assert readings(text)[held.files[worst]] == ""
    assert "decided since" not in written(copy)


def test_what_the_page_leaves_out_is_said_on_it(run, tmp_path, monkeypatch):
    copy = Run(shutil.copytree(run.path, tmp_path / "0001-x"))
    monkeypatch.setattr(charts, "MOST_CLASSES", 2)
    monkeypatch.setattr(album.Album.__init__, "__defaults__", (3,))
    text = written(copy)
    assert "Of 3 classes, the 2 with the most mistakes are shown" in text
    assert re.search(r"The page is full: \d+ more photos have no picture here", text)


def test_a_net_without_maps_still_has_its_other_reports(run, tmp_path, monkeypatch, capsys):
    def no_maps(*_):
        raise UserError("no Grad-CAM of this kind of net")

    copy = Run(shutil.copytree(run.path, tmp_path / "0001-x"))
    monkeypatch.setattr("vlg_fastai.report.gradcam.Explainer.__call__", no_maps)
    names = {path.name for path in interpret(InterpretConfig(**MACHINE), [copy])}
    assert {"confusion.png", "reliability.png", "index.html"} <= names
    assert "no top_losses: no Grad-CAM of this kind" in capsys.readouterr().out
    with pytest.raises(UserError, match="no Grad-CAM"):
        interpret(InterpretConfig(top_losses=(), **MACHINE), [copy])


def test_a_run_that_cannot_be_reported_costs_the_others_nothing(run, tmp_path, capsys):
    bad, good = (Run(shutil.copytree(run.path, tmp_path / f"000{i}-x")) for i in (1, 2))
    table = pd.read_csv(bad.path / "valid.csv")
    table.iloc[0, 3] = np.nan
    table.to_csv(bad.path / "valid.csv", index=False)
    cfg = InterpretConfig(reliability=(), **MACHINE)
    assert interpret(cfg, [bad, good])[0].is_relative_to(good.path)
    assert "left out: --run" in capsys.readouterr().out
    for runs in ([bad], [bad, bad]):
        with pytest.raises(UserError, match="valid.csv|none of these"):
            interpret(cfg, runs)


def test_names_are_whole_on_pages_whatever_the_terminal_can_show(monkeypatch):
    monkeypatch.setattr(console, "console", SimpleNamespace(encoding="ascii"))
    assert console.drawable("höhlen bär \udcff") == "höhlen bär \\udcff"
    assert console.printable("bär") == "b\\xe4r"
