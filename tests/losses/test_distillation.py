"""The distillation loss as a whole."""

import pytest
import torch
from monai.data import MetaTensor

from bundle.losses.balance import Attention, Equal, Static
from bundle.losses.distances import MeanSquared
from bundle.losses.distillation import DistillationLoss
from bundle.losses.standardize import Identity, PhiS
from bundle.losses.statistics import FeatureStatistics

CHANNELS = {"medsam2": 8, "rad_dino": 6}


def teacher_features(loudness=1.0):
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(3, c, 4, 4, generator=generator) + 2 for name, c in CHANNELS.items()}
    features["medsam2"] = features["medsam2"] * loudness
    return features


def make_loss(kind=PhiS, balancer=None, features=None, **settings):
    standardizers = {}
    for name, value in (features or teacher_features()).items():
        statistics = FeatureStatistics(value.shape[1])
        statistics.update(value)
        standardizers[name] = kind.from_statistics(statistics)
    return DistillationLoss(standardizers, MeanSquared(), Equal() if balancer is None else balancer, **settings)


def make_batch(features=None):
    features = features or teacher_features()
    generator = torch.Generator().manual_seed(1)
    pred = {
        "features": {name: torch.randn(value.shape, generator=generator) for name, value in features.items()},
        "embedding": torch.randn(3, 5, 4, 4, generator=generator),
    }
    return pred, {"features": features, "valid": {name: torch.ones(3, 1, 4, 4) for name in features}}


def loss_with(loudness, kind=PhiS):
    features = teacher_features(loudness)
    return make_loss(kind, features=features)(*make_batch(features))


def test_a_loud_teacher_weighs_no_more_than_a_quiet_one():
    torch.testing.assert_close(loss_with(loudness=100.0), loss_with(loudness=1.0), rtol=1e-3, atol=0)


def test_without_standardization_a_loud_teacher_drowns_the_others():
    assert loss_with(loudness=100.0, kind=Identity) > 100 * loss_with(loudness=1.0, kind=Identity)


def test_a_student_that_gives_the_standardized_features_has_no_loss():
    loss, (pred, target) = make_loss(), make_batch()
    pred["features"] = {name: loss.standardizers[name](value) for name, value in target["features"].items()}
    assert loss(pred, target).item() == pytest.approx(0.0, abs=1e-10)


def test_padding_has_no_effect():
    loss, (pred, target) = make_loss(), make_batch()
    target["valid"]["rad_dino"][..., 2:] = 0
    before = loss(pred, target)
    pred["features"]["rad_dino"][..., 2:] = 1e4
    torch.testing.assert_close(loss(pred, target), before)


def test_teachers_keep_their_order_whatever_the_order_of_the_batch():
    loss, (pred, target) = make_loss(balancer=Static([1.0, 0.0])), make_batch()
    pred["features"] = dict(reversed(pred["features"].items()))
    assert loss(pred, target).item() == pytest.approx(loss.latest["loss/medsam2"])


def test_latest_tells_every_loss_weight_and_their_entropy():
    loss = make_loss(balancer=Static([0.5, 0.5]))
    total = loss(*make_batch())
    assert set(loss.latest) == {
        "loss/medsam2",
        "loss/rad_dino",
        "weight/medsam2",
        "weight/rad_dino",
        "weight_entropy",
    }
    assert all(type(value) is float for value in loss.latest.values())
    assert loss.latest["weight_entropy"] == pytest.approx(1.0)
    assert total.item() == pytest.approx(0.5 * loss.latest["loss/medsam2"] + 0.5 * loss.latest["loss/rad_dino"])


def test_gradients_reach_the_student_and_the_balancer_and_no_teacher():
    loss, (pred, target) = make_loss(balancer=Attention(5, 2)), make_batch()
    for features in (*pred["features"].values(), *target["features"].values()):
        features.requires_grad_()
    loss(pred, target).backward()
    assert all(features.grad.abs().max() > 0 for features in pred["features"].values())
    assert all(features.grad is None for features in target["features"].values())
    assert loss.balancer.keys.grad.abs().max() > 0


def test_only_the_balancer_has_parameters_and_standardizers_travel_in_checkpoints():
    loss = make_loss(balancer=Attention(5, 2))
    assert {name.split(".")[0] for name, _ in loss.named_parameters()} == {"balancer"}
    assert "standardizers.medsam2.rotation" in loss.state_dict()
    other = make_loss(balancer=Attention(5, 2), features=teacher_features(loudness=9.0))
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other(*make_batch()), loss(*make_batch()))


def test_monai_tensors_with_metadata_give_the_same_plain_loss():
    loss, (pred, target) = make_loss(balancer=Attention(5, 2)), make_batch()
    expected = loss(pred, target)
    pred["embedding"] = MetaTensor(pred["embedding"])
    for entries in (pred["features"], target["features"], target["valid"]):
        entries.update({name: MetaTensor(value) for name, value in entries.items()})
    value = loss(pred, target)
    assert type(value) is torch.Tensor
    assert torch.equal(value, expected)


def test_autocast_does_not_lower_the_precision():
    loss, batch = make_loss(balancer=Attention(5, 2)), make_batch()
    expected = loss(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(*batch)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)


def test_a_collapse_is_warned_of_in_training_and_not_in_evaluation():
    batch = make_batch()
    loss = make_loss(balancer=Static([1.0, 0.01]), collapse_patience=2)
    loss(*batch)
    with pytest.warns(UserWarning, match="'medsam2' has held over 95% of the weight for 2 steps"):
        loss(*batch)
    quiet = make_loss(balancer=Static([1.0, 0.01]), collapse_patience=2).eval()
    quiet(*batch)
    quiet(*batch)
    assert not quiet.collapse.has_warned


@pytest.mark.parametrize(
    ("side", "entry", "message"),
    [
        ("pred", "features", r"pred\['features'\] must hold the teachers \['medsam2', 'rad_dino'\], got \['medsam2'\]"),
        ("target", "features", r"target\['features'\] must hold"),
        ("target", "valid", r"target\['valid'\] must hold"),
    ],
)
def test_a_missing_teacher_is_named(side, entry, message):
    pred, target = make_batch()
    del {"pred": pred, "target": target}[side][entry]["rad_dino"]
    with pytest.raises(ValueError, match=message):
        make_loss()(pred, target)


def test_no_teachers_and_dotted_names_are_refused():
    with pytest.raises(ValueError, match=r"one standardizer per teacher, names without dots, got \[\]"):
        DistillationLoss({}, MeanSquared(), Equal())
    with pytest.raises(ValueError, match=r"names without dots, got \['vit.in1k'\]"):
        DistillationLoss({"vit.in1k": torch.nn.Identity()}, MeanSquared(), Equal())
