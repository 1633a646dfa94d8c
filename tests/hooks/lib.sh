# SPDX-License-Identifier: Apache-2.0
# For the shell tests of this directory: B is the build, scratch a directory that goes with the test,
# its file out what a program said.
set -u
cd "${SRC_DIR:-.}" || exit 1
B=$(readlink -f "${BUILD_DIR:-build/x86_64}") CC=${CC:-cc} flags="${ARCHFLAGS:-}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
verdict() { # what, condition
    if eval "$2"; then
        echo "ok - $1"
    else
        head -40 "$scratch/out"
        echo "not ok - $1"
        status=1
    fi
}
