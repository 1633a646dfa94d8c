# SPDX-License-Identifier: Apache-2.0
# gdb -x this --args env LD_PRELOAD=.../libnative_waist.so unwind_prog: steps through several system
# calls one instruction at a time; wherever in a slot it is, gdb must see main.
set pagination off
set confirm off
set debuginfod enabled off
set breakpoint pending on
# The timer would interrupt every step.
handle SIGPROF nostop noprint nopass
break make_calls
run
python
slots, offsets, broken = 0, set(), []
for step in range(4000):
    gdb.execute("stepi", to_string=True)
    frame = gdb.newest_frame()
    if frame.name() != "corun_slots":
        continue
    slots += 1
    offsets.add(frame.pc() & 63)
    names = []
    while frame:
        names.append(frame.name())
        frame = frame.older()
    if names[-1] != "main" or not any("make_calls" in str(n) for n in names):
        broken.append(names)
    if slots >= 18:
        break
print("slots", slots, "offsets", sorted(offsets), "broken", broken)
if slots >= 18 and {16, 21, 26, 34} <= offsets and not broken:
    print("all stacks whole")
end
kill
