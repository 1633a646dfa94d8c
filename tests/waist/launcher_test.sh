#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The launcher: its options, its exit statuses, what it hands over, and which programs it refuses. The
# library behind it is an empty one here, so that the program sees what was handed over.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
[ "${ARCH:-x86_64}" = x86_64 ] || { echo 'corun is for x86_64'; exit 77; }
[ -x "$B/corun" ] || { echo 'corun is not built'; exit 77; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD LD_LIBRARY_PATH
cd "$scratch" || exit 1
mkdir dir
cp "$B/corun" .
echo 'int corun_nothing; void *malloc(unsigned long); void *corun_use(void) { return malloc(1); }' >empty.c
$CC -w -shared -fPIC empty.c -o libcorun_waist.so || exit 1
waist=$scratch/libcorun_waist.so

# says STATUS PATTERN ARGUMENTS...: corun ends with that status, and its output matches.
says() {
    local wanted=$1 pattern=$2 got
    shift 2
    timeout 20 "$scratch/corun" "$@" >"$scratch/out" 2>&1 </dev/null
    got=$?
    echo "# status $got: corun $*" >>"$scratch/out"
    [ $got = "$wanted" ] && grep -qE -- "$pattern" "$scratch/out"
}
refuses() { says 125 "^corun: $1" "${@:2}"; }
# The environment that COMMAND begins with; the library takes its part out later.
handed() { "$scratch/corun" "$@" cat /proc/self/environ | tr '\0' '\n' >"$scratch/out"; }
has() { grep -qxF -- "$1" "$scratch/out"; }

# ---- Options
verdict '--help' 'says 0 "^usage: corun " --help'
verdict '--version' 'says 0 "^corun [0-9.]+$" --version'
verdict 'no command' 'refuses "no COMMAND" && refuses "no COMMAND" --stats --'
verdict 'an unknown option' 'refuses "unknown option .--stat.;" --stat true && refuses "unknown option .-x.;" -x true'
verdict 'options end at the command' 'says 0 "^--stats$" echo --stats'
verdict '... and at --' 'says 0 "^x$" --stats -- echo x && says 127 "^corun: --stats: No such" -- --stats'
good=0 bad=0
for size in 16384 16K 64k 8M 1G 1073741824; do says 0 '' --stack=$size true && good=$((good + 1)); done
for size in '' 0 -1 16383 15K 1025M 2G 64KB 64X 0x10000 1e5 ' 64K' 99999999999999999999 18446744073709551617; do
    refuses '--stack' "--stack=$size" true && bad=$((bad + 1))
done
verdict "stack sizes: 6 good ones, 14 bad ones" '[ $good = 6 ] && [ $bad = 14 ]'
verdict 'a value as a word of its own' 'says 0 x --stack 64K echo x && refuses "--stack: its value is missing" --stack && refuses "--stack: its value is missing .true is a program" --stack true && refuses "--debug: its value is missing .true is" --debug true'
verdict '--debug: known words' 'says 0 x --debug=stacks,overflow,hooks,blocked,blocked:100,sites echo x'
verdict '--debug: unknown words' 'refuses "--debug: unknown word .hook." --debug=hooks,hook true && refuses "--debug" --debug= true && refuses "--debug: no number from 1 to 3600000 in .blocked:0." --debug=blocked:0 true && refuses "--debug" --debug=blocked:3600001 true'
CORUN_DEBUG=blcked verdict 'CORUN_DEBUG is looked at as --debug is' 'refuses "CORUN_DEBUG: unknown word .blcked." true && says 0 x --debug=sites echo x'
CORUN_DEBUG= verdict '... and may be empty' 'says 0 x echo x'
verdict '--stats: a comma' 'refuses "--stats=a,b: no comma" --stats=a,b true && refuses "--stats=: the name" --stats= true'
good=0 bad=0
for name in USR1 SIGUSR2 10 HUP RTMIN SIGRTMIN+3 RTMAX RTMAX-1 40; do says 0 '' --stats-signal=$name true && good=$((good + 1)); done
for name in '' 0 KILL STOP SEGV 11 CHLD TERM 32 65 RTMIN+31 RTMAX-31 USR3; do
    refuses "--stats-signal=${name/+/.}: it may be HUP, QUIT" --stats-signal=$name true && bad=$((bad + 1))
done
verdict '--stats-signal: 9 good ones, 13 bad ones' '[ $good = 9 ] && [ $bad = 13 ]'

# ---- What is handed over
handed
verdict 'the library comes first, and options are there' 'has "LD_PRELOAD=$waist" && has "CORUN_OPTIONS=" && ! grep -q CORUN_DEBUG "$scratch/out"'
handed --stack=64K --stats --inherit --or-native --stats-signal=USR1 --debug=sites,hooks
verdict 'the options' 'has "CORUN_OPTIONS=stack=65536,stats,stats_signal=10,inherit,or_native" && has "CORUN_DEBUG=sites,hooks"'
handed --stats=table.txt
verdict 'the file of --stats by its whole path' 'has "CORUN_OPTIONS=stats=$scratch/table.txt"'
: >empty2.c; $CC -shared -fPIC empty2.c -o libother.so
LD_PRELOAD="$scratch/libother.so $waist" CORUN_DEBUG=blocked handed
verdict 'what was preloaded stays, behind; CORUN_DEBUG too' 'has "LD_PRELOAD=$waist:$scratch/libother.so" && has "CORUN_DEBUG=blocked"'
verdict 'the status of the program' 'says 7 "" sh -c "exit 7"'
mkdir "a dir" && cp corun libcorun_waist.so "a dir"
verdict 'a path that LD_PRELOAD cannot hold' '"a dir/corun" true >out 2>&1; [ $? = 125 ] && grep -q "holds a blank" out'
mkdir -p prefix/bin prefix/lib/corun && cp corun prefix/bin && cp libcorun_waist.so prefix/lib/corun
verdict 'installed, it finds the library in lib/corun' '[ "$(prefix/bin/corun sh -c "echo \$LD_PRELOAD" 2>/dev/null)" = "$scratch/prefix/lib/corun/libcorun_waist.so" ]'
mkdir alone && cp corun alone
verdict 'without the library' 'alone/corun true >out 2>&1; [ $? = 125 ] && grep -q "libcorun_waist.so is not there" out'

# ---- Finding the command
cp "$(type -P true)" native
cp native dir/noexec && chmod 644 dir/noexec
verdict '127: no such command' 'says 127 "^corun: no-such-thing: No such file" no-such-thing && says 127 "No such" ./no/such && says 127 "" ""'
verdict '126: a directory, and a file that is not executable' 'says 126 "^corun: .*: Is a directory" "$scratch/dir" && says 126 "Permission denied" dir/noexec'
verdict '126: in PATH, and not executable' 'PATH=$scratch/dir:$PATH says 126 "Permission denied" noexec'
verdict 'PATH: the next directory has it' 'mkdir later && cp native later/noexec && PATH=$scratch/dir:$scratch/later:$PATH says 0 "" noexec'
printf '#!/no/such/interpreter\n' >orphan && chmod +x orphan
verdict '126: a script without its interpreter' 'says 126 "its interpreter /no/such/interpreter: No such file" ./orphan'
ln -s loop1 loop2; printf '#!%s/self\n' "$scratch" >self && chmod +x self
verdict '126: a script that is its own interpreter' 'says 126 "interpreters, one behind the other" ./self'

# ---- Scripts
printf '#!%s -u \n' "$(command -v cat)" >script && chmod +x script
verdict 'a script' 'says 0 "^#!.*cat -u" ./script'
printf '#!/usr/bin/env -S cat -u\n' >split && printf '#!/usr/bin/env cat\n' >simple && chmod +x split simple
verdict '"env X" in a script is stepped over' 'says 0 "^#!/usr/bin/env cat" ./simple && says 0 "program +.*/cat " --check ./simple && says 0 "program +.*/cat " --check ./split && says 0 "^#!/usr/bin/env -S" ./split'
printf '#!/usr/bin/env no-such-thing\n' >lost && chmod +x lost
verdict '... and 127 as env' 'says 127 "no-such-thing: No such file" ./lost'
printf 'echo $0 "$@"\n' >bare && chmod +x bare
verdict 'a file without a first line is for the shell' 'says 0 "^./bare a  b$" ./bare "a  b"'
printf '#!\necho nobody $0\n' >nobody && chmod +x nobody
verdict '... and so is one whose first line names nobody' 'says 0 "^nobody ./nobody$" ./nobody'
verdict 'what a shell script starts runs natively: that is said' 'says 0 "^corun: ./bare is a script for .*sh, and what it starts runs natively" ./bare && ! says 0 "runs natively" --inherit ./bare'
verdict '... and of nice and its like' 'says 0 "^corun: nice starts another program" nice true && ! says 0 "runs natively" --inherit nice true'

# ---- What cannot be run
patched() { # file, offset, bytes: a copy of a native program with other bytes
    cp native "$1" && printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
patched i386 18 '\003\000'
patched x32 4 '\001'
patched arm 18 '\267\000'
head -c 1000 native >damaged && chmod +x damaged
verdict '32-bit programs' 'refuses "./i386: it is a 32-bit program .i386." ./i386 && refuses "./x32: it is a 32-bit program .x32." ./x32'
verdict 'programs for another machine' 'refuses "./arm: it is .* another machine .aarch64." ./arm'
verdict 'a damaged one' 'refuses "./damaged: it is a damaged file" ./damaged'
echo 'int main(void) { return 0; }' >empty_main.c
$CC -static empty_main.c -o static && verdict 'static programs' 'refuses "./static: it is a static program" ./static'
$CC empty_main.c -Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1 -o musl
verdict 'programs of musl' 'refuses "./musl: it is loaded by /lib/ld-musl-x86_64.so.1.*build it for glibc" ./musl'
$CC empty_main.c -Wl,--dynamic-linker="$scratch/ld-linux-x86-64.so.2" -o foreign
verdict 'a loader that is not there' 'refuses "./foreign: its loader .* No such file" ./foreign'
cp "$waist" ld-linux-x86-64.so.2
verdict "a loader that is not glibc's" 'refuses "./foreign: its loader .* is not glibc.s" ./foreign'
verdict 'the loader itself' 'refuses ".*: it is the dynamic loader itself" /lib64/ld-linux-x86-64.so.2 ./native'
verdict 'by way of a script too' 'printf "#!%s/static\n" "$scratch" >by && chmod +x by && refuses "./by: it is a static program" ./by'
cp native setuid && chmod u+s setuid
cp native setgid && chmod g+s setgid
verdict 'setuid programs, whatever the options say' 'refuses "./setuid: it is setuid" ./setuid && refuses "./setuid: it is setuid" --or-native ./setuid && refuses "./setgid: it is setgid" --or-native ./setgid'
printf '#!%s/setuid\n' "$scratch" >to_setuid && chmod +x to_setuid
verdict '... also as interpreters' 'refuses "./to_setuid: .*/setuid is setuid" --or-native ./to_setuid'
cp native capable
if setcap cap_net_raw+ep capable 2>/dev/null; then
    verdict 'file capabilities' 'refuses "./capable: it has file capabilities" --or-native ./capable'
else
    echo 'skip - file capabilities: setcap does not work here'
fi
echo 'int main(void) { extern int corun_nothing; return corun_nothing; }' >user.c
cp "$waist" libcorun.so && $CC user.c -L. -l:libcorun.so -Wl,-rpath,"\$ORIGIN" -o linked
verdict 'programs that are linked with libcorun' 'refuses "./linked: it has coroutines of its own already .libcorun.so" ./linked'
verdict '... or have it preloaded' 'LD_PRELOAD=$scratch/libcorun.so refuses "true: it has coroutines of its own already" true'
echo 'int __tsan_init; int main(void) { return 0; }' >tsan.c && $CC -rdynamic tsan.c -o tsan
echo '__attribute__((section(".go.buildinfo"))) int i = 1; int main(void) { return 0; }' >go.c && $CC go.c -o go
verdict 'programs of a sanitizer' 'refuses "./tsan: it is built with ThreadSanitizer" ./tsan'
verdict 'Go programs' 'refuses "./go: it is a Go program" ./go'
mkdir old && sed 's/release version 2\.[0-9][0-9]/release version 2.01/' "$($CC -print-file-name=libc.so.6)" >old/libc.so.6
verdict 'a libc older than ours' 'LD_LIBRARY_PATH=$scratch/old says 125 "no +it is loaded with glibc 2.01 .*, and this corun needs 2" --check ./native'

# ---- --or-native
verdict '--or-native runs it, and says so' 'says 0 "^corun: ./static: it is a static program.*; it is run without corun$" --or-native ./static'
verdict '... with its environment untouched' 'alone/corun --or-native --stats --debug=hooks cat /proc/self/environ 2>/dev/null | tr "\0" "\n" >out; ! grep -qE "^(LD_PRELOAD|CORUN_OPTIONS|CORUN_DEBUG)=" out'

# ---- What lies on the process
cat >under.c <<'C'
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **argv) {
    if (count < 3)
        return 1;
    if (strcmp(argv[1], "mdwe") == 0) {
        if (prctl(65, 1L, 0L, 0L, 0L) != 0)
            return 77;
    } else {
        unsigned answer = strcmp(argv[1], "kill") == 0  ? SECCOMP_RET_KILL_PROCESS
                          : strcmp(argv[1], "deny") == 0 ? SECCOMP_RET_ERRNO | EPERM
                                                         : SECCOMP_RET_ALLOW;
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_create1, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, answer),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
        struct sock_fprog filter = {4, code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, 2, &filter) != 0)
            return 77;
    }
    execvp(argv[2], argv + 2);
    return 1;
}
C
$CC under.c -o under || exit 1
under() { # kind, wanted status, pattern, arguments
    timeout 20 ./under "$1" ./corun "${@:4}" >out 2>&1
    local got=$?
    echo "# status $got" >>out
    [ $got = "$2" ] && grep -qE -- "$3" out
}
if ./under mdwe true; then
    verdict 'MemoryDenyWriteExecute' 'under mdwe 125 "^corun: true: MemoryDenyWriteExecute .*MemoryDenyWriteExecute=no" true && under mdwe 0 "without corun" --or-native true && under mdwe 125 "^  kernel +Linux [0-9]" --check true'
