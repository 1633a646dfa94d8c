# SPDX-License-Identifier: Apache-2.0
# Sourced by the shell checks: verdicts and the lists of what there is.
set -u
status=0

# verdict <what> <findings>: none is good.
verdict() {
    if [ -z "$2" ]; then
        echo "ok - $1"
    else
        printf '%s\n' "$2" | head -60
        echo "not ok - $1"
        status=1
    fi
}
skip() { echo "skip - $1: $2"; }

rooms=()
for room in co_ctx co_routine co_hook tests example perf; do
    [ ! -d $room ] || rooms+=($room)
done

# all_files <find's name tests>: the files of the tree, sorted.
all_files() { find "${rooms[@]}" -type f \( "$@" \) | LC_ALL=C sort; }
c_files() { all_files -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cpp'; }
public_headers() { ls co_ctx/coctx.h co_routine/*.h co_routine/*.hpp co_hook/*.h 2>/dev/null; }

# allowed <file> <key>: an entry "key reason" stands in the file. An entry without reason does not
# count.
allowed() { [ -e "$1" ] && awk -v key="$2" '!/^#/ && $1 == key && NF > 1 { found = 1 } END { exit !found }' "$1"; }
