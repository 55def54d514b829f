"""The command ``vfss``: each sub-command says what it works with and runs a config or a function of the bundle.

Nothing heavy is imported before a sub-command runs, so that ``vfss --help`` answers at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bundle.command import workflow
from bundle.one_line import report_in_one_line
from bundle.paths import ROOT

RESULTS = Path("vfss-results")
LIMITS = "research use only, not for diagnosis"

app = typer.Typer(
    name="vfss",
    help="Segment and measure videofluoroscopic swallowing studies; train and share such models. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; by default a GPU if there is one.")]
Model = Annotated[
    Path, typer.Option(help="Weights, with their card (.json) beside them.", show_default="the shipped ones")
]
Configs = Annotated[
    list[str] | None,
    typer.Option("--config", metavar="FILE", help="Overlay, a file or a shipped one such as smoke.json; repeatable."),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Values that replace those of the config.")
]
SendTo = Annotated[
    str | None,
    typer.Option("--send-to", metavar="ADDRESS", help="A PACS that gets SEG and SR: https://host/dicom-web."),
]
SHIPPED = ROOT / "models" / "model.pt"
NOT_FOR_INFERENCE = ("mlflow", "transformers", "matplotlib", "pandas", "lmdb", "zarr", "itk")
"""What MONAI imports where it finds it, which takes longer than all that inference needs."""


def main(arguments: Sequence[str] | None = None, name: str = "vfss") -> None:
    """Run the command; a user's error is one line and status 1.

    Args:
        arguments: By default those of the process.
        name: What the usage calls the program.
    """
    try:
        with workflow.quiet():
            app(None if arguments is None else list(arguments), prog_name=name)
    except Exception as error:
        report_in_one_line(type(error), error, error.__traceback__)
        sys.exit(1)


@app.command("segment")
def _segment(
    film: Annotated[
        str,
        typer.Argument(metavar="FILE", help="DICOM, video, NIfTI, picture, a folder of them, or a PACS (https://...)."),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the results: NIfTI, DICOM SEG, PNG, film, report.")] = RESULTS,
    model: Model = SHIPPED,
    device: Device = None,
    send_to: SendTo = None,
    overrides: Overrides = None,
    config: Configs = None,
) -> None:
    """Segment a film: masks, overlay film, measures, report."""
    with workflow.without(*NOT_FOR_INFERENCE):
        from bundle.export.model_card import read_model_card

        overlays = [str(workflow.find_config(name)) for name in config or []]
        given = workflow.parse_overrides(overrides)
        card = read_model_card(model)
        origin = card.get("synthetic") or "its card does not say on what it was trained"
        size = f"{card['image_size']} x {card['image_size']} pixels"
        workflow.announce(
            {
                "model": f"{model}: {card['student_backbone']}, {size}, {len(card['structures'])} structures",
                "device": workflow.name_device(device),
                "results": str(output),
                "limits": f"{LIMITS}; {origin}",
            }
        )
        places: dict[str, str | Path] = {"input": film, "output_dir": output, "checkpoint": model}
        sent = {} if send_to is None else {"send_to": send_to}
        workflow.run_configs(
            ["inference.json", *overlays], "run", {**workflow.absolute(places, device), **sent, **given}
        )


@app.command("watch")
def _watch(
    folder: Annotated[Path, typer.Argument(help="Where studies come, from Orthanc or another DICOM node.")],
    output: Annotated[Path, typer.Option(help="Folder of the results and of the queue.")] = RESULTS,
    model: Model = SHIPPED,
    device: Device = None,
    send_to: SendTo = None,
    quiet_seconds: Annotated[float, typer.Option(help="Without a new file, until a study is whole.")] = 30,
    port: Annotated[int, typer.Option(help="Port of the status page, on 127.0.0.1.")] = 8010,
    overrides: Overrides = None,
) -> None:
    """Segment each study of a folder once, as it comes, until SIGTERM."""
    given = workflow.parse_overrides(overrides)
    places = workflow.absolute({"input": folder, "output_dir": output, "checkpoint": model}, device)
    settings = {"quiet_seconds": quiet_seconds, "status_port": port, "send_to": send_to}
    values = {key: str(value) for key, value in settings.items() if value is not None}
    workflow.announce({"watched": str(folder), "results": str(output), "limits": LIMITS})
    workflow.run_configs(["inference.json", "watch.json"], "run", {**places, **values, **given})


@app.command("distill")
def _distill(overrides: Overrides = None, config: Configs = None, device: Device = None) -> None:
    """Phase 1: the student learns the features of frozen teachers."""
    _run_training("distill.json", "training", overrides, config, device)


@app.command("train")
def _train(overrides: Overrides = None, config: Configs = None, device: Device = None) -> None:
    """Phase 2: the student learns to segment, from masks."""
    _run_training("train.json", "training", overrides, config, device)


@app.command("adapt")
def _adapt(
    datalist: Annotated[Path, typer.Argument(help="JSON of a few labeled frames: docs/how-to/adapt.md.")],
    output: Annotated[Path, typer.Option(help="New folder of the adapted model.")] = Path("vfss-adapted"),
    model: Model = SHIPPED,
    minutes: Annotated[float, typer.Option(help="At most so long.")] = 15,
    encoder: Annotated[str, typer.Option(help="Of the encoder, train frozen (nothing), last_stage or full.")] = (
        "last_stage"
    ),
    device: Device = None,
) -> None:
    """Adapt a model to a site's own films from a few labeled frames."""
    from bundle.adaptation.adapt import adapt
    from bundle.adaptation.tune import TuningPlan

    plan = TuningPlan(encoder_training=encoder, minutes=minutes)
    facts = {"model": str(model), "device": workflow.name_device(device), "results": str(output), "limits": LIMITS}
    workflow.announce(facts)
    record = adapt(datalist, output, model, plan, workflow.name_device(device).split()[0])["adapted"]
    typer.echo(
        f"{output / 'model.pt'}: mean Dice on {record['judged_by']} {record['mean_dice_before']:.3f} before, "
        f"{record['mean_dice_after']:.3f} after"
    )


