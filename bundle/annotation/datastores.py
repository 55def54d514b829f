"""Where images and labels are: a folder, or a PACS through DICOMweb. Labels are checked on their way in."""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import LabelNotFoundException
from pydicom import dcmread

from bundle.annotation.images import ImageCache, Proposals, StudyImage
from bundle.annotation.label_maps import LABEL_SUFFIXES, Annotation, read_annotation, suffix_of, write_annotation
from bundle.annotation.refusals import RefusedRequestError, check_plain_name
from bundle.annotation.served_model import BUNDLE
from bundle.atomic import atomic_path, write_text
from bundle.data.kinds import READABLE_SUFFIXES
from bundle.data.sources import ANNOTATION_RECORD, find_sources, own_files
from bundle.inference.dicom_seg import SegmentOrigin, TooLongForSegError, write_dicom_seg
from bundle.inference.dicom_source import NoDicomSourceError
from bundle.inference.study import SegmentedStudy

ANNOTATOR = "client_id"  # what MONAI Label's clients, 3D Slicer among them, call their user by. Nobody checks it.
OWN_NAMES = (ANNOTATION_RECORD, ".lock", "labels")  # MONAI Label's, beside the images
logger = logging.getLogger(__name__)
TAGS = tuple(tag.value for tag in DefaultLabelTag)


class AcceptedLabel(NamedTuple):
    """A label that an annotator has sent, with our values."""

    path: Path
    annotation: Annotation
    image: StudyImage
    info: dict[str, Any]
    origins: dict[str, SegmentOrigin]


class StudyFolder(LocalDatastore):
    """A folder of images, with the annotators' labels in its subfolder ``labels``."""

    def __init__(self, folder: str, structures: Sequence[str], images: ImageCache, proposals: Proposals) -> None:
        self.structures, self.images, self.proposals = tuple(structures), images, proposals
        self._left_out: list[str] = []
        # The longer suffix last: MONAI Label takes the last one that fits.
        suffixes = sorted({*READABLE_SUFFIXES, *LABEL_SUFFIXES}, key=len)
        # Without MONAI Label's watching thread: while it brings its list up to date, the list is empty for others.
        super().__init__(folder, extensions=[f"*{suffix}" for suffix in suffixes], auto_reload=False)

    def list_images(self) -> list[str]:
        """Every image that is in the folder now."""
        self.refresh()
        return super().list_images()

    def get_unlabeled_images(self, *args: Any) -> list[str]:
        """Every image that is in the folder now and has no final label."""
        self.refresh()
        return super().get_unlabeled_images(*args)

    def _update_datastore_file(self, lock: bool = True) -> None:
        keep_list(self, lock)

    def _list_files(self, path: str, patterns: Sequence[str]) -> dict[str, str]:
        """MONAI Label's list of labels, and our own of images."""
        if Path(path).resolve() != Path(self._datastore.image_path()).resolve():
            return super()._list_files(path, patterns)
        sources = find_sources(path, is_deep=False)
        images = {file.name: file.name for file in sources.files if sources.kind(file) is not None}
        self._tell(sources.left_out.without(OWN_NAMES).lines())
        ids = [self._to_id(name)[0] for name in images]
        repeated = sorted({name for name in ids if ids.count(name) > 1})
        if repeated:
            raise ValueError(
                f"{len(repeated)} images have a namesake with another suffix, such as {repeated[0]!r}: rename one"
            )
        return images

    def _to_id(self, file: str) -> tuple[str, str]:
        """Id and suffix; DICOM without a suffix of its own, such as a name made of its UID, has its whole name."""
        has_suffix = file.lower().endswith((*READABLE_SUFFIXES, *LABEL_SUFFIXES))
        return super()._to_id(file) if has_suffix else (file, "")

    def _tell(self, left_out: list[str]) -> None:
        """Log what is left out, whenever that changes."""
        for line in left_out if left_out != self._left_out else ():
            logger.warning(line)
        self._left_out = left_out

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take in an image that was sent, if it can be read and its name is new."""
        name, suffix = self._to_id(Path(image_filename).name)
        image_id = check_plain_name(image_id or name, "image")
        if image_id in self.list_images():
            raise RefusedRequestError("there is an image of that name: remove it, or choose another name", status=409)
        if suffix.lower() not in READABLE_SUFFIXES:
            raise RefusedRequestError(f"an image file must be one of {', '.join(READABLE_SUFFIXES)}, got another")
        self.images.get(image_filename)
        with atomic_path(Path(self._datastore.image_path()) / f"{image_id}{suffix}") as temporary:
            shutil.copyfile(image_filename, temporary)
        self.refresh()
        self.update_image_info(image_id, image_info)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label."""
        if not self.get_label_uri(label_id, label_tag):
            raise LabelNotFoundException(f"no label {label_tag}")
        super().remove_label(label_id, label_tag)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label with our values, whatever the viewer's were."""
        with accepted_label(self, image_id, label_filename, label_tag, label_info) as label:
            return keep_label(self, image_id, label, label_tag)


