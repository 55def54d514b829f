"""Phase 2: losses of multi-label masks, of the decoder's own IoU estimate, and of a structure's presence."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from bundle.losses.distillation import DistillationLoss, as_float32
from bundle.ranks import mean_over_ranks, world_size

DISTILLATION = "distillation"
"""Entry of the target that holds what :class:`DistillationLoss` needs."""

KNOWN = "known"
"""Optional in the target, ``(B, S)`` of 0 or 1: whether it was said where the structure is, or that there is none."""


class MaskLoss(nn.Module):
    """Pixel loss in every mask plus soft Dice in every mask whose structure is present.

    Dice of an absent structure is 0 for any prediction but an empty one and says nothing about how far off that is;
    there the pixel loss alone teaches an empty mask. Structures overlap, so every mask has its own sigmoid.

    Args:
        pixel_loss: From logits and label to one value per pixel; binary cross-entropy if None. For focal loss, give
            ``monai.losses.FocalLoss(reduction="none")``.
        pixel_weight: Factor of the pixel loss.
        dice_weight: Factor of 1 − Dice.
    """

    def __init__(
        self, pixel_loss: nn.Module | None = None, pixel_weight: float = 1.0, dice_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.pixel_loss = nn.BCEWithLogitsLoss(reduction="none") if pixel_loss is None else pixel_loss
        self.dice_loss = DiceLoss(reduction="none", soft_label=True)  # labels averaged over a cell are not binary
        self.pixel_weight, self.dice_weight = pixel_weight, dice_weight

    def forward(self, logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        """Mean over masks: of the pixel loss over all, of Dice over those that are present.

        Logits are ``(B, S, h, w)``; ``label`` ``(B, S, H, W)`` in [0, 1] and ``valid`` ``(B, 1, H, W)`` are on their
        grid or a finer one.
        """
        label, valid = match_grid(label, valid, logits)
        pixel, dice, present = self.parts(as_float32(logits), label, valid)
        return self.mean(pixel, dice, present, torch.ones_like(present))

    def mean(self, pixel: Tensor, dice: Tensor, present: Tensor, known: Tensor) -> Tensor:
        """One number of :meth:`parts`, from the masks that are known; only known ones are present."""
        return self.pixel_weight * masked_mean(pixel, known) + self.dice_weight * masked_mean(dice, present)

    def parts(self, logits: Tensor, label: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixel loss, 1 − Dice and presence of every mask, each ``(B, S)``; all inputs on one grid."""
        area = valid.sum(dim=(2, 3)).clamp_min(1e-6)  # (B, 1)
        pixel = (self.pixel_loss(logits, label) * valid).sum(dim=(2, 3)) / area
        dice = self.dice_loss(logits.sigmoid() * valid, label * valid).flatten(1)
        return pixel, dice, is_present(label, valid)


