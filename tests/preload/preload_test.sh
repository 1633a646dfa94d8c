#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The ways a program comes to its hooks: LD_PRELOAD, the shared library, the archive in any order,
# -static. Contract 30, 31 and 32.
set -u
cd "${SRC_DIR:-.}"
B=${BUILD_DIR:-build/x86_64} CXX=${CXX:-g++} flags="${ARCHFLAGS:-}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
check() { # what, expected, command...
    local what=$1 expected=$2 got
    shift 2
    got=$(timeout 20 "$@" 2>&1)
    if [ "$got" = "$expected" ]; then
        echo "ok - $what"
    else
        printf '%s\n' "$got" | head -20
        echo "not ok - $what"
        status=1
    fi
}
so=$(readlink -f "$B/libcorun.so") a=$(readlink -f "$B/libcorun.a")
source=tests/preload/client_server_prog.cpp
fortified="-O2 -D_FORTIFY_SOURCE=3 -D_FILE_OFFSET_BITS=64"

$CXX $flags $fortified $source -o "$scratch/plain" -ldl || exit 1
imports=$(nm -D "$scratch/plain" | awk '{ print $NF }' | sed 's/@.*//')
for name in __read_chk __poll_chk __recv_chk fcntl64; do
    grep -qx $name <<<"$imports" || { echo "not ok - the program calls $name"; status=1; }
done
check 'without corun the program is native' native "$scratch/plain"
check 'preloaded, a fortified program with 64-bit files is hooked' hooked \
    env LD_PRELOAD="$so" "$scratch/plain"

ln -s "$so" "$scratch/libcorun.so.1"
# contract 32: behind libc in the search order, it says so (and the program blocks until its alarm)
$CXX $flags $fortified $source -o "$scratch/behind" -Wl,--no-as-needed "$so" -Wl,-rpath,"$scratch" -ldl
said=$(LD_PRELOAD=libc.so.6 timeout 20 "$scratch/behind" 2>&1)
case $said in
*'hooks are NOT in effect'*) echo 'ok - hooks that are not in effect are said loudly' ;;
*) echo "$said" | head; echo 'not ok - hooks that are not in effect are said loudly'; status=1 ;;
esac
if [ "$(grep -c 'NOT in effect' <<<"$said")" != 1 ]; then
    echo 'not ok - ... once'; status=1
else
    echo 'ok - ... once'
fi

$CXX $flags $fortified $source -o "$scratch/shared" -Wl,--no-as-needed "$so" \
    -Wl,-rpath,"$scratch" -ldl
check 'linked with the shared library' hooked "$scratch/shared"
$CXX $flags -no-pie $fortified $source -o "$scratch/fixed" -Wl,--no-as-needed "$so" \
    -Wl,-rpath,"$scratch" -ldl
check 'linked with the shared library, at a fixed address' hooked "$scratch/fixed"

# The archive: the calls are made by a library that comes behind it on the link line, and by a shared
# one that knows nothing of it.
sed 's/dlsym(RTLD_DEFAULT, "\(co_[a-z_]*\)")/(void *)\1/' $source |
    sed 's/^struct stCoRoutineAttr_t;/&\nextern "C" { int co_go(stCoRoutine_t **, const stCoRoutineAttr_t *, void *(*)(void *), void *); void co_run(); void co_enable_hook_sys(); }/' \
        >"$scratch/direct.cpp"
sed 's/int main(/extern "C" int real_main(/' "$scratch/direct.cpp" >"$scratch/body.cpp"
sed -i 's/if (!go)/if (false)/' "$scratch/direct.cpp" "$scratch/body.cpp"
echo 'extern "C" int real_main(int, char **); int main(int c, char **v) { return real_main(c, v); }' \
    >"$scratch/main.cpp"
