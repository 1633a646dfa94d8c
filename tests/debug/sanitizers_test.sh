#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A program that is built with a sanitizer links the library as `make` builds it, static or shared: the
# sanitizer has nothing to say of what is right, and finds what is wrong. (time limit: 300 s)
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
export ASAN_OPTIONS=detect_stack_use_after_return=1 # its fake stacks
# TSan of gcc 12 cannot live with 32 random bits of mmap; some containers forbid the switch.
fixed=$(setarch -R true 2>/dev/null && echo setarch -R)

build() { # sanitizer, output, library...
    ${CXX:-g++} ${ARCHFLAGS:-} -std=c++17 -O1 -g -D_GNU_SOURCE -Ico_routine -Ico_hook -fsanitize="$1" \
        -fno-sanitize-recover=undefined -o "$2" "tests/debug/${program:-watched}_program.cpp" "${@:3}" -pthread -ldl
}
mistake() { # sanitizer, name, what it is called
    timeout 60 $fixed "$scratch/$1-static" "$2" >"$scratch/out" 2>&1
    verdict "-fsanitize=$1 finds $2 in coroutines" "[ $? != 0 ] && grep -q '$3' '$scratch/out'"
}

# A report has the same names, and the program the same end, with hooks on as without coroutines: the sanitizer's
# own calls (it opens files for the names, and yields as it looks for leaks) do not park with its locks held.
outcome() { # program, mistake, native|private|shared, what it is called, the function's name
    UBSAN_OPTIONS=print_stacktrace=1 timeout -s KILL 60 $fixed "$1" "$2" "$3" >"$scratch/out" 2>&1
    local rc=$?
    grep -q "$4" "$scratch/out" && echo "$rc $(grep -om1 "$5.*mistake_program.cpp:[0-9]*" "$scratch/out")"
}
reports() { # which compiler and linking, sanitizer, program, mistake, what it is called, the function's name
    local stack native found name=$6
    native=$(outcome "$3" "$4" native "$5" "$6")
    verdict "$1 -fsanitize=$2 reports $4: $native" '[[ "$native" == [1-9]*" $name"*:* && "$native" != 137* ]]'
    for stack in private shared; do
        found=$(outcome "$3" "$4" $stack "$5" "$6")
        verdict "$1 -fsanitize=$2 reports $4 in a coroutine with hooks on, on a $stack stack" \
            '[ -n "$found" ] && [ "$found" = "$native" ]'
    done
}
report_all() { # which compiler and linking, sanitizer, program
    case $2 in
    address)
        reports "$@" freed heap-use-after-free use_freed
        reports "$@" leak 'detected memory leaks' lose_memory
        ;;
    thread) reports "$@" freed heap-use-after-free use_freed ;;
    undefined) reports "$@" undefined 'signed integer overflow' add_too_much ;;
    esac
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
    program=mistake build $sanitizer "$scratch/reporter" "$B/libcorun.a" &&
        report_all "${CXX:-g++}" $sanitizer "$scratch/reporter"
    program=mistake build $sanitizer "$scratch/reporter" -L"$B" -lcorun -Wl,-rpath,"$B" &&
        report_all "${CXX:-g++}, libcorun.so," $sanitizer "$scratch/reporter"
done

for sanitizer in address thread undefined; do
    linking=-static-lib$(case $sanitizer in address) echo asan ;; thread) echo tsan ;; *) echo ubsan ;; esac)
    if program=mistake build $sanitizer "$scratch/reporter" $linking "$B/libcorun.a" 2>/dev/null; then
        report_all "${CXX:-g++} $linking" $sanitizer "$scratch/reporter"
    else
        echo "skip - $linking: ${CXX:-g++} has none for ${ARCH:-x86_64}"
    fi
done

# clang links the sanitizer into the program, where its functions come before libc's and ours.
if ! command -v clang++ >/dev/null; then
    echo 'skip - programs of clang: it is not installed'
    exit $status
fi
for sanitizer in address thread undefined; do
    CXX=clang++ program=mistake build $sanitizer "$scratch/reporter" "$B/libcorun.a" 2>"$scratch/out" ||
        { echo "skip - -fsanitize=$sanitizer: clang++ has none for ${ARCH:-x86_64}"; continue; }
    report_all clang++ $sanitizer "$scratch/reporter"
done
for sanitizer in address thread; do
    CXX=clang++ build $sanitizer "$scratch/clang" "$B/libcorun.a" 2>"$scratch/out" ||
        { echo "skip - -fsanitize=$sanitizer: clang++ has none for ${ARCH:-x86_64}"; continue; }
    timeout 250 $fixed "$scratch/clang" >"$scratch/out" 2>&1
    verdict "a program of clang's -fsanitize=$sanitizer with the plain static library" \
        "[ $? = 0 ] && [ \"\$(grep -v '^corun: .*hooks are NOT in effect\|^corun: backtraces need libunwind' '$scratch/out')\" = 'all went well' ]"
done
exit $status
