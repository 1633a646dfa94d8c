#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Unmodified servers of Debian under corun, one script each (head.py says what they must do).
#
#     tests/servers/servers_test.sh [microsocks nbdkit ...]      these alone; else all
#
# One that is not installed is skipped by name; `make test-servers` installs them all.
# time limit: 600 s
cd "$(dirname "$0")/../.." || exit 1
[ "${ARCH:-x86_64}" = x86_64 ] || { echo 'corun is for x86_64'; exit 77; }
export BUILD_DIR=${BUILD_DIR:-build/x86_64} PYTHONDONTWRITEBYTECODE=1
status=0 known=''
for script in tests/servers/*.py; do
    name=$(basename "$script" .py)
    [[ " head web cpython soak " == *" $name "* ]] || known+=" $name"
done
for name in "$@"; do
    [[ "$known " == *" $name "* ]] || { echo "no server $name; there are$known" >&2; exit 2; }
done
for name in ${*:-$known}; do
    timeout 150 /usr/bin/python3 "tests/servers/$name.py"
    code=$?
    [ $code -le 1 ] || echo "not ok - $name: exit status $code"
    [ $code = 0 ] || status=1
done
exit $status
