# The segmenter on CPUs, for a PACS: docs/how-to/pacs.md. Built in a clone or an unpacked bundle: docker build -t vfss .
# It needs no network, no root and no disk of its own:
#   docker run --read-only --tmpfs /tmp --network none --volume IN:/in:ro --volume OUT:/out vfss segment /in --output /out
FROM python:3.11-slim-bookworm AS build
WORKDIR /bundle
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH SAM2_BUILD_CUDA=0 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt .
RUN python -m pip install --constraint constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu setuptools wheel torch torchvision
COPY . .
RUN python -m pip install --constraint constraints.txt --no-build-isolation '.[inference]'

FROM python:3.11-slim-bookworm
COPY --from=build /venv /venv
RUN useradd --uid 10001 --no-create-home vfss && mkdir /in /out && chown vfss /out
USER 10001
WORKDIR /out
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
ENTRYPOINT ["vfss"]
CMD ["watch", "/in", "--output", "/out"]
