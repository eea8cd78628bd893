"""Unlike photos are found and counted, not overclaimed; classifier and expert are fused as said."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from vlg_fastai.data.neighbours import unit
from vlg_fastai.data.recall import digest, recalled
from vlg_fastai.data.store import Store
from vlg_fastai.model import probe
from vlg_fastai.unseen import folds, fusion, groups, mixture, selftraining, shift
from vlg_fastai.unseen.evidence import ClassFold, Evidence
from vlg_fastai.unseen.folds import Labelled
from vlg_fastai.unseen.likeness import Likeness

KNOWN, MORE = 12, 4


def photos(count, d=48, spread=0.9, seed=0):
    "Features and labels of `count` photos of each of KNOWN + MORE classes."
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(KNOWN + MORE, d))
    y = np.repeat(np.arange(KNOWN + MORE), count)
    return (centres[y] + rng.normal(size=(len(y), d)) * spread).astype(np.float32), y


def labelled(count=20, wrong=0, **options):
    "Known classes only, with `wrong` of their labels changed."
    x, y = photos(count, **options)
    x, y = x[y < KNOWN], y[y < KNOWN].copy()
    rng = np.random.default_rng(5)
    flipped = rng.permutation(len(y))[:wrong]
    y[flipped] = (y[flipped] + rng.integers(1, KNOWN, wrong)) % KNOWN
    kin = np.arange(len(y))
    fold = probe.out_of_fold(x, y, kin, KNOWN, Store())
    return Labelled(x.astype(np.float16), y, kin, fold), flipped


@pytest.fixture(scope="module")
def run_features():
    "(Labelled, test features, True where a test photo is of no known class, Evidence)."
    known, _ = labelled()
    x, y = photos(15, seed=1)
    return known, x, y >= KNOWN, folds.gather(known, x)


def test_photos_of_other_classes_are_unlike():
    x, y = photos(30)
    like = Likeness.fit(unit(x[y < KNOWN]), y[y < KNOWN])
    asked, truth = photos(20, seed=1)
    assert roc_auc_score(truth < KNOWN, like(unit(asked))) > 0.95


def test_likeness_is_the_formula_it_claims():
    x, y = photos(40, d=8)
    x = unit(x).astype(np.float64)
    like = Likeness.fit(x, y)
    asked = x[:5] + 0.1
    within, total = (np.linalg.inv(root @ root.T) for root in (like.within, like.total))
    for row, score in zip(asked, like(asked), strict=True):
        to_class = min((row - m) @ within @ (row - m) for m in like.means)
        to_all = (row - like.middle) @ total @ (row - like.middle)
        assert score == pytest.approx(to_all - to_class, rel=1e-6)


def test_fewer_photos_than_features_do_not_turn_the_sign():
    # with its own shrinkage the total covariance is shrunk less, and unlike photos look alike
    x, y = photos(8, d=600, spread=1.5)
    like = Likeness.fit(unit(x[y < KNOWN]), y[y < KNOWN])
    asked, truth = photos(8, d=600, spread=1.5, seed=1)
    assert roc_auc_score(truth < KNOWN, like(unit(asked))) > 0.85


def test_wrong_labels_are_doubted_and_stay_out():
    known, flipped = labelled(wrong=12)
    assert known.doubtful[flipped].mean() > 0.7
    assert known.doubtful.sum() <= 14
    assert not set(known.sound) & set(np.flatnonzero(known.doubtful))


def test_evidence_of_held_out_classes_tells_what_the_test_will_show(run_features):
    _, _, new, evidence = run_features
    assert len(evidence.folds) == folds.CLASS_FOLDS
    for score, i in (("likeness", 0), ("certainty", 1)):
        foretold = np.mean(evidence.auroc(score))
        assert roc_auc_score(~new, evidence.test[:, i]) == pytest.approx(foretold, abs=0.1)
    assert 0.9 < (evidence.known[:, 0] >= evidence.threshold()).mean() < 1
    assert evidence.missed() < 0.3


def test_no_fold_was_fitted_on_what_it_is_asked_about(run_features):
    known, *_, evidence = run_features
    held = np.concatenate([fold.held for fold in evidence.folds])
    assert sorted(held) == list(range(KNOWN))
    for fold in evidence.folds:
        assert not set(fold.train) & set(fold.rows)
        assert not set(known.y[fold.train]) & set(fold.held)
        assert set(known.y[fold.rows[fold.new]]) == set(fold.held)


def test_too_few_photos_or_classes_are_not_enough():
    known, _ = labelled()
    two = known.y < 2
    small = Labelled(known.x[two], known.y[two], known.groups[two],
                     probe.OutOfFold(known.fold.logits[two], 0.03))  # fmt: skip
    assert known.enough
    assert not small.enough


@pytest.mark.parametrize(
    ("counts", "told"),
    [((1,) * 45, True), ((50, 3, 3), True), ((20, 20, 1), True), ((20,) * 3, False)],
)
def test_photos_that_folds_can_tell_nothing_of_are_a_reason_and_no_error(counts, told):
    y = np.repeat(np.arange(len(counts)), counts)
    x = (np.random.default_rng(0).normal(size=(len(y), 8)) + 9 * np.eye(64)[y, :8]).astype(
        np.float16
    )
    kin = np.where(y == 1, 1000, np.arange(len(y)))  # all of class 1 are copies of one photo
    fold = probe.out_of_fold(x, y, kin, len(counts), Store())
    small = Labelled(x, y, kin, fold)
    if told:
        with pytest.raises(folds.UnavailableError):
            folds.gather(small, x[:5])
    else:
        assert np.isfinite(folds.gather(small, x[:5]).tests).all()


def test_the_test_is_scored_by_the_models_that_scored_the_known_photos(run_features):
    _, x, _, evidence = run_features
    assert evidence.tests.shape == (5, len(x), 2)
    assert np.allclose(evidence.test, evidence.tests.mean(0))
    assert (evidence.tests[:, :, 0].std(0) > 0).all()


def test_scores_that_were_stored_are_the_same_to_the_last_bit(run_features, tmp_path):
    *_, evidence = run_features
    shelf = Store(tmp_path).shelf("evidence")
    recalled(shelf, digest(evidence.known), lambda: evidence.arrays)
    again = Store(tmp_path).shelf("evidence")
    found = Evidence.of_arrays(recalled(again, digest(evidence.known), None))  # nothing is made
    assert found.temperature == evidence.temperature
    for name in ("known", "right", "tests"):
        np.testing.assert_array_equal(getattr(found, name), getattr(evidence, name), strict=True)
    assert len(found.folds) == len(evidence.folds)
    for one, other in zip(found.folds, evidence.folds, strict=True):
        for name, value in vars(other).items():
            np.testing.assert_array_equal(getattr(one, name), value, strict=True)


def planted(share, n=600, seed=0):
    "Evidence with normal scores; those of pseudo-unseen photos lie three deviations lower."
    rng = np.random.default_rng(seed)

    def draw(count, low):
        normal = rng.normal(size=(count, 2)) - 3 * low
        return np.column_stack([normal[:, 0], 1 / (1 + np.exp(-normal[:, 1] - 2))])

    rows = np.arange(200)
    parts = [
        ClassFold(np.arange(4), np.array([4]), rows[:0], rows, np.zeros((200, 4)),
                  np.concatenate([draw(100, 0), draw(100, 1)]), rows >= 100)
        for _ in range(5)
    ]  # fmt: skip
    unseen = round(share * n)
    test = np.concatenate([draw(n - unseen, 0), draw(unseen, 1)])
    known = draw(400, 0)
    return Evidence(known, np.arange(400) % 20 > 0, parts, test[None], 1.0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5])
def test_a_planted_share_of_unlike_photos_is_found(share):
    found = mixture.mixture(planted(share), 0.95)
    assert abs(found.share - share) <= 0.05
    assert found.accuracy == pytest.approx(0.95 * (1 - found.share))
    assert found.accuracy <= found.if_known < 1
    if share:
        assert roc_auc_score(np.arange(600) >= 600 - round(share * 600), found.unlike) > 0.95


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
def test_doubts_are_moved_to_a_share_without_changing_their_order(share):
    unlike = np.random.default_rng(0).beta(0.5, 0.5, 400)
    found = mixture.matched(unlike, share)
    assert found.mean() == pytest.approx(np.clip(share, 1e-3, 1 - 1e-3), abs=1e-3)
    assert (np.diff(found[np.argsort(unlike)]) >= 0).all()


def test_a_shift_between_training_and_test_photos_is_measured():
    x, _ = photos(20)
    kin = np.arange(len(x))
    same = shift.measure(x, kin, photos(20, seed=1)[0], kin)
    moved = photos(20, seed=1)[0]
    moved[:40] += 2
    other = shift.measure(x, kin, moved, kin)
    assert 0.4 < same.auc < 0.6
    assert other.auc > same.auc + 0.05
    assert (other.most(20) < 40).mean() > 0.9


def test_copies_of_a_photo_on_one_side_do_not_make_a_shift():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(40, 64)).astype(np.float32), 4, axis=0)
    test = rng.normal(size=(160, 64)).astype(np.float32)
    copies, alone = np.repeat(np.arange(40), 4), np.arange(160)
    for one, other, by_copies in ((x, test, (copies, alone)), (test, x, (alone, copies))):
        grouped = shift.measure(one, by_copies[0], other, by_copies[1])
        loose = shift.measure(one, alone, other, alone)
        assert grouped.auc < loose.auc - 0.1


def test_fusion_without_favour_changes_no_answer():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 50), rng.dirichlet(np.ones(8), 50)
    assert (fusion.scores(p, q, -np.inf).argmax(1) == p.argmax(1)).all()
    probs = fusion.fused(p, q, 0.5)
    assert np.allclose(probs.sum(1), 1)


def test_permuting_names_permutes_the_fusion():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 50), rng.dirichlet(np.ones(8), 50)
    order = np.array([0, 1, 2, 3, 4, 7, 5, 6])
    assert np.allclose(fusion.fused(p, q[:, order], 1.0), fusion.fused(p, q, 1.0)[:, order])


class Oracle:
    "An expert that is right about `sure` of the photos and has no opinion on the others."

    def __init__(self, y, names, sure=0.8, taus=(1.0, 50.0)):
        self.taus, rng = taus, np.random.default_rng(1)
        right = rng.random(len(y)) < sure
        self.logits = rng.normal(size=(len(y), names))
        self.logits[np.flatnonzero(right), y[right]] += 6

    def of_labelled(self, rows, columns, tau, train=None):
        return softmax(self.logits[np.ix_(rows, columns)] / tau, axis=1)

    def of_test(self, columns, tau):
        return softmax(self.logits[:, columns] / tau, axis=1)


def test_tau_and_gamma_are_chosen_on_held_out_classes(run_features):
    known, x, new, evidence = run_features
    expert = Oracle(known.y, KNOWN + MORE)
    tried = fusion.trials(evidence, known.y, KNOWN, MORE)
    found = fusion.choose(tried, known.y, expert, 0.25)
    assert found.tau == 1.0
    assert found.unseen > 0.6
    assert found.known > 0.85
    greedy = fusion.choose(tried, known.y, expert, 0.9)
    assert greedy.gamma >= found.gamma
    assert greedy.unseen >= found.unseen


@pytest.mark.parametrize("count", [1, 2, 4, 30])
def test_every_trial_has_as_many_unseen_names_as_were_given(run_features, count):
    known, *_, evidence = run_features
    tried = fusion.trials(evidence, known.y, KNOWN, count)
    for trial in tried:
        unseen = trial.columns[len(trial.fold.known) :]
        assert len(unseen) == count
        assert len(set(trial.columns)) == len(trial.columns)
        assert max(unseen) < KNOWN + count
        truth = known.y[trial.fold.rows[trial.rows]]
        assert set(truth) <= set(trial.columns)
    asked = [set(trial.columns[len(trial.fold.known) :]) & set(range(KNOWN)) for trial in tried]
    assert set.union(*asked) == set(range(KNOWN))


def test_self_training_lets_test_photos_correct_each_other(run_features):
    known, x, new, evidence = run_features
    _, truth = photos(15, seed=1)
    expert = Oracle(truth, KNOWN + MORE, sure=0.5)
    p = softmax(probe.fit(known.x, known.y, 0.1, KNOWN)(as_tensor(x)).detach().numpy(), axis=1)
    scores = fusion.scores(p, expert.of_test(np.arange(KNOWN + MORE), 1.0), 1.0)
    fit = known.fold.strength, evidence.temperature, known.factor
    better = selftraining.transduced(scores, KNOWN, (known.x, known.y), x, fit)
    before, after = ((s.argmax(1) == truth)[new].mean() for s in (scores, better))
    assert after > before + 0.1
    assert (better.argmax(1) == truth)[~new].mean() > 0.9


def as_tensor(x):
    import torch

    return torch.as_tensor(x)


def test_self_training_picks_the_surest_of_each_unseen_class():
    scores = np.log(np.array([[0.6, 0.4, 0], [0.1, 0.9, 0], [0.2, 0.8, 0], [0, 0.3, 0.7]]) + 1e-9)
    rows, labels = selftraining.picked(scores, 1, 1)
    assert list(rows) == [1, 3]
    assert list(labels) == [1, 2]


def test_without_a_photo_for_any_name_self_training_changes_nothing():
    scores = np.log(np.tile([0.9, 0.05, 0.05], (6, 1)))
    shown = np.zeros((0, 4)), np.zeros(0, int)
    same = selftraining.transduced(scores, 1, shown, np.ones((6, 4)), (0.1, 1.0, 1.0))
    assert np.allclose(same, scores)


def test_look_alikes_are_grouped_the_closest_knit_first():
    rng = np.random.default_rng(0)
    spreads = zip(np.eye(6)[:3] * 5, (0.9, 0.1, 0.5), strict=True)
    x = np.concatenate([centre + rng.normal(size=(12, 6)) * s for centre, s in spreads])
    found, distance = groups.alike(unit(x))
    assert [len(np.unique(found[i : i + 12])) for i in (0, 12, 24)] == [1, 1, 1]
    assert found[12] == 0
    assert (distance >= 0).all()


def test_copies_of_one_picture_are_one_group():
    assert (groups.alike(np.ones((12, 8)))[0] == 0).all()


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_handful_of_photos_is_one_group(count):
    assert (groups.alike(np.eye(8)[:count])[0] == 0).all()
