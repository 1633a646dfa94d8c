#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program that is built with a sanitizer links the library as `make` builds it, static or shared: the
# sanitizer has nothing to say of what is right, and finds what is wrong. (time limit: 300 s)
set -u
cd "${SRC_DIR:-.}" || exit 1
B=$(readlink -f "${BUILD_DIR:-build/x86_64}")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
export ASAN_OPTIONS=detect_stack_use_after_return=1 # its fake stacks
# TSan of gcc 12 cannot live with 32 random bits of mmap; some containers forbid the switch.
fixed=$(setarch -R true 2>/dev/null && echo setarch -R)

verdict() { # what, condition
    if eval "$2"; then
        echo "ok - $1"
    else
        head -60 "$scratch/out"
        echo "not ok - $1"
        status=1
    fi
}
build() { # sanitizer, output, library...
    ${CXX:-g++} ${ARCHFLAGS:-} -std=c++17 -O1 -g -D_GNU_SOURCE -Ico_routine -Ico_hook -fsanitize="$1" \
        -fno-sanitize-recover=undefined -o "$2" tests/debug/watched_program.cpp "${@:3}" -pthread -ldl
}
mistake() { # sanitizer, name, what it is called
    timeout 60 $fixed "$scratch/$1-static" "$2" >"$scratch/out" 2>&1
    verdict "-fsanitize=$1 finds $2 in coroutines" "[ $? != 0 ] && grep -q '$3' '$scratch/out'"
}

for sanitizer in address thread undefined; do
    echo 'int main() {}' >"$scratch/probe.cpp"
    if ! ${CXX:-g++} ${ARCHFLAGS:-} -fsanitize=$sanitizer -o "$scratch/probe" "$scratch/probe.cpp" 2>/dev/null; then
        echo "skip - -fsanitize=$sanitizer: ${CXX:-g++} has none for ${ARCH:-x86_64}"
        continue
    fi
    build $sanitizer "$scratch/$sanitizer-static" "$B/libcorun.a" &&
        build $sanitizer "$scratch/$sanitizer-shared" -L"$B" -lcorun -Wl,-rpath,"$B" || exit 1
    for kind in static shared; do
        # gcc has the sanitizer's own library first: libcorun.so says which of its hooks that hides.
        timeout 250 $fixed "$scratch/$sanitizer-$kind" >"$scratch/out" 2>&1
        verdict "a program of -fsanitize=$sanitizer with the plain $kind library" \
            "[ $? = 0 ] && [ \"\$(grep -v '^corun: .*hooks are NOT in effect\|^corun: backtraces need libunwind' '$scratch/out')\" = 'all went well' ]"
    done
    case $sanitizer in
    address)
        mistake address use-after-return stack-use-after-return
        mistake address overflow stack-buffer-overflow
        ;;
    thread) mistake thread race 'data race' ;;
    esac
done

# clang links the sanitizer into the program, where its functions come before libc's and ours.
if ! command -v clang++ >/dev/null; then
    echo 'skip - programs of clang: it is not installed'
    exit $status
fi
for sanitizer in address thread; do
    CXX=clang++ build $sanitizer "$scratch/clang" "$B/libcorun.a" 2>"$scratch/out" ||
        { echo "skip - -fsanitize=$sanitizer: clang++ has none for ${ARCH:-x86_64}"; continue; }
    timeout 250 $fixed "$scratch/clang" >"$scratch/out" 2>&1
    verdict "a program of clang's -fsanitize=$sanitizer with the plain static library" \
        "[ $? = 0 ] && [ \"\$(grep -v '^corun: .*hooks are NOT in effect\|^corun: backtraces need libunwind' '$scratch/out')\" = 'all went well' ]"
done
exit $status
