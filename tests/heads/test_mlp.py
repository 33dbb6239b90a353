"""Losses equal their references, and a packed network is the one trained alone."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from basket.errors import UsageError
from basket.heads import link, make_head
from basket.heads.mlp import LOSSES
from basket.heads.mlp_losses import OUTPUTS
from basket.heads.mlp_pack import Pack
from basket.heads.together import fit_many

# Exact in single precision, in which networks keep their thresholds.
START = np.array([[-1.5, -0.375, 0.25, 2.0], [-1.0, 0.0, 0.5, 1.0]])


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(600, 10)).astype(np.float32)
    latent = X @ random.normal(size=(10, 3))
    latent = latent / latent.std(axis=0) + 0.5 * random.normal(size=latent.shape)
    return X, (latent[:, None] > np.array([-1, -0.3, 0.3, 1])[None, :, None]).sum(axis=1)


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    levels = torch.randint(0, 5, (200, 2))
    return levels, lambda width: torch.randn(200, 2 * width, dtype=torch.float64)


def test_coral_loss_is_that_of_coral_pytorch(batch):
    losses = pytest.importorskip("coral_pytorch.losses")
    levels, outputs = batch
    ours = OUTPUTS["coral"](START).double()
    scores = outputs(1)
    found = ours.loss(scores, levels)
    for skill in range(2):
        logits = scores[:, skill, None] - torch.tensor(START[skill])
        above = (levels[:, skill, None] > torch.arange(4)).double()
        expected = losses.coral_loss(logits, above)
        assert found[:, skill].mean().item() == pytest.approx(expected.item(), rel=1e-12)


def test_corn_loss_is_that_of_coral_pytorch(batch):
    losses = pytest.importorskip("coral_pytorch.losses")
    levels, outputs = batch
    ours = OUTPUTS["corn"](START)
    logits = outputs(4)
    found, terms = ours.loss(logits, levels), ours.terms(levels)
    for skill in range(2):
        expected = losses.corn_loss(logits[:, 4 * skill : 4 * skill + 4], levels[:, skill], 5)
        value = found[:, skill].sum() / terms[:, skill].sum()
        assert value.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("leading", [(), (3,)])
def test_derivatives_of_the_cumulative_loss_written_by_hand_are_the_recorded_ones(leading):
    random = np.random.default_rng(3)
    start = np.sort(random.normal(size=(*leading, 4, 4)), axis=-1)
    start[..., 0, 1:3] = 0.3  # a level nobody has, whose gap has closed
    output = OUTPUTS["cumulative"](start).double()
    levels = torch.from_numpy(random.integers(0, 5, size=(50, 4)))
    weights = torch.from_numpy(random.exponential(size=(50, 4)))
    weights[:10] = 0.0
    scores = torch.from_numpy(8 * random.normal(size=(*leading, 50, 4)))
    by_hand = output.derivatives(scores, levels, weights)
    recorded = super(type(output), output).derivatives(scores, levels, weights)
    assert len(by_hand) == len(recorded) == 3
    for found, expected in zip(by_hand, recorded, strict=True):
        assert found.shape == expected.shape
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-8)


def test_cumulative_loss_is_that_of_the_link(batch):
    levels, outputs = batch
    ours, scores = OUTPUTS["cumulative"](START).double(), outputs(1)
    for skill in range(2):
        expected = -link.log_likelihood(
            scores[:, skill].numpy(), START[skill], levels[:, skill].numpy()
        )
        found = ours.loss(scores, levels)[:, skill].detach().numpy()
        # Thresholds are kept in single precision.
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("loss", ["ce", "sord", "emd"])
def test_softmax_losses_are_their_definitions(loss, batch):
    levels, outputs = batch
    logits = outputs(5)
    found = OUTPUTS[loss](START).loss(logits, levels).numpy()
    p = torch.softmax(logits.view(200, 2, 5), dim=-1).numpy()
    y = levels.numpy()
    k = np.arange(5)
    if loss == "ce":
        expected = -np.log(np.take_along_axis(p, y[..., None], axis=2)[..., 0])
    elif loss == "sord":
        soft = np.exp(-((k - y[..., None]) ** 2.0))
        soft /= soft.sum(axis=-1, keepdims=True)
        expected = -(soft * np.log(p)).sum(axis=-1)
    else:
        expected = ((np.cumsum(p, axis=-1) - (y[..., None] <= k)) ** 2)[..., :4].sum(axis=-1)
    assert found == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
def test_at_the_prior_networks_say_the_marginals_and_training_beats_them(loss, data):
    X, Y = data
    settings = {"n_levels": 5, "loss": loss, "start": "prior"}
    start = make_head("mlp", **settings, epochs=1, patience=0, learning_rate=1e-12)
    counts = np.stack([np.bincount(Y[:, skill], minlength=5) for skill in range(3)]) / len(Y)
    assert start.fit(X, Y).predict_proba(X) == pytest.approx(
        np.repeat(counts[None], len(X), axis=0), abs=0.01
    )
    head = make_head("mlp", **settings, epochs=40, learning_rate=3e-3)
    assert head.fit(X[:400], Y[:400]).score(X[400:], Y[400:]) > 0.4


@pytest.mark.parametrize("loss", LOSSES)
def test_networks_start_at_ridge_and_are_never_worse_on_validation(loss, data):
    X, Y = data
    settings = {"n_levels": 5, "loss": loss, "learning_rate": 1e-12}
    start = make_head("mlp", **settings, epochs=1, patience=0).fit(X[:400], Y[:400])
    ridge = make_head("ridge", n_levels=5, folds=3).fit(X[:400], Y[:400])
    assert start.predict_proba(X) == pytest.approx(ridge.predict_proba(X), abs=1e-5)
    validation = (X[400:], Y[400:])
    settings["learning_rate"] = 30.0
    wild = make_head("mlp", **settings, epochs=3).fit(X[:400], Y[:400], validation=validation)
    assert wild.best_epoch_ == 0
    assert wild.predict_proba(X) == pytest.approx(start.predict_proba(X), abs=1e-5)


def test_networks_find_what_ridge_cannot(data):
    X, _ = data
    random = np.random.default_rng(1)
    latent = 1.5 * X[:, 0] * X[:, 1] + X[:, 2] + 0.3 * random.normal(size=len(X))
    Y = np.searchsorted([-1.0, 0.0, 1.0], latent)[:, None]
    settings = {"n_levels": 4, "dropout": 0.0, "learning_rate": 1e-2}
    head = make_head("mlp", **settings).fit(X[:450], Y[:450])
    ridge = make_head("ridge", n_levels=4).fit(X[:450], Y[:450])
    assert head.best_epoch_ > 0
    assert head.score(X[450:], Y[450:]) > ridge.score(X[450:], Y[450:]) + 0.1


@pytest.mark.parametrize("start", ["ridge", "prior"])
def test_what_is_said_of_a_player_does_not_depend_on_the_company(start, data):
    X, Y = data
    head = make_head("mlp", n_levels=5, epochs=3, start=start).fit(X, Y)
    together = head.predict_proba(X)
    alone = np.concatenate([head.predict_proba(row) for row in X[:, None]])
    assert alone == pytest.approx(together, abs=1e-12)


def test_an_unknown_start_is_refused(data):
    with pytest.raises(UsageError, match="starts at ridge or prior, got 'zero'"):
        make_head("mlp", n_levels=5, start="zero").fit(*data)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"loss": "corn", "depth": 2},
        {"loss": "coral", "hierarchy": [0, 1, 1]},
        {"patience": 0, "depth": 0},
    ],
)
def test_a_packed_network_is_the_network_trained_alone(params, data):
    X, Y = data[0], data[1].copy()
    Y[::7, 1] = -1
    knobs = [(0, 0.5, 1e-3, 0.01), (1, 0.2, 3e-3, 0.0), (2, 0.0, 1e-2, 0.1), (1, 0.2, 1e-4, 0.0)]
    heads = [
        make_head(
            "mlp", n_levels=5, epochs=10, hidden=24, seed=seed, dropout=dropout,
            learning_rate=rate, weight_decay=decay, **params,
        )
        for seed, dropout, rate, decay in knobs
    ]  # fmt: skip
    alone = [clone(head).fit(X, Y, groups=np.arange(600) // 2) for head in heads]
    fit_many(heads, X, Y, groups=np.arange(600) // 2)
    for packed, single in zip(heads, alone, strict=True):
        assert packed.best_epoch_ == single.best_epoch_
        assert packed.predict_proba(X) == pytest.approx(single.predict_proba(X), abs=1e-5)
    assert np.abs(heads[0].predict_proba(X) - heads[1].predict_proba(X)).max() > 1e-3


def test_networks_that_have_stopped_leave_the_pack(data, monkeypatch):
    X, Y = data
    rates = (0.1, 1e-4, 0.03, 3e-3)
    heads = [
        make_head(
            "mlp", n_levels=5, hidden=16, epochs=12, patience=2, batch_size=64,
            learning_rate=rate, seed=seed,
        )
        for seed, rate in enumerate(rates)
    ]  # fmt: skip
    alone = [clone(head).fit(X, Y) for head in heads]
    trained = []
    outputs = Pack.outputs

    def counted(pack, X, *, training=False):
        if training:
            trained.append(len(pack.weights[0]))
        return outputs(pack, X, training=training)

    monkeypatch.setattr(Pack, "outputs", counted)
    fit_many(heads, X, Y)
    steps = -(-510 // 64)  # rows that are not held out, in batches
    epochs = [min(12, head.best_epoch_ + 2) for head in alone]
    assert len(set(epochs)) > 2
    assert sum(trained) == steps * sum(epochs)
    for packed, single in zip(heads, alone, strict=True):
        assert packed.best_epoch_ == single.best_epoch_
        assert packed.predict_proba(X) == pytest.approx(single.predict_proba(X), abs=1e-5)


def test_heads_of_different_shape_are_packed_apart(data):
    X, Y = data
    heads = [make_head("mlp", n_levels=5, epochs=3, hidden=hidden) for hidden in (8, 16, 8)]
    fit_many(heads, X, Y)
    assert [head.layers_[0][0].shape[1] for head in heads] == [8, 16, 8]
    # A kernel may add up in another order for another place in the pack.
    np.testing.assert_allclose(heads[0].predict_proba(X), heads[2].predict_proba(X), atol=1e-6)


def test_a_skill_sees_only_its_group_in_a_hierarchy(data):
    X, Y = data
    head = make_head("mlp", n_levels=5, epochs=5, hidden=16, hierarchy=[7, 2, 2]).fit(X, Y)
    last = head.layers_[-1][0]
    assert last.shape == (16, 3)
    # Group 2 comes first in order, and has the first eight units.
    assert not last[:8, 0].any()
    assert not last[8:, 1:].any()
    with pytest.raises(UsageError, match="group of each of the 3 skills"):
        make_head("mlp", n_levels=5, hierarchy=True).fit(X, Y)
    with pytest.raises(UsageError, match="group of each"):
        make_head("mlp", n_levels=5, hierarchy=[0, 1]).fit(X, Y)


def test_given_validation_stops_training_and_is_never_learned(data):
    X, Y = data
    shuffled = np.random.default_rng(0).permutation(Y[400:])
    stopped = make_head("mlp", n_levels=5, epochs=30, patience=3, learning_rate=1e-2)
    stopped.fit(X[:400], Y[:400], validation=(X[400:], shuffled))
    assert stopped.best_epoch_ < 8
    all_epochs = make_head("mlp", n_levels=5, epochs=3, patience=0)
    one = clone(all_epochs).fit(X[:400], Y[:400], validation=(X[400:], Y[400:]))
    two = clone(all_epochs).fit(X[:400], Y[:400])
    assert np.array_equal(one.predict_proba(X), two.predict_proba(X))
