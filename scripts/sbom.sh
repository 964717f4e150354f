#!/bin/sh
# Writes what the built layers hold, after `sam build`: a CycloneDX file for each layer (`make sbom`).
set -eu
cd "$(dirname "$0")/.."

python=.venv-audit/bin/python
[ -d .aws-sam/build ] || { echo 'There is nothing built yet: run `sam build` first.' >&2; exit 1; }
mkdir -p .aws-sam/sbom
for makefile in layers/*/Makefile; do
  layer=$(sed -n 's/^build-\([A-Za-z]*\):.*/\1/p' "$makefile")
  built=.aws-sam/build/$layer/python
  [ -d "$built" ] || { echo "$layer is not built." >&2; exit 1; }
  # It describes the packages on the path of a Python: of one that has the layer (PYTHONPATH) and
  # nothing installed (-S). The tool itself runs without the layer (-E).
  PYTHONPATH=$built "$python" -E -m cyclonedx_py environment -S --output-reproducible \
    --pyproject "${makefile%/*}/pyproject.toml" --mc-type library \
    --output-file ".aws-sam/sbom/$layer.cdx.json" "$python"
  echo ".aws-sam/sbom/$layer.cdx.json"
done
