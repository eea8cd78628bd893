"""The audit finds what was planted, lists each pair once, and its page works without a server."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    draw_folder,
    gone_after_the_scan,
    obstacles,
    opened,
    run_training,
    toy_config,
)
from PIL import Image, ImageFilter, ImageOps

from vlg_fastai.audit import compare, issues, oddities
from vlg_fastai.audit.run import audit
from vlg_fastai.config import AuditConfig
from vlg_fastai.data import decisions, neighbours
from vlg_fastai.model.sources import choose

COUNTS = {"blue+whale": 22, "frog": 24, "höhlen bär": 26}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    "A folder with twins of every kind, wrong labels, odd and broken files."
    data = draw_folder(tmp_path_factory.mktemp("a") / "data", COUNTS, tests=24, seed=3)
    train, test = data / "train", data / "test"
    frog, whale = train / "frog", train / "blue+whale"
    shutil.copy(frog / "00.png", frog / "exact.png")
    shutil.copy(frog / "01.png", whale / "across.png")
    shutil.copy(frog / "02.png", test / "leaked.png")
    ImageOps.mirror(Image.open(frog / "03.png")).save(frog / "mirror.png")
    small = Image.open(frog / "04.png").resize((120, 96))
    small.convert("RGB").save(frog / "near.jpg", quality=70)
    (whale / "05.png").rename(frog / "wrong.png")
    (frog / "06.png").rename(whale / "wrong.png")
    Image.new("RGB", (60, 48), (90, 90, 90)).save(whale / "flat.png")
    Image.open(frog / "07.png").resize((300, 40)).save(frog / "long.png")
    Image.open(frog / "08.png").filter(ImageFilter.GaussianBlur(9)).save(frog / "soft.png")
    (frog / "broken.png").write_bytes(b"nothing")
    return data


def looked(planted, out, **options):
    machine = {"device": "cpu", "precision": "fp32", "workers": 0, "size": 64}
    given = {"data": planted, "out": out, "arch": "tf_efficientnet_lite0"}
    cfg = AuditConfig(**{**machine, **given, "decisions": out / "decisions.csv", **options})
    return audit(cfg, choose(cfg.arch, None, True))


@pytest.fixture(scope="module")
def found(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return pd.read_csv(looked(planted, out), keep_default_na=False), out


def of(table, issue):
    return table[table["issue"] == issue]


def pairs(table, issue):
    rows = of(table, issue)
    return {frozenset(pair) for pair in zip(rows["file"], rows["twin_of"], strict=True)}


def test_the_table_has_the_columns_and_names_that_were_promised(found):
    table, _ = found
    assert list(table.columns) == ["file", "issue", "label", "suggested", "score", "twin_of"]
    assert set(table["issue"]) <= set(issues.ORDER)
    for _, rows in table.groupby("issue", sort=False):
        assert list(rows["score"]) == sorted(rows["score"], reverse=True)


@pytest.mark.parametrize(
    ("issue", "pair"),
    [("exact_twin", ("frog/00.png", "frog/exact.png")),
     ("cross_class_twin", ("frog/01.png", "blue+whale/across.png")),
     ("train_test_twin", ("frog/02.png", "test/leaked.png")),
     ("mirrored_twin", ("frog/03.png", "frog/mirror.png")),
     ("near_twin", ("frog/04.png", "frog/near.jpg"))],
)  # fmt: skip
def test_each_kind_of_twin_is_found_under_its_name_and_once(found, issue, pair):
    table, _ = found
    assert frozenset(pair) in pairs(table, issue)
    twins = table[table["twin_of"] != ""]
    both = twins[twins["file"].isin(pair) & twins["twin_of"].isin(pair)]
    assert len(both) == 1


def test_wrong_labels_are_doubted_first_with_the_right_one_suggested(found):
    doubts = of(found[0], "doubtful_label").set_index("file")
    assert set(doubts.index[:4]) >= {"frog/wrong.png", "blue+whale/wrong.png"}
    assert doubts.loc["frog/wrong.png", "suggested"] == "blue+whale"
    assert doubts.loc["blue+whale/wrong.png", "suggested"] == "frog"


def test_odd_and_broken_files_are_listed_with_their_reason(found):
    table, _ = found
    odd = of(table, "odd").set_index("file")["suggested"]
    assert "nearly one colour" in odd["blue+whale/flat.png"]
    assert "7.5 to 1" in odd["frog/long.png"]
    assert "blurred" in odd["frog/soft.png"]
    assert list(of(table, "broken")["file"]) == ["frog/broken.png"]


def test_what_gives_labels_away_is_told(tmp_path):
    data = draw_folder(tmp_path / "data", {"frog": 16, "blue+whale": 16, "höhlen bär": 16})
    for i, folder in enumerate(sorted((data / "train").iterdir())):
        for path in folder.iterdir():
            Image.open(path).resize((60 + 40 * i, 48)).save(path)
    table = pd.read_csv(looked(data, tmp_path / "out"), keep_default_na=False)
    told = set(of(table, "nuisance")["suggested"])
    assert any(re.match(r"size predicts the label \d+% of the way from chance", t) for t in told)


def test_what_was_decided_to_be_kept_is_not_asked_again(planted, found, tmp_path):
    from vlg_fastai.data.images import content_hash

    content = content_hash((planted / "train/frog/wrong.png").read_bytes())
    row = {"content": content, "label": "frog", "action": "keep"}
    decisions.append(tmp_path / "decisions.csv", [row])
    table = pd.read_csv(looked(planted, tmp_path), keep_default_na=False)
    assert "frog/wrong.png" not in set(of(table, "doubtful_label")["file"])


def test_auto_decides_what_is_nearly_certain_and_compare_says_what_it_is_worth(
    planted, tmp_path, capsys
):
    looked(planted, tmp_path, auto=True)
    assert "everything else is left to you" in capsys.readouterr().out
    made = decisions.read(tmp_path / "decisions.csv")
    assert {d.action for d in made.made.values()} == {"relabel"}
    assert 1 <= len(made) <= 4
    again = looked(planted, tmp_path, compare=True)
    assert again is not None
    assert re.search(
        r"with \d changed ones: [+-]0\.\d+ \((95 %|no answer)", capsys.readouterr().out
    )


def test_the_page_holds_every_row_and_picture(found):
    table, out = found
    text = (out / "index.html").read_text(encoding="utf-8")
    rows = json.loads(re.search(r"const ROWS = (\[.*?\]), CLASSES", text, re.DOTALL).group(1))
    across = len(of(table, "cross_class_twin"))
    assert len(rows) == len(table) + across  # either photo of such a pair may be the wrong one
    pair = [row for row in rows if row["issue"] == "cross_class_twin"]
    assert {(r["file"], r["folder"], r["suggested"]) for r in pair} >= {
        ("blue+whale/across.png", "blue+whale", "frog"), ("frog/01.png", "frog", "blue+whale")
    }  # fmt: skip
    assert all((out / row["picture"]).exists() for row in rows if row["issue"] != "broken")
    assert not re.search(r"(src|href)=.?https?:", text)


def test_pairs_by_the_index_are_those_of_comparing_all(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 200)).astype(np.float32)
    x[300:330] = x[:30] + 0.1 * rng.normal(size=(30, 200))
    hashes = rng.integers(0, 2**63, 600).astype(np.uint64)
    hashes[400:430] = hashes[:30] ^ np.uint64(0b1011)
    exact = neighbours.pairs(x, 0.95)[:2], neighbours.near_hashes(hashes, 4)
    monkeypatch.setattr(neighbours, "FEW", 10)
    near = neighbours.pairs(x, 0.95)[:2], neighbours.near_hashes(hashes, 4)
    for one, other in zip(exact, near, strict=True):
        assert {*zip(*one, strict=True)} == {*zip(*other, strict=True)}
        assert len(one[0]) == 30


@pytest.mark.slow
def test_a_person_decides_by_keyboard_and_trains_on_it(browser, planted, found, tmp_path):
    table, out = found
    page, errors = opened(browser, out)
    first = of(table, "doubtful_label")["file"].iloc[0]
    page.keyboard.press("r")  # keys work at once, on the first card
    assert page.evaluate("document.activeElement.row.file") != first
    page.keyboard.press("k")
    page.locator("[data-issue=exact_twin] .card button.drop").click()
    page.wait_for_timeout(300)
    page.reload()  # decisions stay in the browser
    page.wait_for_function("document.getElementById('progress').textContent.startsWith('3 of')")
    with page.expect_download() as download:
        page.get_by_text("Export decisions.csv").click()
    path = tmp_path / "decisions.csv"
    download.value.save_as(path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [row["action"] for row in rows] == ["relabel", "keep", "once"]
    run = run_training(toy_config(planted, tmp_path / "runs", decisions=path))
    split = pd.read_csv(run.path / "split.csv").set_index("file")
    assert split.loc[f"train/{first}", "label"] == rows[0]["new_label"]
    assert (split["problem"] == decisions.DROPPED).sum() == 1
    assert errors == []
    page.context.close()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_finds_sorts_and_fits_on_a_phone(browser, found, width, scheme):
    _, out = found
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto((out / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.alt)")
    page.fill("#find", "wrong.png")
    assert page.locator("[data-issue=doubtful_label] .card").count() == 2
    page.fill("#find", "")
    assert page.locator("[data-issue=odd] .card").count() == 0  # folded
    page.locator("[data-of=odd] summary").click()
    page.locator("[data-issue=odd] .card").first.wait_for()
    page.select_option("#sort", "file")
    names = page.evaluate(
        "[...document.querySelectorAll('[data-issue=odd] .card')].map(c => c.row.file)"
    )
    assert names == sorted(names)
    assert obstacles(page) == []
    context.close()


def exported(page, path):
    "The rows of decisions.csv that the page exports."
    with page.expect_download() as download:
        page.get_by_text("Export decisions.csv").click()
    download.value.save_as(path)
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.mark.slow
def test_many_rows_are_decided_at_once_and_a_step_is_undone(browser, found, tmp_path):
    table, out = found
    page, errors = opened(browser, out)
    doubts, exact = of(table, "doubtful_label"), of(table, "exact_twin")
    page.get_by_label("Relabel all above: least score").fill("0.5")
    sure = doubts[doubts["score"].round(4) >= 0.5]
    page.get_by_role("button", name=f"Relabel all above 0.5 ({len(sure)})").click()
    rows = exported(page, tmp_path / "a.csv")
    assert {(row["file"], row["action"], row["new_label"]) for row in rows} == {
        (row.file, "relabel", row.suggested) for row in sure.itertuples()
    }
    page.get_by_role("button", name="Drop one of each exact pair").click()
    rows = exported(page, tmp_path / "b.csv")
    assert len(rows) == len(sure) + len(exact)
    assert [row["action"] for row in rows if row["file"] in set(exact["file"])] == ["once"]
    page.keyboard.press("z")
    assert len(exported(page, tmp_path / "c.csv")) == len(sure)
    page.get_by_role("button", name="Undo").click()
    assert exported(page, tmp_path / "d.csv") == []
    assert page.locator("#undo").is_disabled()
    assert errors == []
    page.context.close()


def test_a_bulk_drop_never_takes_both_photos_of_a_pair(browser, tmp_path):
    from vlg_fastai.pages import page as pages

    text = {"issue": "near_twin", "label": "frog", "suggested": "", "folder": "frog",
            "score": 1.0, "picture": "", "beside": [], "relabel": False, "once": False}  # fmt: skip
    rows = [{**text, "file": a, "twin_of": b, "content": a} for a, b in ("ab", "bc", "ca", "de")]
    section = {"name": "near_twin", "words": "w", "count": len(rows), "folded": False}
    pages.write(
        tmp_path / "index.html", "audit.html", sections=[section], rows=rows, given=[],
        classes=["frog"], columns=decisions.COLUMNS, decisions="d.csv", key="k",
    )  # fmt: skip
    page, _ = opened(browser, tmp_path)
    page.get_by_role("button", name="Drop one of each pair").click()
    gone = {row["file"] for row in exported(page, tmp_path / "a.csv")}
    assert "d" in gone
    assert all({a, b} - gone for a, b in ("ab", "bc", "ca", "de"))
    page.context.close()


def test_photos_beside_a_doubtful_one_say_what_they_are_typical_of(found):
    _, out = found
    text = (out / "index.html").read_text(encoding="utf-8")
    rows = json.loads(re.search(r"const ROWS = (\[.*?\]), CLASSES", text, re.DOTALL).group(1))
    doubt = next(row for row in rows if row["issue"] == "doubtful_label")
    told = [one["told"] for one in doubt["beside"]]
    assert set(told) == {f"typical of {doubt['label']}", f"typical of {doubt['suggested']}"}
    twin = next(row for row in rows if row["issue"] == "exact_twin")
    assert [one["told"] for one in twin["beside"]] == ["its twin"]


@pytest.mark.slow
def test_ten_thousand_rows_open_at_once_and_show_more_loses_none(browser, tmp_path):
    from vlg_fastai.pages import page as pages

    text = {"issue": "odd", "label": "frog", "suggested": "dark", "twin_of": "", "folder": "frog"}
    rows = [
        {**text, "file": f"frog/{i}.png", "content": str(i), "score": i / 1e4, "picture": "",
         "beside": [], "relabel": False, "once": False}
        for i in range(10_000)
    ]  # fmt: skip
    pages.write(
        tmp_path / "index.html", "audit.html",
        sections=[{"name": "odd", "words": "w", "count": len(rows), "folded": False}],
        rows=rows, given=[], classes=["frog", "<!--<script>"], columns=decisions.COLUMNS,
        decisions="d.csv", key="k",
    )  # fmt: skip
    page, errors = opened(browser, tmp_path)
    assert page.locator(".card").count() == 60
    page.check("#open")
    page.locator(".card").first.focus()
    for _ in range(5):
        page.keyboard.press("k")
    page.locator("[data-more=odd]").click()
    names = page.evaluate("[...document.querySelectorAll('.card')].map(c => c.row.file)")
    assert names == [f"frog/{9999 - i}.png" for i in range(120)]
    assert errors == []
    page.context.close()


def test_no_picture_of_an_audit_ever_shows_another_photo(tmp_path):
    data = draw_folder(tmp_path / "data", COUNTS, seed=4)
    shutil.copy(data / "train/frog/00.png", data / "train/frog/zz.png")
    looked(data, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out/pictures").iterdir()}
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    (tmp_path / "out/pictures/0.jpg").write_bytes(b"of an earlier version")
    for path in sorted((data / "train/frog").iterdir())[5:]:
        path.unlink()
    looked(data, tmp_path / "out")
    after = {path.name: path.read_bytes() for path in (tmp_path / "out/pictures").iterdir()}
    assert before.keys() & after.keys()
    assert all(before[name] == after[name] for name in before.keys() & after.keys())
    assert "0.jpg" not in after
    again = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    shown = set(re.findall(r"pictures/([0-9a-f]{32}[.]jpg)", again))
    assert shown == after.keys()
    assert set(re.findall(r"pictures/([0-9a-f]{32}[.]jpg)", text)) == before.keys()


def test_pictures_of_the_page_before_are_there_until_the_next_is_written(
    planted, tmp_path, monkeypatch
):
    from vlg_fastai.pages import page as pages

    looked(planted, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    text = (tmp_path / "index.html").read_text(encoding="utf-8")

    def killed(*given, **values):
        raise KeyboardInterrupt

    monkeypatch.setattr(pages, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        looked(planted, tmp_path, size=96)
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == text
    assert all(path.read_bytes() == content for path, content in before.items())


def test_auto_leaves_alone_what_a_person_decided_while_it_looked(planted, tmp_path, monkeypatch):
    from vlg_fastai.audit import labels
    from vlg_fastai.data.images import content_hash

    content = content_hash((planted / "train/frog/wrong.png").read_bytes())
    path, find = tmp_path / "decisions.csv", labels.find

    def slow(*given):
        decisions.append(path, [{"content": content, "label": "frog", "action": "keep"}])
        return find(*given)

    monkeypatch.setattr(labels, "find", slow)
    looked(planted, tmp_path, auto=True)
    made = decisions.read(path).made
    assert made[content, "frog"].action == "keep"
    assert "relabel" in {decision.action for decision in made.values()}


def test_a_photo_that_goes_while_the_audit_looks_is_listed_and_ends_nothing(tmp_path, monkeypatch):
    data = draw_folder(tmp_path / "data", COUNTS, seed=5)
    gone_after_the_scan(monkeypatch, data / "train/frog/03.png")
    table = pd.read_csv(looked(data, tmp_path / "out", cache="off"), keep_default_na=False)
    assert list(of(table, "broken")["file"]) == ["frog/03.png"]


def test_what_most_photos_share_is_said_once_about_the_set(capsys):
    photos = pd.DataFrame(
        {
            "name": [f"a/{i}.png" for i in range(10)], "label": "a",
            "path": [Path(f"{i}.png") for i in range(10)],
            "width": [32] * 9 + [640], "height": [32] * 9 + [90],
            "grey": [bytes(np.arange(256, dtype=np.uint8))] * 9 + [bytes(256)], "dhash": 0,
        }
    )  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    table = oddities.odd(photos, lambda path: Image.fromarray(noise))
    assert list(table["file"]) == ["a/9.png"]
    assert table["suggested"].iloc[0] == "7.1 to 1, nearly one colour, dark"
    assert "90% of all photos are small: none is listed for that" in capsys.readouterr().out


def test_near_duplicates_widen_the_interval_of_what_decisions_gain():
    gain = np.repeat([1.0, 0.0, 0.0, 0.0, 0.0], 20)
    apart, together = (
        compare.interval(gain, groups) for groups in (np.arange(100), np.repeat(np.arange(5), 20))
    )
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert apart.low < gain.mean() < apart.high
