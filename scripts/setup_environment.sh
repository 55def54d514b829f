#!/usr/bin/env bash
# Make .venv with the exact versions of constraints.txt. Run by `make`; safe to run again, and resumes where it stopped.
#
#   PYTHON=/path/to/python3.12 bash scripts/setup_environment.sh    choose the interpreter
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV="$ROOT/.venv"
CONSTRAINTS="$ROOT/constraints.txt"

# Measured on Linux x86_64 (torch with its CUDA libraries): see CONTRIBUTING.md, "Set-up". In megabytes.
ENVIRONMENT_MB=8700 # .venv when finished: 8.3 GB
DOWNLOADS_MB=4000   # wheels: 3.0 GB of them in TMPDIR while PyTorch is installed, then 3.6 GB in pip's cache

step() { printf '\n\033[1m[%s/5] %s\033[0m\n' "$1" "$2"; }

fail() {
  printf '\nset-up stopped: %s\n' "$1" >&2
  shift
  printf '  %s\n' "$@" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

version_of() { "$1" -c 'import sys; print(sys.version.split()[0])' 2>/dev/null; }

# Print the first interpreter that is new enough; the tested version comes first.
find_python() {
  local candidate found="" version
  if [[ -n "${PYTHON:-}" ]]; then
    is_new_enough "$PYTHON" && { command -v "$PYTHON"; return; }
    version=$(version_of "$PYTHON") || version="no Python that starts"
    fail "Python >= 3.11 is needed; PYTHON=$PYTHON is $version." \
      "Unset PYTHON, or set it to a newer interpreter: make PYTHON=/path/to/python3.11 demo"
  fi
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    is_new_enough "$candidate" && { command -v "$candidate"; return; }
    version=$(version_of "$candidate") && found+="$candidate is $version; "
  done
  fail "Python >= 3.11 is needed; found: ${found:-no Python at all}" \
    "Install one (Debian, Ubuntu: apt-get install python3 python3-venv python3-pip) or name it:" \
    "make PYTHON=/path/to/python3.11 demo"
}

free_mb() { df -Pk "$1" | awk 'NR == 2 {print int($4 * 0.001024)}'; }

file_system_of() { df -Pk "$1" | awk 'NR == 2 {print $1 " " $6}'; }

size_mb() { if [[ -d "$1" ]]; then du -sk "$1" | awk '{print int($1 * 0.001024)}'; else echo 0; fi; }

in_gb() { awk -v mb="$1" 'BEGIN {printf "%.1f GB", mb / 1000}'; }

need_space() { # folder, megabytes, purpose
  local free
  free=$(free_mb "$1")
  ((free >= $2)) || fail "not enough disk space for $3." \
    "$(in_gb "$2") needed in $1, $(in_gb "$free") free." "$4"
}

check_space() {
  local temporary="${TMPDIR:-/tmp}" missing
  missing=$((ENVIRONMENT_MB - $(size_mb "$VENV")))
  ((missing > 0)) || missing=0
  local remedy="Free some space, or clone the repository onto a larger disk."
  if [[ "$(file_system_of "$ROOT")" == "$(file_system_of "$temporary")" ]]; then
    need_space "$ROOT" $((missing > 0 ? missing + DOWNLOADS_MB : 0)) "the environment and its downloads" "$remedy"
  else
    need_space "$ROOT" "$missing" "the environment" "$remedy"
    need_space "$temporary" $((missing > 0 ? DOWNLOADS_MB : 0)) "pip's downloads" \
      "Free some space, or set TMPDIR to a folder on a larger disk."
  fi
}

# An environment that no longer starts, is too old, or was made for another folder cannot be repaired: say so, make it anew.
discard_unusable_environment() {
  [[ -e "$VENV" ]] || return 0
  local why=""
  if [[ ! -f "$VENV/pyvenv.cfg" ]]; then
    fail "$VENV exists but is not a virtual environment." "Move it away, then run this again."
  elif ! is_new_enough "$VENV/bin/python"; then
    why="its Python is gone or older than 3.11"
  elif grep -q '^command = ' "$VENV/pyvenv.cfg" && ! grep -qF -- "$VENV" "$VENV/pyvenv.cfg"; then
    why="it was made for another folder"
  fi
  [[ -z "$why" ]] || { echo "Making .venv anew: $why."; rm -rf "$VENV"; }
}

# Debian's python3 comes without ensurepip unless python3-venv is installed; its pip can then fill an empty environment.
create_environment() { # python
  local python="$1"
  if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    "$python" -m venv "$VENV"
  elif "$python" -c 'import venv' >/dev/null 2>&1 && "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip "$VENV"
    "$python" -m pip --python "$VENV/bin/python" install pip
  else
    fail "$python can make no virtual environment: it has neither ensurepip nor pip." \
      "Debian, Ubuntu: apt-get install python3-venv python3-pip"
  fi
}

install() {
  "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar "$PROGRESS" \
    --constraint "$CONSTRAINTS" "$@" ||
    fail "pip could not install: $*" "pip's own message is above; it names the package." \
      "After putting it right (network, proxy, disk), run the same command again: what is installed is kept."
}

if [[ -t 1 ]]; then PROGRESS=on; else PROGRESS=off; fi
cd "$ROOT"
rm -f "$VENV/.installed"

step 1 "Python and disk space"
python=$(find_python)
discard_unusable_environment
check_space
echo "$python ($(version_of "$python")), $(in_gb "$(free_mb "$ROOT")") free in $ROOT"

step 2 "Virtual environment .venv"
if [[ -x "$VENV/bin/python" ]] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
  echo "continuing with the one that is there ($(version_of "$VENV/bin/python"))"
else
  rm -rf "$VENV"
  create_environment "$python"
fi
# Packages without a wheel are built with these pinned tools (--no-build-isolation), never with whatever is newest.
install setuptools wheel

step 3 "PyTorch (the largest download, about 3 GB with its CUDA libraries)"
install torch torchvision

step 4 "MONAI, SAM 2 and the other dependencies, test tools, this project"
# sam2 builds against the PyTorch above; its CUDA kernel only fills holes in masks and would need nvcc.
SAM2_BUILD_CUDA=0 install --no-build-isolation --editable '.[inference,deploy,quantize,train,laboratory,test,docs]'

# Every Python of this environment reads this line before it can load PyTorch: bundle/spinning.py says what for. The
# bundle itself must not be imported here: a Python may be started for another copy of it.
START_UP='import os, sys; {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys() or os.environ.update(GOMP_SPINCOUNT="1000" if {"training", "train", "distill", "demo", "scripts/demo.py"} & set(sys.orig_argv) else "4000")'
"$VENV/bin/python" -c 'import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "spin_briefly.pth").write_text(sys.argv[1] + "\n")' "$START_UP"

step 5 "Check that the packages import"
"$VENV/bin/python" -c 'import av, mlflow, monai, sam2, timm, torch, torchvision, transformers' ||
  fail "an installed package does not import." "The message is above. Delete .venv and run the same command again."

printf '%s\n' "$ROOT" >"$VENV/.installed"
printf '\nThe environment is ready: .venv, %s, %s s.\n' "$(in_gb "$(size_mb "$VENV")")" "$SECONDS"
