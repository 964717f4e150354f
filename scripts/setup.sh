#!/bin/sh
# Sets up the virtual environment $VENV: what requirements/dev.txt pins, and our own packages from
# the working tree. Returns at once when nothing has changed since the last time.
set -eu
cd "$(dirname "$0")/.."

case ${VENV:=.venv} in
  /*) venv=$VENV ;;
  *) venv=$PWD/$VENV ;;
esac
stamp=$venv/set-up
log=$venv/set-up.log

fail() {
  printf '%s\n' '' "$@" >&2
  exit 1
}

# --- The first Python that starts and is new enough ------------------------------------------------

about_python='
import sys
print("Python %d.%d.%d in %s" % (sys.version_info[:3] + (getattr(sys, "base_prefix", sys.prefix),)))
sys.exit(sys.version_info < (3, 11))
'
if [ -n "${PYTHON:-}" ]; then
  set -- "$PYTHON"
else
  set -- python3 python3.13 python3.12 python3.11 python3.14
fi
python=
too_old=
for candidate; do
  # What does not start says nothing here and is passed over: a shim of pyenv is often like that.
  if about=$("$candidate" -c "$about_python" 2>/dev/null); then
    python=$candidate
    break
  elif [ -n "$about" ]; then
    too_old="$too_old
  $candidate is $about"
  fi
done
[ -n "$python" ] || fail \
  "Ratchet needs Python 3.11 or newer. Looked for: $*${too_old:+
Found, but too old:$too_old}" \
  'How to get one:' \
  '  Debian, Ubuntu   sudo apt install python3 python3-venv' \
  '  macOS            brew install python   (or the installer from python.org)' \
  'If you have one elsewhere, name it: make … PYTHON=/path/to/python3.13'

# --- Has anything changed? -------------------------------------------------------------------------

interpreter="$about for $venv"
wanted="$interpreter
$(cksum requirements/dev.txt layers/*/pyproject.toml cli/pyproject.toml scripts/setup.sh)"
[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || exit 0

# --- The virtual environment -----------------------------------------------------------------------

# From here until the end there is no stamp: what is broken off half-way starts from scratch again.
before=$(head -n 1 "$stamp" 2>/dev/null || :)
rm -f "$stamp"
echo "Setting up $VENV with $about ..."

if [ "$before" != "$interpreter" ]; then
  # The interpreter itself, should $python come from an active virtual environment or be a shim.
  python=$("$python" -c 'import sys; print(sys._base_executable)')
  "$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
    "$about comes without the module that makes virtual environments." \
    'On Debian and Ubuntu: sudo apt install python3-venv'
  if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
    fail "$venv exists and is no virtual environment. Move it away, or choose another: make … VENV=.venv2"
  fi
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi

# --- The packages ----------------------------------------------------------------------------------

# Without bytecode it is done a quarter sooner; Python writes what it comes to use.
pip_install() {
  PYTHONUNBUFFERED=1 "$venv/bin/python" -m pip install --disable-pip-version-check --no-compile "$@"
}

total=$(grep == requirements/dev.txt | grep -cv win32)
if [ -t 1 ]; then line='\r\033[K%s' step=1; else line='%s\n' step=10; fi
show_progress() {
  count=0
  while read -r word rest; do
    case $word in
      Collecting | Processing | Requirement)
        count=$((count + 1))
        # shellcheck disable=SC2059
        [ $((count % step)) -ne 0 ] || printf "$line" "  $count of $total packages"
        ;;
      Installing)
        # shellcheck disable=SC2059
        [ "$count" -ne "$total" ] || printf "$line" '  installing them ...'
        count=$((count + 1))
        ;;
    esac
  done
}

{
  pip_install --require-hashes --requirement requirements/dev.txt &&
    pip_install --no-deps --no-build-isolation --editable layers/ratchet \
      --editable layers/ratchet_client --editable layers/ratchet_verify --editable cli &&
    echo complete
} 2>&1 | tee "$log" | show_progress
[ ! -t 1 ] || printf '\r\033[K'

if [ "$(tail -n 1 "$log")" != complete ]; then
  if tail -n 5 "$log" | grep -qE 'Retrying|ConnectionError|Timeout|ProxyError|SSLError'; then
    fail 'The package index could not be reached. The network is needed for this step only: once it' \
      'is done, Ratchet runs and is tested without. Check the connection (or proxy) and try again.' \
      "What pip said is in $log"
  fi
  tail -n 20 "$log" >&2
  fail "pip could not install the packages. All that it said is in $log"
fi

printf '%s\n' "$wanted" >"$stamp"
echo "$VENV is ready."
