"""The MONAI Label app itself: what it offers, where its images and models are, and what it refuses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.config import settings as label_settings
from monailabel.datastore.dicom import DICOMwebClientX
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from bundle.annotation.datastores import PacsDatastore, StudyFolder
from bundle.annotation.images import ImageCache, Proposals, content_key
from bundle.annotation.infer_tasks import AutoTask, ClickTask, PropagateTask, SegmentationTask
from bundle.annotation.model_store import ModelStore
from bundle.annotation.options import AppOptions
from bundle.annotation.refusals import RefusedRequestError, check_plain_name
from bundle.annotation.served_model import ServedModel
from bundle.annotation.strategies import NEW_SCORES, Findings, NextImage, by_chance
from bundle.annotation.trainer import FineTuneTask


class AnnotationApp(MONAILabelApp):
    """Automatic masks, clicks, propagation, training and the choice of the next image."""

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.options = AppOptions.from_json(conf["options"])
        self.images = ImageCache()
        self.store = ModelStore(Path(self.options.work_dir), Path(self.options.model))
        self.model = ServedModel(self.store.served, Path(self.options.memory), self.options.cache_megabytes)
        self.proposals = Proposals(self.store.folder / "proposals", self.model.structures)
        self.fine_tuning = FineTuneTask(self.store, self.images)
        super().__init__(
            app_dir,
            studies,
            dict(conf),
            name="VFSS annotation",
            description="Structures of videofluoroscopic swallowing studies; research use only",
            labels={name: value for value, name in enumerate(self.model.structures, start=1)},
        )

    def init_datastore(self) -> Datastore:
        """A folder, or a PACS."""
        parts = (self.model.structures, self.images, self.proposals)
        if not self.studies.startswith(("http://", "https://")):
            return StudyFolder(self.studies, *parts)
        client = DICOMwebClientX(url=self.studies.rstrip("/"))
        cache = str(self.store.folder / "dicomweb")
        return PacsDatastore(client, label_settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER, cache, *parts)

    def init_infers(self) -> dict[str, SegmentationTask]:
        """``auto``, ``click`` and ``propagate``."""
        tasks = {"auto": AutoTask, "click": ClickTask, "propagate": PropagateTask}
        return {name: task(self.images, self.model, self.proposals) for name, task in tasks.items()}

    def init_trainers(self) -> dict[str, FineTuneTask]:
        """``auto`` alone: its model is the others', too."""
        return {"auto": self.fine_tuning}

    def init_strategies(self) -> dict[str, NextImage]:
        """``first``, ``random`` and ``uncertainty``."""

        def read(path: str) -> float:
            self.images.get(path)
            return 0.0

        def doubt(path: str) -> float:
            return self.model.uncertainty(self.images.get(path))

        def version(path: str) -> object:
            return content_key(Path(path)), self.model.version

        readable, doubts = Findings(read, lambda path: content_key(Path(path))), Findings(doubt, version)
        return {
            "first": NextImage("The first image without a label, by name", sorted, readable),
            "random": NextImage("Any image without a label", by_chance, readable),
            "uncertainty": NextImage("The image on which the model doubts most", sorted, doubts, NEW_SCORES),
        }

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer a request for masks; an image is named by its id, or was sent with a session."""
        datastore = datastore or self.datastore()
        task = self._infers.get(request.get("model"))
        if task is None:
            raise RefusedRequestError(f"model must be one of {sorted(self._infers)}, got another", status=404)
        file, said = task({**request, "image": self._image_path(request, datastore)})
        label = file
        if request.get("save_label") and "session" not in request:
            label = datastore.save_label(request["image"], file, DefaultLabelTag.ORIGINAL, {"model": request["model"]})
        return {"label": label, "tag": DefaultLabelTag.ORIGINAL.value, "file": file, "params": said}

    def batch_infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Label many images, as a beginning: what is said of each, or why it could not be labeled."""
        datastore = datastore or self.datastore()
        answers: dict[str, Any] = {}
        for image in _images_of(request, datastore):
            try:
                answers[image] = self.infer({**request, "image": image, "save_label": True}, datastore)
                Path(answers[image].pop("file")).unlink(missing_ok=True)
            except RefusedRequestError as error:
                answers[image] = {"error": str(error)}
        reasons = [answer["error"] for answer in answers.values() if "error" in answer]
        if reasons and len(reasons) == len(answers):
            raise RefusedRequestError(f"none of {len(answers)} images could be labeled; the first: {reasons[0]}")
        return answers

    def on_save_label(self, image_id: str, _label_id: str) -> dict[str, Any]:
        """What the annotator is told of a label that was saved."""
        info = self.datastore().get_label_info(image_id, DefaultLabelTag.FINAL)
        return {key: info[key] for key in ("frames", "taken_as_absent", "origins") if key in info}

    def check_training(self, request: Mapping[str, Any]) -> None:
        """Refuse a training that cannot begin, before it is sent to a process of its own."""
        if request.get("model") not in self._trainers:
            raise RefusedRequestError(f"model must be one of {sorted(self._trainers)}, got another", status=404)
        self.fine_tuning.check(request, self.datastore())

    def check_batch(self, request: Mapping[str, Any]) -> None:
        """Refuse to label many images if one of them, or the model, is not there."""
        if request.get("model") != "auto":
            raise RefusedRequestError("many images are labeled by the model auto alone, got another", status=404)
        if request.get("label_tag", DefaultLabelTag.ORIGINAL) != DefaultLabelTag.ORIGINAL:
            raise RefusedRequestError("label_tag must be original: what nobody has seen is not final")
        most = request.get("max_batch_size", 0)
        if type(most) is not int or most < 0:
            raise RefusedRequestError("max_batch_size must be a whole number from 0, which is all")
        images = _images_of(request, self.datastore())
        unknown = set(images) - set(self.datastore().list_images())
        if unknown:
            raise RefusedRequestError(f"there are no images of {len(unknown)} of the {len(images)} names", status=404)

    def promote(self, is_forced: bool = False) -> dict[str, Any]:
        """Serve what training has made; see :meth:`FineTuneTask.promote`."""
        return self.fine_tuning.promote(self.datastore(), is_forced)

    def undo_promotion(self) -> dict[str, Any]:
        """Serve what was served before the last promotion."""
        self.store.undo_promotion()
        return {"undone": True}

    def _image_path(self, request: Mapping[str, Any], datastore: Datastore) -> str:
        """The file of an id in the datastore; a path is taken from a session of this server only."""
        image = request.get("image")
        if "session" in request:
            sent = Path(str(image)).resolve()
            if not sent.is_relative_to(Path(self.sessions().store_path).resolve()):
                raise RefusedRequestError("a session's image must be one that was sent to this server", status=400)
            return str(sent)
        name = check_plain_name(image, "image")
        if name not in datastore.list_images():
            raise RefusedRequestError("there is no image of that name", status=404)
        return datastore.get_image_uri(name)

    def model_file(self, model: str, validate: bool = True) -> None:
        """None: weights are neither sent nor taken in over HTTP."""

    def infer_wsi(self, _request: dict[str, Any], _datastore: Datastore | None = None) -> dict[str, Any]:
        """Refused: for pathology."""
        raise RefusedRequestError("whole slides are not annotated here", status=404)

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The next image to annotate, by a strategy."""
        strategy = self._strategies.get(request.get("strategy"))
        if strategy is None:
            raise RefusedRequestError(f"strategy must be one of {sorted(self._strategies)}, got another", status=404)
        return strategy(request, self.datastore()) or {}


def _images_of(request: Mapping[str, Any], datastore: Datastore) -> list[str]:
    """The images that are to be labeled at once."""
    images = request.get("images", "all")
    kinds = {
        "all": datastore.list_images,
        "labeled": datastore.get_labeled_images,
        "unlabeled": datastore.get_unlabeled_images,
    }
    if isinstance(images, str) and images in kinds:
        images = sorted(kinds[images]())
    if not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
        raise RefusedRequestError("images must be a list of images, or all, labeled or unlabeled, and not empty")
    return images[: request.get("max_batch_size") or None]
