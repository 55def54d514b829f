#!/usr/bin/env bash
# Make .venv-annotation for `make annotate`: MONAI Label in an environment of its own, layered on .venv so that PyTorch
# and the rest are not installed twice. Needs .venv (`make check` makes it). Safe to run again: does nothing if it is there.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BASE="$ROOT/.venv"
VENV="$ROOT/.venv-annotation"
CONSTRAINTS="$ROOT/annotation_constraints.txt"
# What the environment depends on: this folder, the versions, this script, and the environment below.
STAMP="$ROOT $(cat "$CONSTRAINTS" "${BASH_SOURCE[0]}" "$ROOT/constraints.txt" | cksum)"

fail() {
  printf '\nset-up of the annotation environment stopped: %s\n' "$1" >&2
  shift
  printf '  %s\n' "$@" >&2
  exit 1
}

[[ -x "$BASE/bin/python" ]] || fail "there is no .venv to build on." "Run \`make check\` first; it makes it."
if [[ "$(cat "$VENV/.installed" 2>/dev/null)" == "$STAMP" ]]; then
  exit 0
fi
if [[ -e "$VENV" && ! -f "$VENV/pyvenv.cfg" ]]; then
  fail "$VENV exists but is not a virtual environment." "Move it away, then run this again."
fi

echo "Making .venv-annotation (MONAI Label, about 0.4 GB) ..."
rm -rf "$VENV"
"$BASE/bin/python" -m venv --without-pip "$VENV"
"$BASE/bin/python" -m pip --python "$VENV/bin/python" install --disable-pip-version-check --quiet --no-deps \
  --requirement "$CONSTRAINTS" ||
  fail "pip could not install MONAI Label." "pip's own message is above. Put it right (network, proxy, disk), run again."

# The layer: what .venv-annotation lacks is found in .venv. pydicom-seg 0.4.1 imports a name from a module that pydicom 3
# no longer has; an entry with that name lets it load. Both are read by every Python of this environment when it starts.
site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
base_site=$("$BASE/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
{
  printf '%s\n' "$base_site"
  printf 'import sys, types; m = types.ModuleType("pydicom._storage_sopclass_uids"); '
  printf 'm.SegmentationStorage = "1.2.840.10008.5.1.4.1.1.66.4"; sys.modules[m.__name__] = m\n'
} >"$site/zz_layer_on_venv.pth"

(cd "$VENV" && "$VENV/bin/python" -c 'import monailabel.app, nrrd, torch, sam2, highdicom' >/dev/null) ||
  fail "an installed package does not import." "The message is above. Delete .venv-annotation and run this again."
printf '%s' "$STAMP" >"$VENV/.installed"
echo "The annotation environment is ready: .venv-annotation, $SECONDS s."