echo 'extern "C" void co_enable_hook_sys(); void *keep = (void *)co_enable_hook_sys;' >>"$scratch/main.cpp"
$CXX $flags $fortified -fPIC -w -c "$scratch/body.cpp" -o "$scratch/body.o"
$CXX $flags $fortified -w -c "$scratch/main.cpp" -o "$scratch/main.o"
ar qcs "$scratch/libbody.a" "$scratch/body.o"
$CXX $flags $fortified -w "$scratch/direct.cpp" "$a" -o "$scratch/archive" -ldl -pthread
check 'linked with the archive' hooked "$scratch/archive"
$CXX $flags "$scratch/main.o" "$a" "$scratch/libbody.a" "$a" -o "$scratch/late" -ldl -pthread
check 'calls from a library behind the archive' hooked "$scratch/late"
$CXX $flags -shared "$scratch/body.o" -o "$scratch/libbody.so"
$CXX $flags "$scratch/main.o" "$scratch/libbody.so" "$a" -o "$scratch/plugin" -Wl,-rpath,"$scratch" \
    -ldl -pthread
check 'calls from a shared library, hooks in the program' hooked "$scratch/plugin"
if $CXX $flags $fortified -w -static "$scratch/direct.cpp" "$a" -Wl,-u,co_static \
    -Wl,--wrap={getaddrinfo,syslog,__syslog_chk,__vsyslog_chk,openlog,closelog} -o "$scratch/static" -pthread \
    2>"$scratch/static.log"; then
    check 'a -static program' hooked "$scratch/static"
else
    grep -v 'Using .dlopen' "$scratch/static.log" | head
    echo 'not ok - a -static program links'
    status=1
fi

# contract 30: beside other allocators, in either order; static_program.cpp calls a hundred functions
cxx20="$CXX $flags -O1 -w -std=c++20 -Ico_routine -Ico_hook tests/preload/static_program.cpp"
$cxx20 "$a" -o "$scratch/many" -ldl -pthread
$cxx20 "$so" -Wl,-rpath,"$scratch" -o "$scratch/many-shared" -pthread
for library in libjemalloc.so.2 libtcmalloc_minimal.so.4 libtcmalloc.so.4; do
    file=$(${CC:-cc} $flags -print-file-name=$library)
    if [ ! -e "$file" ]; then
        echo "skip - preloaded beside $library: not installed"
        continue
    fi
    $CXX $flags $fortified -w "$scratch/direct.cpp" "$a" -o "$scratch/with-$library" \
        -Wl,--no-as-needed "$file" -ldl -pthread
    check "preloaded before $library" hooked env LD_PRELOAD="$so:$file" "$scratch/plain"
    check "preloaded behind $library" hooked env LD_PRELOAD="$file:$so" "$scratch/plain"
    check "many functions beside $library" '0 wrong' env LD_PRELOAD="$file" "$scratch/many"
    check "many functions before $library" '0 wrong' env LD_PRELOAD="$so:$file" \
        "$scratch/many-shared"
    check "many functions behind $library" '0 wrong' env LD_PRELOAD="$file:$so" \
        "$scratch/many-shared"
    check "the archive, $library preloaded" hooked env LD_PRELOAD="$file" "$scratch/archive"
    check "the archive, linked with $library" hooked env LD_LIBRARY_PATH="$(dirname "$file")" \
        "$scratch/with-$library"
done

# Ordinary programs, untouched by it. Those of the machine are of its own architecture.
[ "${ARCH:-x86_64}" = x86_64 ] || exit $status
check 'a shell and its pipes, preloaded' 3 env LD_PRELOAD="$so" sh -c 'printf "a\nb\nc\n" | cat | wc -l'
for python in $(command -v python3); do
    check 'python, preloaded' 'b'"'"'hi'"'" env LD_PRELOAD="$so" "$python" -c '
import socket, threading, time, subprocess, select
a, b = socket.socketpair()
threading.Thread(target=lambda: (time.sleep(0.01), b.send(b"hi"))).start()
select.select([a], [], [], 5)
assert subprocess.run(["true"]).returncode == 0
print(a.recv(2))'
done
exit $status
