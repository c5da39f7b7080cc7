#!/usr/bin/env bash
# Builds sdist and wheel, installs each in an environment of its own, and profiles a model from
# there, outside of the checkout. Then an editable installation of a checkout named "harness" is
# used from its parent folder, where that name is a folder too: by Python and by mypy.
# PYTHON names the interpreter; the distributions are left in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(command -v "${PYTHON:-python3}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

environment() { # NAME, then what to install
    "$python" -m venv "$work/$1"
    "$work/$1/bin/python" -m pip install --quiet "${@:2}"
}

# What git tracks, as a fresh clone has it.
mkdir "$work/harness"
git ls-files -z | tar --create --null --files-from=- | tar --extract --directory "$work/harness"

environment build build
rm -rf dist
"$work/build/bin/python" -m build --outdir dist "$work/harness" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; exit 1; }
mkdir "$work/elsewhere"
for built in dist/*.tar.gz dist/*.whl; do
    echo "+ $built"
    rm -rf "$work/installed" "$work/elsewhere/look.h5"
    environment installed "$built"
    (
        cd "$work/elsewhere"
        "$work/installed/bin/python" -m harness profile mlp \
            --quick --processes 1 --duration 0.05 --output look.h5
        "$work/installed/bin/harness" show look.h5 >/dev/null
    )
done

echo "+ editable, from the parent folder of harness/"
environment editable --editable "$work/harness" mypy
cd "$work"
cat >script.py <<'SCRIPT'
import harness

profile = harness.read_profile("harness/profiles/sample.h5")
shortest: int = min(int(process.steady.duration_ns.min()) for process in profile.processes)
print(harness.__file__, shortest)
SCRIPT
editable/bin/python script.py
editable/bin/mypy --strict script.py
# What is typed is seen: the same with a mistake is refused.
if editable/bin/mypy --strict --command 'import harness; harness.read_profile(3)'; then
    echo "mypy does not see the types of harness" >&2
    exit 1
fi