class SegmentationLoss(nn.Module):
    """Weighted sum of the losses of masks, IoU prediction and presence, automatic and prompted.

    The IoU estimate is compared with the IoU of the thresholded mask (as in SAM), where the structure is present;
    presence by binary cross-entropy. Of a prompt's M candidate masks only the one with the smallest loss is trained, so
    that the others may stay different answers to an ambiguous prompt; the IoU estimate is trained for all of them.
    After each call ``latest`` holds the unweighted terms as plain floats, as ``loss/<term>``.

    Args:
        mask_loss: Of all masks; :class:`MaskLoss` with its defaults if None.
        mask_weight: Factor of the mask loss.
        iou_weight: Factor of the squared error of the IoU estimate; 0 for networks without one.
        presence_weight: Factor of the presence loss; 0 for networks without one.
        prompted_weight: Factor of the prompted masks (with their IoU estimate) against the automatic ones.
    """

    def __init__(
        self,
        mask_loss: MaskLoss | None = None,
        mask_weight: float = 1.0,
        iou_weight: float = 0.05,
        presence_weight: float = 0.05,
        prompted_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.mask_loss = MaskLoss() if mask_loss is None else mask_loss
        self.mask_weight, self.iou_weight = mask_weight, iou_weight
        self.presence_weight, self.prompted_weight = presence_weight, prompted_weight
        self.latest: dict[str, float] = {}

    def forward(self, pred: Mapping[str, Any], target: Mapping[str, Tensor]) -> Tensor:
        """Compute the loss.

        Args:
            pred: ``masks`` logits ``(B, S, h, w)``; ``iou`` ``(B, S)`` in [0, 1]; ``presence`` logits ``(B, S)``; and,
                with prompts, ``prompted``: ``masks`` ``(B, M, h, w)`` and ``iou`` ``(B, M)`` of M candidates.
            target: ``label`` ``(B, S, H, W)`` and ``valid`` ``(B, 1, H, W)``; with prompts ``prompted_label``
                ``(B, 1, H, W)``, the structure that each prompt means. With :data:`KNOWN`, a structure that is not
                known in a frame has an empty label and no loss there.
        """
        _require(pred, "pred", ["masks", *["iou"] * bool(self.iou_weight), *["presence"] * bool(self.presence_weight)])
        _require(target, "target", ["label", "valid", *["prompted_label"] * ("prompted" in pred)])
        with torch.autocast(pred["masks"].device.type, enabled=False):
            terms = self._automatic(pred, target)
            if "prompted" in pred:
                terms |= self._prompted(pred["prompted"], target)
        factors = {
            "mask": self.mask_weight,
            "iou": self.iou_weight,
            "presence": self.presence_weight,
            "prompted_mask": self.mask_weight * self.prompted_weight,
            "prompted_iou": self.iou_weight * self.prompted_weight,
        }
        values = torch.stack(list(terms.values()))
        self.latest = {f"loss/{name}": value for name, value in zip(terms, values.tolist(), strict=True)}
        return (values * values.new_tensor([factors[name] for name in terms])).sum()

    def _automatic(self, pred: Mapping[str, Any], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        logits = as_float32(pred["masks"])
        label, valid = match_grid(target["label"], target["valid"], logits)
        pixel, dice, present = self.mask_loss.parts(logits, label, valid)
        known = target.get(KNOWN, torch.ones_like(present))
        terms = {"mask": self.mask_loss.mean(pixel, dice, present, known)}
        if self.iou_weight:
            terms["iou"] = iou_loss(as_float32(pred["iou"]), logits, label, valid)
        if self.presence_weight:
            presence = F.binary_cross_entropy_with_logits(as_float32(pred["presence"]), present, reduction="none")
            terms["presence"] = masked_mean(presence, known)
        return terms

    def _prompted(self, pred: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        _require(pred, "pred['prompted']", ["masks", *["iou"] * bool(self.iou_weight)])
        logits = as_float32(pred["masks"])
        label, valid = match_grid(target["prompted_label"], target["valid"], logits)
        label = label.expand_as(logits)
        pixel, dice, present = self.mask_loss.parts(logits, label, valid)
        candidates = self.mask_loss.pixel_weight * pixel + self.mask_loss.dice_weight * dice * present  # (B, M)
        terms = {"prompted_mask": candidates.amin(dim=1).mean()}
        if self.iou_weight:
            terms["prompted_iou"] = iou_loss(as_float32(pred["iou"]), logits, label, valid)
        return terms


class RetainedLoss(nn.Module):
    """Segmentation loss + weight · distillation loss, so that a student that is fine-tuned keeps what teachers taught.

    After each call ``latest`` holds the terms of both as plain floats; the names of the two never meet.
    """

    def __init__(self, segmentation: SegmentationLoss, distillation: DistillationLoss, weight: float) -> None:
        super().__init__()
        if weight <= 0:
            raise ValueError(f"weight must be positive, got {weight}: to train without teachers, leave the overlay out")
        self.segmentation, self.distillation, self.weight = segmentation, distillation, weight
        self.latest: dict[str, float] = {}

    def forward(self, pred: Mapping[str, Any], target: Mapping[str, Any]) -> Tensor:
        """Arguments are what both losses need; the target of phase 1 is under ``distillation``."""
        segmentation = self.segmentation(pred, target)
        distillation = self.distillation(pred, target[DISTILLATION])
        self.latest = {**self.segmentation.latest, **self.distillation.latest}
        return segmentation + self.weight * distillation


def match_grid(label: Tensor, valid: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Average label and validity over the area of each of the logits' cells; padding does not dilute a label.

    Returns:
        Label ``(B, S, h, w)``, a share of each cell's image content, and valid ``(B, 1, h, w)``, that content's share.
    """
    channels = label.shape[1]
    if label.ndim != 4 or label.shape[0] != logits.shape[0] or channels not in (1, logits.shape[1]):
        raise ValueError(f"label {tuple(label.shape)} must hold one mask per mask of pred {tuple(logits.shape)}")
    if valid.shape != (label.shape[0], 1, *label.shape[2:]):
        raise ValueError(f"valid must be {(label.shape[0], 1, *label.shape[2:])} like label, got {tuple(valid.shape)}")
    if label.shape[2] < logits.shape[2] or label.shape[3] < logits.shape[3]:
        raise ValueError(f"label {tuple(label.shape)} must be at least as fine as the masks {tuple(logits.shape)}")
    label, valid = as_float32(label), as_float32(valid)
    if label.shape[2:] == logits.shape[2:]:
        return label, valid
    coverage = F.interpolate(valid, logits.shape[2:], mode="area")
    content = F.interpolate(label * valid, logits.shape[2:], mode="area")
    return content / coverage.clamp_min(1e-6), coverage


def is_present(label: Tensor, valid: Tensor) -> Tensor:  # (B, S, h, w), (B, 1, h, w) -> (B, S) of 0 or 1
    """Whether a mask has any pixel within the image."""
    return ((label * valid).amax(dim=(2, 3)) > 0).float()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:  # (B, S), (B, S) -> ()
    """Mean of the values where the mask is 1, over the frames of all processes; 0 where it never is."""
    total, count = mean_over_ranks(torch.stack([(values * mask).sum(), mask.sum()]))
    return total / count.clamp_min(1 / world_size())


def iou_loss(iou: Tensor, logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:  # (B, S), 3 x (B, S, h, w) -> ()
    """Squared error of estimated IoU against that of the masks at probability 0.5, over present structures."""
    with torch.no_grad():
        inside = valid > 0.5
        pred, truth = (logits > 0) & inside, (label > 0.5) & inside
        union = (pred | truth).sum(dim=(2, 3))
        actual = (pred & truth).sum(dim=(2, 3)) / union.clamp_min(1)
    return masked_mean(F.mse_loss(iou, actual, reduction="none"), is_present(label, valid))


def _require(entries: Mapping[str, Any], what: str, names: list[str]) -> None:
    missing = [name for name in names if name not in entries]
    if missing:
        raise ValueError(
            f"{what} must hold {names}, got {list(entries)}: a network without {missing} needs their weight set to 0"
        )
