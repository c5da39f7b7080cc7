# shellcheck shell=bash
# On the machine that pack.sh packed for:
#
#   source FOLDER/unpack.sh FOLDER [WHERE]
#
# Unpacks ONNX Runtime as a package and installs the wheels, both into WHERE/site, and builds the
# project in WHERE/project (/tmp/harness unless given). Leaves the shell there, with its paths set.
_packed=$(cd "$1" && pwd) _where=${2:-/tmp/harness}
mkdir -p "$_where/site" "$_where/project"
if compgen -G "$_packed/ort-*.tar.xz" >/dev/null; then
    mkdir -p "$_where/site/onnxruntime/capi"
    : >"$_where/site/onnxruntime/__init__.py"
    for _archive in "$_packed"/ort-*.tar.xz; do
        tar -C "$_where/site/onnxruntime/capi" -xJf "$_archive" &
    done
fi
tar -C "$_where/project" -xJf "$_packed/project.tar.xz"
if compgen -G "$_packed/*.whl" >/dev/null; then
    python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --target "$_where/site" "$_packed"/*.whl
fi
wait
cd "$_where/project" || return
export PATH="$_where/site/bin:$PATH"
export PYTHONPATH="$_where/project:$_where/site${PYTHONPATH:+:$PYTHONPATH}"
tests/gpu/build.sh python3
