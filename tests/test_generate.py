"""generate.py: what it asks for, what it writes, and that it goes on where it stopped."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import draw_folder
from PIL import Image

from vlg_fastai import api
from vlg_fastai.config import UserError
from vlg_fastai.data import extra
from vlg_fastai.demo import challenge as drawing
from vlg_fastai.generate import painters, plan
from vlg_fastai.generate.options import GenerateConfig
from vlg_fastai.unseen.names import Name, Names


def listing(**counts):
    rows = [
        (f"root/train/{label}/{i}.jpg", f"train/{label}/{i}.jpg", label)
        for label, count in counts.items()
        for i in range(count)
    ]
    return pd.DataFrame(rows, columns=["path", "file", "label"])


def names(known, *unseen):
    return Names(tuple(map(Name.of, known)), tuple(unseen))


def test_rare_classes_are_made_from_their_own_photos_in_turn():
    found = plan.wishes(GenerateConfig(count=5, rare=4), listing(red_fox=3, owl=9), names([]))
    assert [wish.made_from for wish in found] == [f"train/red_fox/{i}.jpg" for i in (0, 1, 2, 0, 1)]
    assert {wish.prompt for wish in found} == {"a photo of a red fox"}


def test_names_are_asked_for_in_all_their_words_and_known_ones_beside_them():
    lynx = Name("lynx", ("lynx", "wild cat"))
    given = names(["fox", "owl"], lynx)
    found = plan.wishes(GenerateConfig(count=4, rare=0, swap=1), listing(fox=9, owl=9), given)
    asked = [wish.prompt for wish in found if wish.label == "lynx"]
    assert asked == ["a photo of a lynx", "a photo of a wild cat"] * 2
    swapped = {wish.label for wish in found} - {"lynx"}
    assert len(swapped) == 1
    assert swapped <= {"fox", "owl"}
    assert not any(wish.made_from for wish in found)


def test_labels_that_no_folder_can_have_come_back(challenge, tmp_path):
    ledger = plan.Ledger(tmp_path / "source.csv", [])
    for number, label in enumerate(("Geoffroy's cat", "polar bear")):
        wish = plan.Wish(label, number, "words")
        (tmp_path / wish.file).parent.mkdir()
        Image.new("RGB", (40, 40), (number, 9, 9)).save(tmp_path / wish.file)
        ledger.note(wish, 1, "m", "l")
    assert set(extra.found([tmp_path], [])["label"]) == {"Geoffroy's cat", "polar bear"}


def test_no_two_labels_share_a_folder_whatever_was_asked_for_before():
    odd = ("a/b", "a:b", "a?b", "..", ".a", "a.", "a ", "caf\udce9", "caf\udce8", "NUL\0", "*", "?")
    plain = ("big cat", "big_cat", "lynx (wild)", "höhlen bär", "blue+whale", "C++", "owl", "o")
    folders = {label: plan.Wish(label, 0, "words").file.split("/")[0] for label in (*odd, *plain)}
    assert len({folder.lower() for folder in folders.values()}) == len(folders)
    assert [folders[label] for label in plain] == list(plain)
    for label in odd:
        assert re.fullmatch(r"[\w+-][\w.+-]*-[0-9a-f]{8}", folders[label]), label
    assert len({plan.Wish(label, 0, "words").seed(42) for label in folders}) == len(folders)


def test_nothing_to_generate_is_said():
    with pytest.raises(UserError, match="nothing to generate"):
        plan.wishes(GenerateConfig(), listing(fox=90), names(["fox"]))


def test_a_photo_has_the_same_seed_whatever_else_is_generated():
    wish = plan.Wish("fox", 3, "a fox")
    assert wish.seed(1) == plan.Wish("fox", 3, "other words").seed(1)
    assert len({wish.seed(1), wish.seed(2), plan.Wish("fox", 4, "a fox").seed(1)}) == 3


@pytest.fixture
def drawn(challenge, in_empty_folder, monkeypatch):
    monkeypatch.setattr(drawing, "FEWEST", 15)
    return api.generate(data=challenge, count=2, rare=16, swap=2)


def test_the_generated_challenge_draws_its_own(drawn, challenge):
    told = pd.read_csv(drawn / "source.csv", keep_default_na=False)
    assert set(drawing.UNSEEN) <= {file.split("/")[0] for file in told["file"]}
    assert all((drawn / file).is_file() for file in told["file"])
    assert (told["model"] == "drawn").all()
    from vlg_fastai.data import scan
    from vlg_fastai.data.folder import layout

    table = scan.scan_classes(layout(challenge))
    assert set(told["made_from"]) - {""} <= set(table["file"])
    found = extra.found([drawn], sorted(drawing.SEEN))
    assert len(found) == len(told)
    assert set(found["made_from"]) == set(told["made_from"])


def test_a_stopped_command_goes_on(drawn, challenge, capsys):
    told = pd.read_csv(drawn / "source.csv", keep_default_na=False)
    first = drawn / told["file"][0]
    before = {file: (drawn / file).read_bytes() for file in told["file"]}
    first.unlink()
    api.generate(data=challenge, count=2, rare=16, swap=2)
    assert {file: (drawn / file).read_bytes() for file in told["file"]} == before
    assert f"{len(told) - 1} of them are there" in capsys.readouterr().out
    again = pd.read_csv(drawn / "source.csv", keep_default_na=False)
    assert sorted(again["file"]) == sorted(told["file"])


def test_a_table_of_someone_else_is_not_overwritten(challenge, tmp_path):
    (tmp_path / "source.csv").write_text("file,who\na,b\n")
    with pytest.raises(UserError, match="is not of this command"):
        api.generate(data=challenge, out=tmp_path, count=1)


def test_an_animal_that_the_program_does_not_know_is_named(challenge, tmp_path):
    (tmp_path / "names.txt").write_text("unicorn\n")
    with pytest.raises(UserError, match="cannot draw 'unicorn'"):
        api.generate(data=challenge, out=tmp_path / "e", unseen=tmp_path / "names.txt", rare=0)


def test_without_diffusers_the_way_to_it_is_named(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("vlg_fastai.checks._absent", lambda package: package == "diffusers")
    with pytest.raises(UserError, match="pip install -r requirements-generate.txt"):
        api.generate(data=toy, out=tmp_path / "e", rare=99)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    "A Stable Diffusion of random weights, small enough to run in a second."
    diffusers = pytest.importorskip("diffusers", reason="pip install -r requirements-generate.txt")
    transformers = pytest.importorskip("transformers")
    import torch

    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("m")
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (home / "vocab.json").write_text(json.dumps({v: i for i, v in enumerate(vocabulary)}))
    (home / "merges.txt").write_text("#version: 0.2\n")
    tokens = transformers.CLIPTokenizer(
        str(home / "vocab.json"), str(home / "merges.txt"), model_max_length=16
    )
    text = transformers.CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=37, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=16, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    blocks = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 32}
    pipe = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(
            in_channels=3, out_channels=3, latent_channels=4,
            down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
            **blocks,
        ),
        text_encoder=transformers.CLIPTextModel(text), tokenizer=tokens,
        unet=diffusers.UNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=4, cross_attention_dim=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **blocks,
        ),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(home / "pipe")
    return home / "pipe"


def test_a_diffusion_model_makes_photos_from_words_and_from_photos(tiny, tmp_path):
    data = draw_folder(tmp_path / "d", {"frog": 3, "höhlen bär": 12})
    (tmp_path / "names.txt").write_text("newt\n")
    out = api.generate(
        data=data, unseen=tmp_path / "names.txt", model=str(tiny), licence="none", count=1,
        rare=5, swap=1, steps=2, out=tmp_path / "e", device="cpu",
    )  # fmt: skip
    told = pd.read_csv(out / "source.csv", keep_default_na=False).set_index("file")
    assert told.loc["frog/own-0000.jpg", "made_from"] == "train/frog/00.png"
    assert told.loc["newt/name-0000.jpg", "made_from"] == ""
    assert set(told["licence"]) == {"none"}
    for file in told.index:
        image = Image.open(out / file)
        assert image.size == (32, 32)
        assert np.asarray(image).std() > 0


def test_the_same_seed_makes_the_same_photo(tiny):
    cfg = GenerateConfig(model=str(tiny), steps=2, device="cpu")
    painter, wish = painters.Diffusion(cfg), plan.Wish("newt", 0, "a newt")
    first, second, other = (np.asarray(painter(wish, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_photo_that_the_filter_refused_is_not_written(tiny, monkeypatch):
    from types import SimpleNamespace

    cfg = GenerateConfig(model=str(tiny), steps=1, device="cpu")
    painter = painters.Diffusion(cfg)
    black = SimpleNamespace(images=[Image.new("RGB", (8, 8))], nsfw_content_detected=[True])
    monkeypatch.setattr(type(painter.by_words), "__call__", lambda *_, **__: black)
    assert painter(plan.Wish("newt", 0, "a newt"), 0) is None


def test_a_model_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("diffusers", reason="pip install -r requirements-generate.txt")
    cfg = GenerateConfig(model=str(tmp_path / "nothing"), device="cpu")
    with pytest.raises(UserError, match="--model .*nothing: cannot be loaded"):
        painters.Diffusion(cfg)(plan.Wish("newt", 0, "a newt"), 0)
