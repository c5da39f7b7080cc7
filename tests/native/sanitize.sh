#!/usr/bin/env bash
# Runs the native code under sanitizers, in a copy of the checkout that stays separate from it.
#
#   tests/native/sanitize.sh [address|all|threads|valgrind|everything] [argument of pytest ...]
#
#   address     tests/native under AddressSanitizer and UBSan (the default, followed by threads)
#   all         those of tests/unit and tests/integration too
#   threads     what our threads share, driven by threads.c: ThreadSanitizer, then ASan and UBSan
#               with leaks, then valgrind where it is installed
#   valgrind    tests/native (or the files that are named) under valgrind; where it is not
#               installed it says so and passes
#   everything  all of these
#
# PYTHON names the interpreter, which must have the test extra. A compiler and what builds the
# modules are installed where they are missing: the one by apt-get, the others into the copy.
# valgrind.supp holds what others' code is excused for, with the reasons.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(command -v "${PYTHON:-python}")
part=address
case "${1:-}" in
address | all | threads | valgrind | everything)
    part=$1
    shift
    ;;
*) follow=threads ;;
esac
suppressions=$PWD/tests/native/valgrind.supp
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

install_compiler() {
    command -v gcc >/dev/null && [ -e "$(gcc -print-file-name=libasan.so)" ] && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "sanitize.sh: gcc with its libasan is needed: apt-get install gcc" >&2
        exit 3
    fi
    apt-get -qq update && apt-get -qq install -y gcc libc6-dev
}

# The environment of `.[test]` has no Cython, and perhaps a setuptools that is too old.
install_builder() {
    "$python" -m pip install -q --target "$copy/builder" 'setuptools>=77' 'cython>=3.1'
}

make_copy() {
    cp -r .ci .github ext harness profiles tests docs benchmarks ./*.md pyproject.toml setup.py "$copy"
    find "$copy/harness" -name '*.so' -delete
}

# build CFLAGS LDFLAGS: the modules in the copy.
build() {
    (cd "$copy" && find harness -name '*.so' -delete && rm -rf build &&
        CFLAGS=$1 LDFLAGS=$2 PYTHONPATH=$copy/builder \
            "$python" setup.py -q build_ext --inplace >build.log 2>&1) ||
        { cat "$copy/build.log"; exit 1; }
}

# Reports of processes that the tests start end up beside those of pytest's own.
check_reports() {
    local found=0 report
    for report in "$copy"/report.*; do
        [ -e "$report" ] || continue
        # Of what a test asks for on purpose: malloc refused it.
        grep -qv 'WARNING: AddressSanitizer failed to allocate' "$report" || continue
        cat "$report"
        found=1
    done
    echo "sanitize.sh: $1: $([ $found = 0 ] && echo 0 reports || echo reports above)"
    return $found
}

run_address() {
    local sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
    build "$sanitize -fno-omit-frame-pointer -g1" "$sanitize"
    # Leaks are threads.c's and the tests' own matter: the interpreter's drown them here.
    # Some tests ask for more memory than there is, to see what is said: malloc may refuse.
    (cd "$copy" && LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=8:log_path=$copy/report" \
        UBSAN_OPTIONS="print_stacktrace=1:log_path=$copy/report" \
        PYTHONMALLOC=malloc PYTHONPATH=$copy \
        "$python" -m pytest -p no:cacheprovider --capture=sys "$@") || {
        check_reports "ASan and UBSan over $*" || true
        exit 1
    }
    check_reports "ASan and UBSan over $*"
}

# compile SANITIZE NAME: threads.c and the NVML of the tests.
compile() {
    local flags="-std=gnu11 -g -O1 -Wall -Wextra -Wno-unused-parameter $1 -I$copy/ext"
    # shellcheck disable=SC2086
    gcc $flags -o "$copy/$2" "$copy"/tests/native/threads.c "$copy"/ext/ort/log_ring.c \
        "$copy"/ext/sampler/*.c -ldl -lpthread -lm
    # shellcheck disable=SC2086
    gcc $flags -shared -fPIC -o "$copy/$2.nvml.so" "$copy"/tests/doubles/nvml.c
}

run_threads() {
    compile -fsanitize=thread tsan
    "$copy/tsan" 6000 "$copy/tsan.nvml.so"
    echo "sanitize.sh: TSan over log ring, marks and sampler: 0 reports"
    compile "-fsanitize=address,undefined -fno-sanitize-recover=undefined" asan
    ASAN_OPTIONS=detect_leaks=1 "$copy/asan" 6000 "$copy/asan.nvml.so"
    echo "sanitize.sh: ASan, UBSan and leaks over the same: 0 reports"
    if ! command -v valgrind >/dev/null; then
        echo "sanitize.sh: valgrind is not installed: not run"
        return
    fi
    compile "" plain
    valgrind -q --error-exitcode=9 --leak-check=full --fair-sched=yes \
        "$copy/plain" 1000 "$copy/plain.nvml.so"
    echo "sanitize.sh: valgrind over the same: 0 reports"
}

run_valgrind() {
    if ! command -v valgrind >/dev/null; then
        echo "sanitize.sh: valgrind is not installed: not run"
        return
    fi
    build -g1 ""
    # The processes that tests start are not followed: each would take minutes. What valgrind
    # itself answers otherwise than the kernel (mmap of more than there is) is not asked.
    (cd "$copy" && PYTHONMALLOC=malloc PYTHONPATH=$copy \
        valgrind -q --error-exitcode=9 --suppressions="$suppressions" \
        --log-file="$copy/report.%p" --leak-check=no --undef-value-errors=no \
        "$python" -m pytest -p no:cacheprovider --capture=sys -n 0 \
            --deselect tests/native/test_stream.py::test_arrays_that_cannot_be_had "$@") || {
        check_reports "valgrind over $*" || true
        exit 1
    }
    find "$copy" -maxdepth 1 -name 'report.*' -empty -delete
    check_reports "valgrind over $*"
}

# From one folder, as each of those in it has a module of the name conftest.
all=(tests --ignore=tests/fuzz --ignore=tests/gpu)
install_compiler
install_builder
make_copy
case $part in
address) run_address tests/native "$@" ;;
all) run_address "${all[@]}" "$@" ;;
threads) run_threads ;;
valgrind) run_valgrind "${@:-tests/native}" ;;
everything)
    run_address "${all[@]}" "$@"
    run_threads
    run_valgrind tests/native "$@"
    ;;
esac
if [ "${follow:-}" = threads ]; then run_threads; fi
