#!/bin/sh
# Sets up what `make stack` needs besides $VENV: .venv-sam with the SAM CLI, and .venv-lambda with
# what Lambda's python3.13 brings along, in which the functions run. Returns at once when nothing
# has changed since the last time.
set -eu
cd "$(dirname "$0")/.."

fail() {
  printf '%s\n' '' "$@" >&2
  exit 1
}

# A shim of pyenv in PATH need not start, so its versions are looked at themselves, too.
python=
for candidate in "${PYTHON313:-python3.13}" "$HOME"/.pyenv/versions/3.13.*/bin/python3.13; do
  if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
    python=$("$candidate" -c 'import sys; print(sys._base_executable)')
    break
  fi
done
[ -n "$python" ] || fail \
  'What runs on Lambda is built and run with its own Python: python3.13 is needed.' \
  'Looked for it in PATH and in ~/.pyenv/versions. How to get one:' \
  '  Debian 13        sudo apt install python3.13 python3.13-venv' \
  '  macOS            brew install python@3.13' \
  'If you have one elsewhere, name it: make stack PYTHON313=/path/to/python3.13'

for name in sam lambda; do
  venv=.venv-$name
  wanted="$python
$(cksum "requirements/$name.txt" scripts/sam.sh)"
  [ "$(cat "$venv/set-up" 2>/dev/null)" != "$wanted" ] || continue
  echo "Setting up $venv with $python ..."
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    --require-hashes --requirement "requirements/$name.txt" >"$venv/set-up.log" 2>&1 || {
    tail -n 20 "$venv/set-up.log" >&2
    fail "pip could not install requirements/$name.txt. All that it said is in $venv/set-up.log"
  }
  printf '%s\n' "$wanted" >"$venv/set-up"
done
