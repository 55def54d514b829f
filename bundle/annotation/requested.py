"""What a viewer asks for, as prompts: 3D Slicer's and OHIF's parameters, and a few of our own."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bundle.annotation.images import StudyImage
from bundle.annotation.refusals import RefusedRequestError
from bundle.segmentation.prompting import Prompt

RequestParams = Mapping[str, Any]
LARGEST = 1e6  # of a coordinate, far outside every image


def json_object(text: str) -> dict[str, Any]:
    """A JSON object that came as text in a form."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RefusedRequestError("params must be a JSON object", status=400)
    return value


def requested_frames(request: RequestParams, image: StudyImage) -> list[int]:
    """The frame that ``slice`` names, or every frame."""
    frame = request.get("slice")
    return list(range(image.clip.num_frames)) if frame in (None, -1) else [image.check_frame(frame)]


def click_prompt(request: RequestParams, image: StudyImage, structures: Sequence[str]) -> Prompt:
    """Points and a box on one frame, for one structure.

    ``label`` names the structure; ``foreground`` and ``background`` are points ``[x, y]`` or ``[x, y, frame]``; ``box``
    is ``[left, top, right, bottom]``, or ``roi`` 3D Slicer's ``[x, x, y, y, frame, frame]``; ``slice`` is the frame.
    """
    prompts = all_prompts(request, image, structures)
    if len(prompts) != 1:
        frames = [prompt.frame for prompt in prompts]
        raise RefusedRequestError(f"click takes points or a box on one frame, got prompts on frames {frames}")
    return prompts[0]


def all_prompts(request: RequestParams, image: StudyImage, structures: Sequence[str]) -> list[Prompt]:
    """Prompts on any frames: of one structure, or of several as entries of ``prompts``, each as for a click."""
    entries = request.get("prompts") or [request]
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise RefusedRequestError('prompts must be a list of {"label": ..., "slice": ..., "foreground": ...}')
    return [prompt for entry in entries for prompt in _prompts_of(entry, image, structures)]


def structure_name(name: object, structures: Sequence[str]) -> str:
    """The name, if it is a structure's."""
    if name not in structures:
        raise RefusedRequestError(f"label must be one of {list(structures)}, got {str(name)[:40]!r}")
    return str(name)


def _prompts_of(entry: RequestParams, image: StudyImage, structures: Sequence[str]) -> list[Prompt]:
    structure = structure_name(entry.get("label"), structures)
    default = entry.get("slice")
    if default in (None, -1):
        default = 0 if image.clip.num_frames == 1 else None
    points = [(point, 1) for point in _points(entry.get("foreground"), "foreground")]
    points += [(point, 0) for point in _points(entry.get("background"), "background")]
    box, box_frame = _box(entry)
    frames = [_frame_of(point, default, image) for point, _ in points]
    of_box = image.check_frame(box_frame if default is None else default) if box else None
    prompted = sorted({*frames, *([] if of_box is None else [of_box])})
    if not prompted:
        raise RefusedRequestError("give at least one point in foreground or background, or a box")
    prompts = []
    for frame in prompted:
        there = [(point, label) for (point, label), at in zip(points, frames, strict=True) if at == frame]
        places, labels = [(point[0], point[1]) for point, _ in there], [label for _, label in there]
        try:
            prompt = Prompt(structure, frame, places, labels, box if frame == of_box else None)
            prompt.check(structures, image.clip.num_frames, image.clip.shape.rows, image.clip.shape.columns)
        except ValueError as error:
            raise RefusedRequestError(str(error)) from None
        prompts.append(prompt)
    return prompts


def _points(value: object, name: str) -> list[list[float]]:
    points = value or []
    if not isinstance(points, list) or not all(_is_numbers(point, (2, 3)) for point in points):
        raise RefusedRequestError(f"{name} must be a list of points [x, y] or [x, y, frame]")
    return points


def _box(entry: RequestParams) -> tuple[tuple[float, float, float, float] | None, int | None]:
    """Left, top, right and bottom, and the frame where it says one."""
    if box := entry.get("box"):
        if not _is_numbers(box, (4,)):
            raise RefusedRequestError("box must be [left, top, right, bottom]")
        return (box[0], box[1], box[2], box[3]), None
    if roi := entry.get("roi"):
        if not _is_numbers(roi, (6,)):
            raise RefusedRequestError("roi must be [x, x, y, y, frame, frame]; a box on a frame is named box")
        (left, right), (top, bottom) = sorted(roi[:2]), sorted(roi[2:4])
        return (left, top, right, bottom), round((roi[4] + roi[5]) / 2)
    return None, None


def _frame_of(point: Sequence[float], default: int | None, image: StudyImage) -> int:
    if len(point) == 2 and default is None:
        raise RefusedRequestError("on which frame? give slice, or points [x, y, frame]")
    frame = image.check_frame(int(point[2]) if len(point) == 3 else default)
    if default is not None and frame != default:
        raise RefusedRequestError(f"points must be on the frame that slice names, {default}, got one on {frame}")
    return frame


def _is_numbers(value: object, lengths: tuple[int, ...]) -> bool:
    return isinstance(value, list) and len(value) in lengths and all(_is_number(number) for number in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST  # NaN is not either
