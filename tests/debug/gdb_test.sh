#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# co_routine/debug/co_gdb.py: co list, co bt and co switch show every coroutine of parked.cpp exactly as it
# is, on the live process and on its core files, with libcorun.a and libcorun.so, and harm nothing: the
# program goes on, finds its variables as they were, and ends with status 0.
# time limit: 300 s
. tests/debug/parked.sh
command -v gdb >/dev/null || { echo 'skip - coroutines in gdb: no gdb (apt install gdb)'; exit 0; }
gdb -nx -batch -ex 'python gdb.lookup_static_symbols, gdb.PendingFrame.level' 2>&1 | grep -q . &&
    { echo 'skip - coroutines in gdb: this one has no Python, or is older than 11'; exit 0; }

script=$tree/co_routine/debug/co_gdb.py
gdb_run() { # arguments of gdb
    timeout 120 gdb -nx -batch -ex 'set width 0' -ex 'set height 0' -ex 'set style enabled off' \
        -ex 'set print frame-arguments all' -ex 'set debuginfod enabled off' -ex 'set confirm off' "$@" 2>&1
}
may_not_trace() { # output of gdb, what is skipped
    grep -q 'Operation not permitted' "$1" && echo "skip - $2: this process may not trace others"
}

# What is looked at in each process and core: the list, all frames with their variables, and by `co switch`
# the variables in the innermost nest() of each and how deep it is.
cat >"$scratch/frames.gdb" <<EOF
source $script
echo \nLIST\n
co list
echo \nFRAMES\n
co bt all -full
echo \nVARIABLES\n
EOF
cat >"$scratch/look.gdb" <<EOF
source frames.gdb
python
import re
for line in gdb.execute("co list", to_string=True).splitlines():
    seat = re.search(r"#(\d+) +seat (\d+) ", line)
    if seat:
        gdb.execute("co switch " + seat[1], to_string=True)
        gdb.execute("frame function nest", to_string=True)
        mark = gdb.execute("info locals", to_string=True).strip()
        depth = len(re.findall(r"\bnest\b.* \(seat=", gdb.execute("bt", to_string=True)))
        print("seat", seat[2], mark, "depth", depth)
gdb.execute("co switch back", to_string=True)
end
echo \nEND\n
EOF

