"""MONAI Label's training task: fine-tunes from the annotators' labels, and leaves the served model as it is."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.train import TrainTask

from bundle.annotation.fine_tuning import (
    TRAINING_OPTIONS,
    HeldOutPatients,
    LabeledImage,
    check_sections,
    fine_tune,
    mean_dice,
    sections_of,
    training_options,
    write_label_datalist,
)
from bundle.annotation.images import ImageCache
from bundle.annotation.model_store import ModelStore
from bundle.annotation.refusals import RefusedRequestError
from bundle.deidentify.pseudonyms import Pseudonyms, read_or_make_key
from bundle.export.model_card import read_model_card


class FineTuneTask(TrainTask):
    """Training and promotion."""

    def __init__(self, store: ModelStore, images: ImageCache) -> None:
        super().__init__("Fine-tune on the final labels; what is served changes by promotion only")
        self.store, self.images = store, images
        pseudonyms = Pseudonyms(read_or_make_key(store.folder / "pseudonyms.key"))
        self.held_out = HeldOutPatients(store.folder / "held_out_patients.json", pseudonyms)

    def config(self) -> dict[str, Any]:
        """Options and their defaults."""
        return dict(TRAINING_OPTIONS)

    def stats(self) -> dict[str, Any]:
        """Whether there is a candidate, and what was promoted."""
        return {"has_candidate": self.store.candidate.is_file(), "promotions": self.store.history()}

    def check(self, request: Mapping[str, Any], datastore: Datastore) -> None:
        """Refuse at once what a training would stop at."""
        training_options(request)
        labeled = labeled_images(datastore)
        gone = [item for item in labeled if not (item.image.exists() and item.label.is_file())]
        if gone:
            raise RefusedRequestError(f"of {len(gone)} labeled images the image or the label file is gone", status=409)
        check_sections(sections_of(labeled, self.held_out))

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train a candidate from the served model."""
        # MONAI Label has added names of its own to what was checked.
        options = training_options({name: request[name] for name in TRAINING_OPTIONS if name in request})
        run = self.store.folder / "trainings" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        labeled = labeled_images(datastore)
        served = self.store.served()
        structures = read_model_card(served)["structures"]
        datalist = write_label_datalist(labeled, structures, self.held_out, run / "labels", self.images)
        weights = fine_tune(datalist, served, run / "run", options)
        self.store.offer(weights)
        return {"candidate": True, "labeled_images": len(labeled)}

    def promote(self, datastore: Datastore, is_forced: bool = False) -> dict[str, Any]:
        """Serve the candidate, if forced or no worse than the served model on the held-out patients' labels."""
        if not self.store.candidate.is_file():
            raise RefusedRequestError("there is no candidate model: train first", status=409)
        labeled = [item for _, item in sections_of(labeled_images(datastore), self.held_out)["validation"]]
        served, candidate = self.store.served(), self.store.candidate
        if read_model_card(candidate)["structures"] != read_model_card(served)["structures"]:
            raise RefusedRequestError("the candidate has other structures than the served model: train again", 409)
        scores = {
            "served_mean_dice": mean_dice(served, labeled, self.images),
            "candidate_mean_dice": mean_dice(candidate, labeled, self.images),
            "held_out_images": len(labeled),
            "forced": is_forced,
        }
        if scores["candidate_mean_dice"] < scores["served_mean_dice"] and not is_forced:
            raise RefusedRequestError(
                f"not promoted: on {len(labeled)} held-out images the candidate's mean Dice is "
                f"{scores['candidate_mean_dice']:.4f}, the served model's {scores['served_mean_dice']:.4f}; "
                "force=true serves it all the same",
                status=409,
            )
        self.store.promote(scores)
        return {"promoted": True, **scores}


def labeled_images(datastore: Datastore) -> list[LabeledImage]:
    """Images with a final label that names its frames, the longest labeled first."""
    found = []
    for image in datastore.list_images():
        if not datastore.get_labels_by_image_id(image).get(DefaultLabelTag.FINAL):
            continue
        info = datastore.get_label_info(image, DefaultLabelTag.FINAL)
        if not info.get("frames"):
            continue  # put into the folder by hand
        label = Path(datastore.get_label_uri(image, DefaultLabelTag.FINAL))
        item = LabeledImage(Path(datastore.get_image_uri(image)), label, tuple(info["frames"]))
        found.append((info.get("ts", 0), image, item))
    return [item for _, _, item in sorted(found, key=lambda entry: entry[:2])]