else
    echo 'skip - MemoryDenyWriteExecute: this kernel has no PR_SET_MDWE'
fi
if ./under allow true; then
    verdict 'a seccomp filter that allows all' 'under allow 0 "" true && under allow 0 "note +a seccomp filter" --check true'
    verdict 'one that denies what is needed' 'under deny 125 "forbidden here .epoll_create1: Operation not permitted" true'
    verdict 'one that kills for it' 'under kill 125 "forbidden here .epoll_create1: Bad system call" true'
else
    echo 'skip - seccomp filters: not allowed here'
fi
if command -v setpriv >/dev/null; then
    verdict 'without new privileges' 'setpriv --no-new-privs ./corun true && setpriv --no-new-privs ./corun --check true | grep -q "no new privileges"'
fi

# ---- --check
verdict '--check runs nothing' 'says 0 "^corun can run it$" --check touch made && [ ! -e made ]'
verdict '... says what it found' 'says 0 "^  libc +glibc 2\.[0-9]+ \(/.*libc.so.6\)$" --check ./native && grep -qE "^  loader +/lib64/ld-linux-x86-64.so.2$" out && grep -qE "^  kernel +Linux .*FSGSBASE" out && grep -qE "^  corun +$waist$" out'
verdict '... and why not' 'says 125 "^  no +it is a static program" --check ./static && grep -q "^corun cannot run it$" out && grep -q -- "-> link it dynamically" out'
cat >inline.c <<'C'
long good(void);
long bad(void); // no room for a jump: rsp changes before and behind
__asm__(".type good,@function\n.globl good\ngood: .cfi_startproc\nmov $39,%eax\nsyscall\nret\n.cfi_endproc\n.size good,.-good\n"
        ".type bad,@function\n.globl bad\nbad: .cfi_startproc\nxor %eax,%eax\npush %rbx\nsyscall\npop %rbx\nret\n.cfi_endproc\n.size bad,.-bad");