@app.command("evaluate")
def _evaluate(overrides: Overrides = None, config: Configs = None, device: Device = None) -> None:
    """Measure a trained model on held-out patients."""
    _run_training("evaluate.json", "evaluating", overrides, config, device)


def _run_training(
    base: str, run_id: str, overrides: list[str] | None, config: list[str] | None, device: str | None
) -> None:
    overlays = [workflow.find_config(name) for name in config or []]
    given = workflow.parse_overrides(overrides)
    settled = {**given, **{key: value for overlay in overlays for key, value in workflow.read_config(overlay).items()}}
    places = workflow.places_of(base, settled)
    values = {**workflow.absolute(places, device), **given}
    workflow.announce(
        {
            "configs": ", ".join([base, *map(str, overlays)]),
            "device": workflow.name_device(given.get("device", device)),
            "results": str(values.get("output_dir", settled.get("output_dir"))),
            "limits": LIMITS,
        }
    )
    bases = ["train.json", base] if base == "evaluate.json" else [base]
    workflow.run_configs([*bases, *map(str, overlays)], run_id, values)


@app.command("export")
def _export(
    model: Model = SHIPPED,
    output: Annotated[Path, typer.Option(help="Folder of the exported files.")] = Path("vfss-exports"),
    file_format: Annotated[str, typer.Option("--format", help="torchscript, onnx or openvino.")] = "onnx",
    precision: Annotated[str, typer.Option(help="float32 or, for onnx and openvino, int8.")] = "float32",
) -> None:
    """Write a model for other runtimes."""
    from bundle.export.deploy import Exporter
    from bundle.export.model_card import load_segmenter

    typer.echo(Exporter(load_segmenter(model), model, output).export(file_format, precision))


@app.command("deidentify")
def _deidentify(
    source: Annotated[Path, typer.Argument(help="DICOM file, AVI, MP4, MOV, MKV, or a folder of them.")],
    output: Annotated[Path, typer.Argument(help="Folder of the copies, outside the source.")],
    blacken: Annotated[
        str | None, typer.Option(metavar="ROW0,COL0,ROW1,COL1", help="Rectangle that becomes black in every frame.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Keeps names and UIDs the same across runs; made if it is not there.")
    ] = None,
) -> None:
    """Copy studies without identity, for sharing."""
    from bundle.deidentify.blacken import Rectangle
    from bundle.deidentify.run import NOT_DONE_BY_THIS_TOOL, deidentify

    report = deidentify(source, output, Rectangle.parse(blacken) if blacken else None, key_file)
    typer.echo(f"{report.table()}\n\n{NOT_DONE_BY_THIS_TOOL}")
    raise typer.Exit(report.exit_status)


@app.command("verify")
def _verify(
    folder: Annotated[Path, typer.Argument(help="Folder of an unpacked bundle.")] = Path(),
    manifest_sha256: Annotated[
        str | None, typer.Option(help="The manifest's checksum, from where the bundle was published.")
    ] = None,
) -> None:
    """Check that a downloaded bundle is what was published."""
    from bundle.export.manifest import manifest_digest, verify_bundle

    manifest = verify_bundle(folder, manifest_sha256)
    typer.echo(f"{manifest.name} {manifest.version}: {len(manifest.files)} files, all as listed in the manifest")
    typer.echo(f"manifest's SHA-256: {manifest_digest(folder)}")


@app.command("demo")
def _demo(
    output: Annotated[Path, typer.Option("--output", "--output_dir", help="Folder of everything it makes.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Run the whole method on synthetic data."""
    from bundle.command.demo import format_summary, run_demo

    typer.echo(format_summary(run_demo(output)))


@app.command("annotate")
def _annotate(
    studies: Annotated[str, typer.Argument(help="Folder of images, or address of a DICOMweb service (http://...).")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    allow_network: Annotated[
        bool, typer.Option("--allow-network", "--allow_network", help="Let other machines than this one in.")
    ] = False,
    public_address: Annotated[
        str | None,
        typer.Option("--public-address", "--public_address", help="Of a reverse proxy: https://labels.example.org"),
    ] = None,
    modality: Annotated[str, typer.Option(help="Of the series that are listed from a DICOMweb service.")] = "RF",
    options: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Of the app: model, memory, work_dir ...")
    ] = None,
) -> None:
    """Serve studies to annotators with MONAI Label."""
    from bundle.annotation.options import AppOptions
    from bundle.annotation.server import serve

    app_options = AppOptions.from_texts(workflow.parse_overrides(options))
    serve(studies, app_options, host, port, allow_network, public_address, modality)


if __name__ == "__main__":
    main()
