#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# co_hook_report for each way of linking: what leads to corun, what elsewhere, what is not covered;
# also of an object that was dlopen'ed. CORUN_DEBUG=hooks prints it. Contract 32.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
run() { timeout 20 "$@" >"$scratch/out" 2>&1; }
has() { grep -qE "$1" "$scratch/out"; }

cat >"$scratch/prog.c" <<'END'
#include <co_hook.h>
#include <co_routine.h>
#include <dlfcn.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>
static void *enable(void *unused) {
    co_enable_hook_sys();
    return unused;
}
int main(int count, char **names) {
    char c;
    if (count > 5)
        return (int)read(0, &c, 1) + tcdrain(0);
    if (count > 2 && !dlopen(names[2], RTLD_NOW))
        return puts(dlerror());
    if (names[1][0] == 'e') {
        co_go(NULL, NULL, enable, NULL);
        co_run();
        return 0;
    }
    int lost = co_hook_report(stdout);
    printf("lost %s, read %d\n", lost ? "some" : "none", co_hook_is_hooked("read"));
    return 0;
}
END
cat >"$scratch/plugin.c" <<'END'
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include <termios.h>
int plugin(struct pollfd *p);
int plugin(struct pollfd *p) { return poll(p, 1, -1) + tcdrain(0) + (int)sleep(1); }
END
$CC $flags -shared -fPIC "$scratch/plugin.c" -o "$scratch/libplugin.so" || exit 1
link() { $CC $flags -O1 -Ico_routine -Ico_hook "$scratch/prog.c" "$@" -pthread -ldl; }

link "$B/libcorun.a" -o "$scratch/archive" || exit 1
run "$scratch/archive" r "$scratch/libplugin.so"
verdict 'the archive: all names are in effect' 'has "^lost none, read 1$" && has "^corun: [0-9]+ names, [0-9]+ in effect$"'
verdict "what a dlopen'ed object imports is listed" 'has "^poll .* corun .*libplugin.so" && has "^sleep .* corun .*libplugin.so"'
verdict 'what may block and is not covered is listed with its users' \
    'has "^imported, may block, not covered$" && has "^tcdrain .*archive, libplugin.so .*terminal"'

ln -s "$B/libcorun.so" "$scratch/libcorun.so.1"
link -Wl,--no-as-needed "$B/libcorun.so" -Wl,-rpath,"$scratch" -o "$scratch/shared" || exit 1
run "$scratch/shared" r "$scratch/libplugin.so"
verdict 'the shared library: all names are in effect' 'has "^lost none, read 1$" && has "^read .* corun .*shared"'
link -no-pie -Wl,--no-as-needed "$B/libcorun.so" -Wl,-rpath,"$scratch" -o "$scratch/fixed" || exit 1
run "$scratch/fixed" r "$scratch/libplugin.so"
verdict 'a program at a fixed address' 'has "^lost none, read 1$" && has "^read .* corun .*fixed"'
link -Wl,-z,lazy -Wl,--no-as-needed "$B/libcorun.so" -Wl,-rpath,"$scratch" -o "$scratch/lazy" || exit 1
run "$scratch/lazy" r "$scratch/libplugin.so"
verdict 'names that are bound at the first call' 'has "^lost none, read 1$" && has "^read .* corun .*lazy"'

run env LD_PRELOAD=libc.so.6 "$scratch/shared" r "$scratch/libplugin.so"
verdict 'behind libc: nothing is in effect, and libc is named' \
    'has "^lost some, read 0$" && has "^read .* libc.so.6 .*shared \(-> libc.so.6\)" && has "names, 1?[0-9]? in effect: "'
# One object of the program's own defines poll: the rest leads to us.
cat >"$scratch/mine.c" <<'END'
int poll(void *fds, unsigned long n, int ms);
int poll(void *fds, unsigned long n, int ms) { return fds && n && ms ? 0 : 1; }
END
$CC $flags -shared -fPIC -w -fno-builtin "$scratch/mine.c" -o "$scratch/libmine.so"
run env LD_PRELOAD="$scratch/libmine.so" "$scratch/shared" r "$scratch/libplugin.so"
verdict 'a name that another library has taken' \
    'has "^lost some, read 1$" && has "^poll .* libmine.so .*libplugin.so \(-> libmine.so\)" && has "^read .* corun"'

if link "$B/libcorun.a" -static -o "$scratch/static" 2>/dev/null; then
    run "$scratch/static" r
    verdict 'a -static program: what has no second name in libc.a is libc'"'"'s' \
        'has "^lost some, read 1$" && has "^corun: hooks in static \(static\)$" && has "^__overflow .* libc " && has "^read .* corun "'
else
    echo 'skip - a -static program: it does not link here'
fi

run env CORUN_DEBUG=hooks "$scratch/archive" e
verdict 'CORUN_DEBUG=hooks prints it when hooks are first enabled' \
    '[ "$(grep -c "^corun: hooks in archive$" "$scratch/out")" = 1 ] && has "^accept .* corun"'
run "$scratch/archive" e
verdict 'without it nothing is printed' '[ ! -s "$scratch/out" ]'
exit $status
