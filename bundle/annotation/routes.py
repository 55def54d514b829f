"""MONAI Label's addresses that take something in, with checks before they answer; and two of our own, for promotion."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.background import BackgroundTasks
from monailabel.config import settings
from monailabel.endpoints import batch_infer, datastore, infer, session, train
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from bundle.annotation.refusals import RefusedRequestError
from bundle.annotation.requested import json_object

router = APIRouter()
# As MONAI Label's own: coroutines that wait for nothing, so that one request at a time changes images and models.

AnyUser = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
Admin = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]
Params = Annotated[str, Form()]
Options = dict[str, Any] | None


@router.post("/infer/{model}")
async def run_inference(
    background_tasks: BackgroundTasks,
    model: str,
    _user: AnyUser,
    image: str = "",
    session_id: str = "",
    params: Params = "{}",
    output: infer.ResultType | None = None,
) -> Any:
    """Masks of an image of the datastore, or of one that was sent with a session."""
    json_object(params)
    if output == infer.ResultType.dicom_seg:
        raise RefusedRequestError("a DICOM SEG is made when a final label is saved: ask for image, json or all")
    if not image and not session_id:
        raise RefusedRequestError("name an image, or a session_id", status=400)
    if session_id and app_instance().sessions().get_session(session_id) is None:
        raise RefusedRequestError("there is no such session: send the image again", status=404)
    return infer.run_inference(background_tasks, model, image, session_id, params, None, None, output)


@router.put("/datastore/label")
async def save_label(
    background_tasks: BackgroundTasks,
    user: Annotator,
    image: str,
    label: Annotated[UploadFile, File()],
    params: Params = "{}",
    tag: str = "final",
) -> Any:
    """Keep a label."""
    json_object(params)
    return datastore.save_label(background_tasks, image, params, tag, label, user.username)


@router.put("/datastore/", include_in_schema=False)
@router.put("/datastore/image")
async def add_image(
    background_tasks: BackgroundTasks,
    user: Annotator,
    file: Annotated[UploadFile, File()],
    image: str | None = None,
    params: Params = "{}",
) -> Any:
    """Take an image in."""
    json_object(params)
    return datastore.add_image(background_tasks, image, params, file, user.username)


@router.post("/train/", include_in_schema=False)
async def run_all_trainings(user: Admin, params: Options = None, run_sync: bool = False) -> Any:
    """Train the one model that there is; options are those of ``auto``."""
    return await run_training("auto", user, (params or {}).get("auto", params), run_sync)


@router.post("/train/{model}")
async def run_training(
    model: str, _user: Admin, params: Options = None, run_sync: bool = False, enqueue: bool = False
) -> Any:
    """Train, if there are labels enough and the options can be."""
    request = _request(model, params)
    app_instance().check_training(request)
    return train.run_model(model, request, run_sync, enqueue)


@router.post("/batch/infer/{model}")
async def run_batch(
    model: str,
    _user: Admin,
    images: batch_infer.BatchInferImageType = batch_infer.BatchInferImageType.IMAGES_ALL,
    params: Options = None,
    run_sync: bool = False,
) -> Any:
    """Label many images, as a beginning."""
    request = {"images": images.value, **_request(model, params)}
    app_instance().check_batch(request)
    return batch_infer.run(model, images, request, run_sync)


@router.delete("/train/")
async def stop_training(_user: Admin) -> Any:
    """Stop the training that runs."""
    return _stopped(train.stop(), "training")


@router.delete("/batch/infer")
async def stop_batch(_user: Admin) -> Any:
    """Stop labeling many images."""
    return _stopped(batch_infer.stop(), "labeling of many images")


@router.put("/session/")
async def begin_session(
    background_tasks: BackgroundTasks, _user: AnyUser, files: Annotated[list[UploadFile], File()], expiry: int = 0
) -> Any:
    """Take in an image that is not the datastore's, for an hour at most."""
    names = {file.filename for file in files}
    if len(names) < len(files):
        raise RefusedRequestError(f"the {len(files)} files of a session must have names of their own", status=400)
    return session.create_session(background_tasks, False, expiry, files)


def _stopped(task: Any, what: str) -> Any:
    if task is None:
        raise RefusedRequestError(f"no {what} is running", status=409)
    return task


def _request(model: str, params: Options) -> dict[str, Any]:
    if not isinstance(params, Mapping | None):
        raise RefusedRequestError("options must be a JSON object", status=422)
    if (params or {}).get("model", model) != model:
        raise RefusedRequestError("the address names one model, and the options another", status=422)
    return {**(params or {}), "model": model}


@router.post("/promote", tags=["Model"])
async def promote(force: bool = False) -> dict[str, Any]:
    """Serve the candidate, unless it is worse on held-out patients; ``force`` serves it all the same."""
    return app_instance().promote(force)


@router.post("/undo_promotion", tags=["Model"])
async def undo_promotion() -> dict[str, Any]:
    """Serve the model that was served before the last promotion."""
    return app_instance().undo_promotion()
