#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What `make install` puts somewhere is enough to build and run a C and a C++ program, against the
# shared and the static library, and `make uninstall` takes all of it away again.
set -u
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
check() { # what, command...
    local what=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        echo "ok - $what"
    else
        sed 's/^/# /' "$scratch/log"
        echo "not ok - $what"
        status=1
    fi
}
quiet_make() {
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory -s BUILD="${BUILD:-build}" \
        ARCH="${ARCH:-x86_64}" PREFIX=/opt/corun DESTDIR="$scratch/root" "$@"
}

check 'make install' quiet_make install
root=$scratch/root/opt/corun

cat >"$scratch/hello.c" <<'END'
#include <co_routine.h>
#include <stdio.h>
static void *greet(void *name) {
    co_sleep_ms(1);
    printf("hello, %s\n", (const char *)name);
    return NULL;
}
int main(void) {
    co_go(NULL, NULL, greet, "one");
    co_go(NULL, NULL, greet, "two");
    co_run();
    return 0;
}
END
sed 's/, "one"/, (void *)"one"/; s/, "two"/, (void *)"two"/' "$scratch/hello.c" >"$scratch/hello.cpp"
[ ! -e co_routine/co_routine.hpp ] || sed -i 's|^#include <co_routine.h>|&\n#include <co_routine.hpp>|' "$scratch/hello.cpp"

export PKG_CONFIG_PATH=$root/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$scratch/root
says_hello() {
    printf 'hello, one\nhello, two\n' | diff - <(LD_LIBRARY_PATH=$root/lib timeout 20 "$1")
}
needs_library() { readelf -d "$1" | grep -q 'NEEDED.*libcorun.so.1'; }

if command -v pkg-config >/dev/null; then
    cflags=$(pkg-config --cflags corun) || status=1
    shared=$(pkg-config --libs corun) || status=1
    # Both libraries stand in one directory: the static one is asked for by name.
    static=$(pkg-config --libs --static corun | sed 's/-lcorun/-l:libcorun.a/')
    c="${CC:-cc} ${ARCHFLAGS:-} -std=c99 -Wall -Wextra -Werror"
    cpp="${CXX:-g++} ${ARCHFLAGS:-} -std=c++20 -Wall -Wextra -Werror"
    check 'a C program builds, shared' $c "$scratch/hello.c" $cflags $shared -o "$scratch/c_shared"
    check 'a C program builds, static' $c "$scratch/hello.c" $cflags $static -o "$scratch/c_static"
    check 'a C++ program builds, shared' $cpp "$scratch/hello.cpp" $cflags $shared -o "$scratch/cpp_shared"
    check 'a C++ program builds, static' $cpp "$scratch/hello.cpp" $cflags $static -o "$scratch/cpp_static"
    for program in c_shared c_static cpp_shared cpp_static; do
        check "$program runs" says_hello "$scratch/$program"
    done
    check 'the shared one is linked by its soname' needs_library "$scratch/c_shared"
else
    echo 'skip - programs against the installed library: no pkg-config'
fi

for page in man/*.[13]; do
    [ -e "$page" ] || continue
    check "$(basename "$page") is installed" test -e "$root/share/man/man${page##*.}/$(basename "$page")"
done

# gdb looks for the script under the library's true name. (DESTDIR=/: for this PREFIX itself.)
knows_coroutines() {
    gdb -nx -batch -iex "set auto-load scripts-directory $1" -iex "set auto-load safe-path $1" \
        "$2" -ex 'help co' | grep '^co switch ID'
}
if gdb -nx -batch -ex 'python gdb.lookup_static_symbols' >/dev/null 2>&1; then
    here=$(readlink -f "$scratch")/here
    quiet_make install PREFIX="$here" DESTDIR=/ >/dev/null
    check 'gdb loads co_gdb.py with libcorun.so' knows_coroutines "$here/share/gdb/auto-load" "$here/lib/libcorun.so"
    [ ! -e "$here/lib/corun/libcorun_waist.so" ] || check "gdb loads co_gdb.py with corun's library" \
        knows_coroutines "$here/share/gdb/auto-load" "$here/lib/corun/libcorun_waist.so"
else
    echo 'skip - co_gdb.py is loaded by itself: no gdb'
fi
check 'corun-stackmem is installed, and runs' "$root/bin/corun-stackmem" --quick --count 20 --live 64
check 'co_gdb.py is installed' diff co_routine/debug/co_gdb.py "$root/share/corun/co_gdb.py"

check 'make uninstall' quiet_make uninstall
check 'make uninstall leaves no file behind' test -z "$(find "$root" ! -type d)"
exit $status