class PacsDatastore(DICOMWebDatastore):
    """A PACS: images through DICOMweb, final labels written back as DICOM Segmentations."""

    def __init__(
        self,
        client: Any,
        search_filter: Mapping[str, Any],
        cache_path: str,
        structures: Sequence[str],
        images: ImageCache,
        proposals: Proposals,
    ) -> None:
        self.structures, self.images, self.proposals = tuple(structures), images, proposals
        super().__init__(client, dict(search_filter), cache_path, convert_to_nifti=False)
        self._extensions = [f"*{suffix}" for suffix in sorted(LABEL_SUFFIXES, key=len)]

    def get_image_uri(self, image_id: str) -> str:
        """The downloaded series: its file if it is a single one, else its folder."""
        check_plain_name(image_id, "image")
        if image_id not in self.list_images():
            raise RefusedRequestError("the PACS has no such series among the ones that are searched for", status=404)
        folder = Path(super().get_image_uri(image_id))
        files = own_files(folder)
        return str(files[0] if len(files) == 1 else folder)

    def get_label_uri(self, label_id: str, label_tag: str, _image_id: str = "") -> str:
        """The label as it was sent here; those that others have put into the PACS are not fetched."""
        return LocalDatastore.get_label_uri(self, label_id, label_tag)

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], _label_id: str = ""
    ) -> str:
        """Keep a label here, and if it is final send it to the PACS as DICOM SEG."""
        with accepted_label(self, image_id, label_filename, label_tag, label_info) as label:
            if label_tag == DefaultLabelTag.FINAL:
                label.info["SeriesInstanceUID"] = self._send(label)
            self._datastore.objects.setdefault(image_id, ImageLabelModel(image=DataModel()))
            return keep_label(self, image_id, label, label_tag)

    def add_image(self, _image_id: str, _image_filename: str, _image_info: dict[str, Any]) -> str:
        """Refused: images are the PACS's."""
        raise RefusedRequestError("images come from the PACS: store it there", status=409)

    def remove_image(self, _image_id: str) -> None:
        """Refused: images are the PACS's."""
        raise RefusedRequestError("images are in the PACS: remove it there", status=409)

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label that is not final; a final one is in the PACS."""
        if label_tag == DefaultLabelTag.FINAL:
            raise RefusedRequestError("final labels are in the PACS: remove it there", status=409)
        if not self.get_label_uri(label_id, label_tag):
            raise LabelNotFoundException(f"no label {label_tag}")
        super().remove_label(label_id, label_tag)

    def _send(self, label: AcceptedLabel) -> str:
        """Write the SEG, with the patient that the PACS files by, and store it; gives its series."""
        clip, path = label.image.clip, label.path.with_name("label.dcm")
        masks = label.annotation.masks(range(clip.num_frames), len(self.structures))
        origins = [label.origins[name] for name in self.structures]
        creator = str(label.info.get(ANNOTATOR) or "")
        try:
            write_dicom_seg(SegmentedStudy(masks, clip, self.structures, BUNDLE), path, True, origins, creator)
        except (NoDicomSourceError, TooLongForSegError) as error:
            raise RefusedRequestError(str(error)) from None
        dataset = dcmread(path)
        answer = self._client.store_instances([dataset])
        if answer.get("FailedSOPSequence"):
            raise RefusedRequestError("the PACS has not taken the segmentation; nothing was saved", status=502)
        return str(dataset.SeriesInstanceUID)

    def datalist(self, _full_path: bool = True) -> list[dict[str, Any]]:
        """Images and final labels that were made here."""
        final = DefaultLabelTag.FINAL
        labeled = self._datastore.filter_by_tag(final)
        return [{"image": self.get_image_uri(image), "label": self.get_label_uri(image, final)} for image in labeled]

    def _update_datastore_file(self, lock: bool = True) -> None:
        keep_list(self, lock)

    def _remove_non_existing(self) -> int:
        """Nothing: images are in the PACS, and their files here come and go."""
        return 0

    def _add_non_existing_images(self) -> int:
        return 0


@contextmanager
def accepted_label(
    store: StudyFolder | PacsDatastore, image_id: str, file: str, label_tag: str, label_info: Mapping[str, Any]
) -> Iterator[AcceptedLabel]:
    """Check a label that was sent, and give it with our values, in a file that lasts as long as the block."""
    if image_id not in store.list_images():
        raise RefusedRequestError("there is no image of that name to be labeled", status=404)
    if label_tag not in TAGS:
        raise RefusedRequestError(f"tag must be one of {', '.join(TAGS)}, got another", status=400)
    image = store.images.get(store.get_image_uri(image_id))
    annotation = read_annotation(Path(file), image.grid, store.structures, label_info.get("label_info"))
    info = describe_label(annotation, image, store.structures, label_info, label_tag)
    origins = store.proposals.origins(image, annotation, info["frames"])
    info["origins"] = {name: {"kind": origin.kind, "model": origin.model} for name, origin in origins.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"label{suffix_of(file)}"
        write_annotation(annotation, image.grid, store.structures, path)
        yield AcceptedLabel(path, annotation, image, info, origins)


def keep_label(store: StudyFolder | PacsDatastore, image_id: str, label: AcceptedLabel, tag: str) -> str:
    """MONAI Label's ``save_label``, but the file and the list take the old ones' place whole, or not at all."""
    suffix, labels = suffix_of(label.path.name), store._datastore.objects[image_id].labels
    folder, before = Path(store._datastore.label_path(tag)), labels.get(tag)
    path = folder / f"{image_id}{suffix}"
    with FileLock(store._lock_file), atomic_path(path) as temporary:
        shutil.copyfile(label.path, temporary)
        labels[tag] = DataModel(info={**label.info, "ts": int(time.time()), "name": path.name}, ext=suffix)
        try:
            store._update_datastore_file(lock=False)
        except OSError:
            labels.pop(tag)
            labels.update({tag: before} if before else {})
            raise
    if before is not None and before.ext != suffix:
        (folder / f"{image_id}{before.ext}").unlink(missing_ok=True)
    return image_id


def keep_list(store: StudyFolder | PacsDatastore, lock: bool) -> None:
    """MONAI Label's list of images and labels, in place of the old one as a whole."""
    path = Path(store._datastore_config_path)
    with FileLock(store._lock_file) if lock else nullcontext():
        store._ignore_event_config = True
        write_text(path, json.dumps(store._datastore.model_dump(exclude={"base_path"}), indent=2, default=str))
        store._config_ts = path.stat().st_mtime


def describe_label(
    annotation: Annotation, image: StudyImage, structures: Sequence[str], label_info: Mapping[str, Any], label_tag: str
) -> dict[str, Any]:
    """What is kept with a label: its frames, and what is in them, by name and by our value.

    Without ``frames`` in what the viewer sent, those count as labeled in which anything is.
    """
    frames = label_info.get("frames")
    if frames is None:
        frames = annotation.labeled_frames()
    elif not isinstance(frames, list) or not frames:
        raise RefusedRequestError("frames must be a list of the frames that were labeled")
    frames = sorted({image.check_frame(frame) for frame in frames})
    if not frames and label_tag == DefaultLabelTag.FINAL:
        raise RefusedRequestError("the label is empty: name the frames in which nothing is to be seen, as frames")
    present = annotation.present(structures, frames)
    return {
        **label_info,
        "frames": frames,
        "label_info": [{"name": name, "idx": value} for name, value in present.items()],
        "taken_as_absent": [name for name in structures if name not in present],
    }