int main(int count, char **argv) { return argv == 0 ? (int)(good() + bad()) : count == 0; }
C
$CC -rdynamic inline.c -o inline
verdict 'system calls of libc, and of the program itself' 'says 125 "^  calls +inline: 1 of 2 system call sites covered$" --check ./inline && grep -qE "^ +libc.so.6: [0-9]{3} of [0-9]{3} system call sites covered$" out'
verdict '... and what cannot be covered' 'says 125 "^  no +1 system call of inline cannot be covered \(bad\+0x3, number 0: .*rsp" --check ./inline'
"$B/corun" ./inline 2>out
got=$?
verdict '... is refused by the library as by the launcher' '[ $got = 125 ] && grep -q "^corun: ./inline: it cannot be run as coroutines: it makes system calls that .*--or-native runs it without corun" out'
"$B/corun" --or-native ./inline 2>out
got=$?
verdict '... and --or-native runs it' '[ $got = 0 ] && grep -q "^corun: ./inline: .*; it is run without corun$" out'
cat >forks.c <<'C'
#include <sys/socket.h>
#include <unistd.h>
int main(void) { return accept(0, 0, 0) + fork(); }
C
cat >spins.c <<'C'
#include <pthread.h>
pthread_spinlock_t l;
static void *f(void *p) { return pthread_spin_lock(&l), p; }
int main(void) { pthread_t t; return pthread_create(&t, 0, f, 0) + pthread_spin_lock(&l); }
C
$CC forks.c -o forks && $CC spins.c -o spins -pthread
verdict 'a process per connection' 'says 0 "^  note +it accepts connections and forks.*a process per connection" --check ./forks'
verdict 'spinning' 'says 0 "^  note +spins takes spin locks" --check ./spins && ! grep -q "process per connection" out'
verdict 'nothing to gain' 'says 0 "^  note +neither it nor its libraries make threads" --check ./native'
sed 's/\$39/$426/' inline.c >own_ring.c && $CC -rdynamic own_ring.c -o own_ring
verdict 'io_uring without liburing' 'says 125 "^  note +own_ring makes io_uring.s system calls itself" --check ./own_ring'
echo 'void io_uring_queue_init(void); void io_uring_queue_init(void) {}' >ring.c
echo 'void io_uring_queue_init(void); int main(void) { io_uring_queue_init(); return 0; }' >rings.c
$CC -shared -fPIC ring.c -Wl,-soname,libring.so.1 -o libring.so.1
$CC rings.c -L. -l:libring.so.1 -o rings
verdict 'io_uring, and a library that is not found' 'says 0 "^  note +io_uring: rings" --check ./rings && grep -q "not found: libring.so.1" out'
verdict '$ORIGIN in a library path' '$CC rings.c -L. -l:libring.so.1 -Wl,-rpath,"\$ORIGIN/../$(basename "$scratch")" -o rings2 && says 0 "libraries +[0-9]+$" --check ./rings2'
cp forks stripped && printf '\000\000' | dd of=stripped bs=1 seek=60 conv=notrunc status=none # e_shnum
verdict 'imports without section headers' 'says 0 "a process per connection" --check ./stripped'
cut=0
for n in 64 100 500 1000 2000 4000 8000 12000; do
    head -c $n forks >short && chmod +x short
    "$scratch/corun" --check ./short >/dev/null 2>&1
    [ $? -gt 128 ] || cut=$((cut + 1))
done
for seed in $(seq 200); do # bytes of the headers and the dynamic table, changed
    cp forks short
    printf '\377' | dd of=short bs=1 seek=$((seed * 61 % 1200)) conv=notrunc status=none
    "$scratch/corun" --check ./short >/dev/null 2>&1
    [ $? -gt 128 ] || cut=$((cut + 1))
done
verdict 'it survives damaged files' '[ $cut = 208 ]'
exit $status