part() { sed -n "/^$1\$/,/^$2\$/{//!p}" "$3"; }
seen_list() {
    part LIST FRAMES "$1" |
        sed -nE 's/^ +[0-9]+ +#[0-9]+ +seat ([0-9]+) +(.*) (shared|private) .* begin\(void\*\)$/seat \1 \3 \2/p' |
        sed -E 's/ +0x[0-9a-f]+.*//; s/ fd [0-9]+.*/ fd/; s/ +[0-9.]+ s *$//; s/  +yes *$//; s/ +$//; s/  +/ /g'
}
# The library's own frames, innermost, are left out, but none without a name; so is what is neither frame nor variable.
seen_frames() {
    part FRAMES VARIABLES "$1" | awk '
        line && /^ +mark = [0-9]+$/ { sub(/^ +/, " "); line = line $0; next }
        line { print line; line = "" }
        /^Coroutine #/ { outside = 0; mine = /\047seat [0-9]+\047/; seat = $4; gsub(/[^0-9]/, "", seat); next }
        !mine || NF == 0 || /^No locals/ || /^ / { next }
        !/^#[0-9]+ / { print "seat", seat, $0; next }
        {
            sub(/^#[0-9]+ +(0x[0-9a-f]+ in )?/, "")
            if (/^in_/) outside = 1
            if (!outside && !/^\?\?/) next
            name = $0; sub(/ ?\(.*/, "", name)
            if (name == "nest" && match($0, /seat=[0-9]+, left=[0-9]+/)) name = "nest " substr($0, RSTART, RLENGTH)
            sub(",", "", name)
            line = "seat " seat " " name
        }
        END { if (line) print line }'
}
seen_variables() { part VARIABLES END "$1" | grep '^seat'; }

look_at() { # what, output of the program, output of gdb, aspects (all of them)
    for aspect in ${4:-list frames variables}; do
        expected $aspect "$2" ' seat=SEAT left=LEFT mark = MARK' corun::coroutine_entry coctx_start_frame >expected
        seen_$aspect "$3" | sort -s -V -k2,2 >seen
        compare "$1: $aspect" expected seen
    done
    # Each shared stack has one occupant; all others are looked at where they were copied to.
    [ "$(part LIST FRAMES "$3" | grep -c 'shared 64K, in place')" = 4 ]
    verdict $? "$1: who is in place" "$3"
}

cd "$scratch" || exit 1 # where cores fall
build parked static "$B/libcorun.a"
build parked shared -L"$B" -lcorun -Wl,-rpath,"$B"

for kind in static shared; do
    # Alive, and on a core file that gdb writes of it. Then everybody is released.
    start ./$kind 56
    gdb_run -p $pid -x look.gdb -ex 'gcore by_gdb' -ex 'co gcore by_us' -ex 'co switch 1' -ex 'shell echo go >go' \
        -ex 'break everybody_is_released' -ex continue -ex 'co bt 1025' -ex 'co switch 1030' -ex continue >live
    if may_not_trace live "$kind, alive"; then
        echo go >&7
        wait_for_end
    else
        wait_for_end
        look_at "$kind, alive" said live
        sed -n "/^Coroutine #1025 'keeper', running/,/coctx_start/p" live |
            sed -nE 's/^#[0-9] +(0x[0-9a-f]+ in )?([a-z_:]+).*/\2/p' >seen
        printf '%s\n' everybody_is_released keep corun::coroutine_entry coctx_start_frame >expected
        compare "$kind, alive: the running one" expected seen
        verdict "$code" "$kind: goes on unharmed" live
        gdb_run ./$kind by_us -x look.gdb >dead
        look_at "$kind, co gcore's core" said dead
        # gdb's own leaves out stacks with guard pages (Linux 6.13): nobody goes missing without a word.
        gdb_run ./$kind by_gdb -x "$script" -ex 'co list' >dead
        listed=$(grep -cE '#[0-9]+ +(seat|keeper)' dead) lost=$(sed -n 's/ coroutines are not in this core file.*//p' dead)
        [ $((listed + ${lost:-0})) = 61 ]
        verdict $? "$kind, gcore's core: all are listed, or said to be lost" dead
    fi
    # On the kernel's.
    if ! [[ $(cat /proc/sys/kernel/core_pattern) =~ ^core(\.%p)?$ ]] || ! ulimit -c unlimited 2>/dev/null; then
        echo "skip - $kind, the kernel's core: it writes none into this directory"
        continue
    fi
    rm -f core*
    start ./$kind 56 abort
    echo go >&7
    wait_for_end
    gdb_run ./$kind core* -x look.gdb >dead
    look_at "$kind, the kernel's core" said dead
done

# Of many: one for each way to wait, depth and kind of stack.
start ./shared 1120
gdb_run -p $pid -x frames.gdb -ex 'co gcore many' >live
if may_not_trace live 'of 1,124 coroutines, alive'; then
    echo go >&7
    wait_for_end
else
    echo go >&7
    wait_for_end
    look_at 'of 1,124, alive' said live 'list frames'
    [ "$(seen_list live | wc -l)" = 1124 ] && [ "$code" = 0 ]
    verdict $? 'of 1,124: there are as many, unharmed' errors
    gdb_run ./shared many -x frames.gdb >dead
    look_at "of 1,124, co gcore's core" said dead 'list frames'
fi

# At each instruction of a switch all coroutines have the frames that they had before it.
cat >steps.gdb <<EOF
source $script
tbreak main
run 56 < /dev/null > /dev/null
break *coctx_swap_alike_regs
ignore \$bpnum 12
continue
set scheduler-locking on
python
import re
def frames():
    """Of each, from its own function on."""
    blocks = gdb.execute("co bt all", to_string=True).split("\nCoroutine ")[1:]
    return {block.split()[0]: re.findall(r"^#\d+ +(?:0x\w+ in )?((?:in|nest|begin|corun::coroutine_e|coctx_start_f)\w*)", block, re.M)
            for block in blocks}
before, steps = frames(), 0
while gdb.selected_frame().name().startswith("coctx_swap") and steps < 100:
    now = frames()
    wrong = [(number, now.get(number)) for number in before if before[number] and now.get(number) != before[number]]
    if wrong:
        print("DIFFERENT after", steps, wrong)
        break
    steps += 1
    gdb.execute("stepi", to_string=True)
depths = [len(names) for names in before.values()]
print("THROUGH" if steps > 20 and max(depths) > 20 else "NO SWITCH", steps, depths)
end
kill
EOF
gdb_run ./shared -x steps.gdb >steps
what='at each instruction of a switch all frames are whole'
if ! may_not_trace steps "$what"; then
    grep -q '^THROUGH' steps && ! grep -q '^DIFFERENT' steps
    verdict $? "$what" steps
fi

# Without debug information there is an error that says what to do.
mkdir stripped
objcopy --strip-debug "$B/libcorun.so" stripped/libcorun.so.1
build parked bare -L"$B" -lcorun -Wl,-rpath,"$scratch/stripped"
start ./bare 56
gdb_run -p $pid -x "$script" -ex 'co list' >bare.log
echo go >&7
wait_for_end
what='without debug information an error says what to do'
if ! may_not_trace bare.log "$what"; then
    grep -q 'corun: the libcorun in .*/stripped/libcorun.so.1 has no debug information' bare.log
    verdict $? "$what" bare.log
fi

# Threads of a program that corun runs.
[ -x "$B/corun" ] || { echo 'skip - under corun: no launcher in this build'; exit $status; }
build gdb_threads threads
start "$B/corun" ./threads
gdb_run -p $pid -x "$script" -ex 'info threads' -ex 'co bt all' -ex 'shell echo go >go' -ex continue >live
may_not_trace live 'under corun' && { echo go >&7; wait_for_end; exit $status; }
wait_for_end
awk '!/^#/ { at = ""; next }
    { sub(/^#[0-9]+ +(0x[0-9a-f]+ in )?/, ""); name = $0; sub(/ ?\(.*/, "", name) }
    /^in_/ { at = name; next }
    at && name == "nest" { at = at "+"; next }
    at { print at, name; at = "" }' live | sort >seen
printf '%s\n' in_lock+ in_lock+++ in_lock+++++ in_read++ in_read++++ in_read++++++ | sed 's/$/ begin/' | sort >expected
compare "under corun: each thread's frames, through the system call" expected seen
grep -q '^corun: and [0-9]* coroutines, which run on them: see co list' live
verdict $? 'under corun: info threads tells of them' live
verdict "$code" 'under corun: the program goes on unharmed' live
exit $status
