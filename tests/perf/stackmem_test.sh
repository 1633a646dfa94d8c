#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# corun-stackmem: every kind makes what was asked for, the files say what the table says, bad input is
# refused, and where it stops it says of what.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
stackmem=$B/corun-stackmem
[ -x "$stackmem" ] || { echo "$stackmem is not built"; exit 1; }
unset CORUN_DEBUG LD_PRELOAD
cd "$scratch" || exit 1
all_kinds='private-64k private-4k shared-1 shared-16 shared-256 pthread ucontext'

measure() { timeout -k 5 60 "$stackmem" --quick "$@" >out 2>err </dev/null; code=$?; }
# field KIND COUNT NAME: of the measurements in `csv`.
field() {
    /usr/bin/python3 -c '
import csv, sys
for row in csv.DictReader(open("csv", newline="")):
    if row["kind"] == sys.argv[1] and row["count"] == sys.argv[2]:
        print(row[sys.argv[3]])' "$@"
}
refused() { # words that the line has, options...
    local words=$1
    shift
    measure "$@"
    [ $code = 2 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && grep -q "^corun-stackmem: .*$words" err
}

measure --count 20,300 --live 1024 --csv csv --json json
verdict 'it runs, and says nothing on stderr where that is a file' '[ $code = 0 ] && [ ! -s err ]'
for kind in $all_kinds; do
    verdict "$kind: as many as were asked for, in the table too" \
        '[ "$(field $kind 20 made)/$(field $kind 300 made)" = 20/300 ] && [ -z "$(field $kind 300 stopped_by)" ] && grep -qE "^$kind +300 " out'
    verdict "$kind: five times were taken" \
        'for t in create two_in_turn in_order shuffled end; do awk "BEGIN{exit !($(field $kind 300 ${t}_ns) > 0)}" || exit 1; done'
done
verdict 'a private stack is a page at least' '[ "$(field private-64k 300 rss)" -ge $((300 * 4096)) ]'
verdict 'threads have kernel stacks, 16 KiB each' '[ "$(field pthread 300 kernel_stacks)" = $((300 * 16384)) ] && [ "$(field shared-1 300 kernel_stacks)" = 0 ]'
verdict 'shared stacks: all but those in place are saved, with their live bytes' \
    '[ "$(field shared-1 300 saved)" -ge $((299 * 1024)) ] && [ "$(field shared-16 300 saved)" -ge $((284 * 1024)) ] && [ "$(field shared-256 300 saved)" -ge $((44 * 1024)) ] && [ "$(field shared-256 20 saved)" = 0 ]'
verdict 'guards of 64 KiB take more addresses than those of 4 KiB' \
    '[ $(($(field private-64k 300 virtual) - $(field private-4k 300 virtual))) -ge $((300 * 60 * 1024)) ]'
/usr/bin/python3 - >compared 2>&1 <<'PYTHON'
import csv, json
rows = list(csv.DictReader(open("csv", newline="")))
data = json.load(open("json"))
texts = {"kind", "touch", "stopped_by", "raise"}
assert len(rows) == len(data["measurements"]) == 14 and data["kernel"]
for row, one in zip(rows, data["measurements"]):
    assert list(row) == list(one), (row, one)
    for name, value in row.items():
        same = one[name] == value if name in texts else \
            one[name] is None if value == "" else float(one[name]) == float(value)
        assert same, (name, value, one[name])
print("same")
PYTHON
verdict 'CSV and JSON have the same fields and values' '[ "$(cat compared)" = same ] || { cat compared; false; }'

# ---- The shape of the stack
saved() { measure --count 50 --kind shared-1 --csv csv "$@"; field shared-1 50 saved; }
flat=$(saved --live 2000)
deep=$(saved --live 2000 --depth 50)
verdict 'fifty frames hold more than one with the same live bytes' '[ "$flat" -gt 98000 ] && [ "$deep" -gt $((flat + 49 * 49 * 16)) ]'
rss() { measure --count 200 --kind private-4k --csv csv "$@"; field private-4k 200 rss; }
written=$(rss --live 65536) ends=$(rss --live 65536 --touch ends) none=$(rss --live 65536 --touch none)
verdict 'pages of live bytes that nobody writes are not there' '[ "$written" -ge $((200 * 65536)) ] && [ "$none" -lt $((200 * 3 * 4096)) ] && [ "$ends" -lt $((written / 4)) ]'

# ---- Choice and places
measure --count 20 --live 64 --kind shared,ucontext --csv -
verdict '--kind by how they begin; CSV in place of the table' \
    '[ $code = 0 ] && [ "$(cut -d, -f1 out | tr "\n" " ")" = "kind \"shared-1\" \"shared-16\" \"shared-256\" \"ucontext\" " ]'
measure --count 20 --live 64 --kind shared-1 --json -
verdict '--kind shared-1 is not shared-16; JSON in place of the table' \
    '[ "$(/usr/bin/python3 -c "import json; print([m[\"kind\"] for m in json.load(open(\"out\"))[\"measurements\"]])")" = "['"'shared-1'"']" ]'
measure --help
verdict '--help' '[ $code = 0 ] && [ ! -s err ] && grep -q "^usage: corun-stackmem" out'
/usr/bin/python3 -c 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) != 0)' \
    "$stackmem" --quick --count 20 --live 64 --kind shared >out
code=$?
verdict 'a bar on a terminal' '[ $code = 0 ] && grep -q "\[[#.]*\] 2 of 3: shared-16, 20 x 64 bytes" out'

# ---- Pictures
if command -v gnuplot >/dev/null; then
    made_of() { # the pictures in a directory: what each is
        /usr/bin/python3 -c '
import struct, sys, xml.dom.minidom
for name in "memory", "switch":
    data = open(f"{sys.argv[1]}/{name}.png", "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND"
    svg = xml.dom.minidom.parse(f"{sys.argv[1]}/{name}.svg").documentElement
    text = [t.firstChild.data.strip() for t in svg.getElementsByTagName("tspan") if t.firstChild]
    kinds = sum(k in text for k in sys.argv[2:])
    print(name, struct.unpack(">II", data[16:24]), svg.tagName, kinds)' "$1" $all_kinds 2>&1
    }
    measure --count 20,40 --live 64,1024,4096 --plot "it's a directory"
    verdict 'pictures: PNG and SVG, a panel for each, a line for each kind' \
        '[ $code = 0 ] && [ ! -s err ] && [ "$(made_of "it'"'"'s a directory" | tr "\n" " ")" = "memory (1440, 440) svg 7 switch (960, 440) svg 7 " ] || { cat err; made_of "it'"'"'s a directory"; false; }'
    measure --count 20 --live 64 --kind shared-1 --plot one
    verdict 'a picture with one point' '[ $code = 0 ] && [ ! -s err ] && [ "$(made_of one | tr "\n" " ")" = "memory (480, 440) svg 1 switch (480, 440) svg 1 " ] || { cat err; made_of one; false; }'
    verdict 'no directory can be there' 'refused "No such file or directory" --plot /no/such/place && refused "not a directory" --plot csv'
    mkdir bin && printf '#!/bin/sh\nexit 1\n' >bin/gnuplot && chmod +x bin/gnuplot
    (PATH=$PWD/bin:$PATH; measure --count 20 --live 64 --kind shared-1 --csv csv --plot two; exit $code)
    code=$?
    verdict 'a gnuplot that fails: said, and the other files are there' '[ $code = 1 ] && [ "$(wc -l <err)" = 1 ] && grep -q "two: gnuplot did not make memory" err && [ "$(field shared-1 20 made)" = 20 ]'
else
    echo 'skip - pictures: no gnuplot'
fi
mkdir -p empty
timeout 20 env PATH="$PWD/empty" "$stackmem" --plot pictures >out 2>err
code=$?
verdict 'without gnuplot: what to install' '[ $code = 2 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && grep -q "apt install gnuplot-nox" err'

# ---- Bad input
verdict 'counts' 'refused "a number from 1 to" --count 10,0 && refused "a number from 1 to" --count 10, && refused "\"1e3\" is not a number" --count 1e3'
verdict 'live bytes, frames' 'refused "from 64 to 65536" --live 63 && refused "from 64 to 65536" --live=65537 && refused "from 1 to 1000" --depth 0 && refused "give each frame a byte" --live 64 --depth 65'
verdict 'kinds, touch' 'refused "there is no \"fibre\"" --kind pthread,fibre && refused "there is no \"\"" --kind pthread, && refused "all, ends, none" --touch some'
verdict 'stacks' 'refused "from 16K to 1G" --stack 15K && refused "from 16K to 1G" --stack 2G && refused "from 16K to 1G" --stack 16X && refused "give it 28K at least" --stack 16K --live 16384'
verdict 'options, values, files' 'refused "no such option" --counts 10 && refused "wants a value" --count && refused "cannot both" --csv - --json - && refused "/no/such/file: No such file" --csv /no/such/file'

# ---- Limits
(ulimit -v 300000; measure --count 20000 --live 64 --kind private-64k,pthread,ucontext --csv csv; exit $code)
code=$?
verdict 'address space: where each stops, and what to raise' \
    'for k in private-64k pthread ucontext; do made=$(field $k 20000 made); [ "$made" -gt 100 ] && [ "$made" -lt 3000 ] && field $k 20000 stopped_by | grep -q "address space is 292 MiB (ulimit -v)" && [ "$(field $k 20000 raise)" = "ulimit -v unlimited" ] || exit 1; done; [ $code = 0 ] && grep -q "stops at .* of 20,000: the limit of address space" out'
if [ "$(id -u)" = 0 ] && command -v setpriv prlimit >/dev/null; then
    chmod 755 . && cp "$stackmem" stackmem && chmod 755 stackmem
    setpriv --reuid=61234 --clear-groups prlimit --nproc=100 timeout -k 5 60 ./stackmem --quick \
        --count 300 --live 64 --kind pthread,private --csv - >csv 2>err
    code=$?
    verdict 'processes of a user: threads stop, coroutines do not' \
        '[ $code = 0 ] && [ "$(field pthread 300 made)" -ge 50 ] && [ "$(field pthread 300 made)" -lt 100 ] && field pthread 300 stopped_by | grep -q "limit of processes is 100" && [ "$(field private-4k 300 made)" = 300 ]'
else
    echo 'skip - processes of a user: not root'
fi
# A machine with little memory, and one with few process numbers: what /proc says, in a mount namespace.
sed 's/^MemAvailable:.*/MemAvailable:   30000 kB/' /proc/meminfo >meminfo
echo 2000 >pid_max
in_place_of() { # file, its place, options of corun-stackmem
    unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' - "$1" "$2" timeout -k 5 60 "$stackmem" --quick \
        "${@:3}" --csv csv >out 2>err
    code=$?
}
if unshare -m sh -c "mount --bind $PWD/meminfo /proc/meminfo" 2>/dev/null; then
    in_place_of "$PWD/meminfo" /proc/meminfo --count 1000,20000,30000 --live 64 --kind private-64k,shared-1
    verdict 'memory: a third is left, and larger counts are left out' \
        '[ $code = 0 ] && [ "$(field private-64k 1000 made)" = 1000 ] && [ "$(field private-64k 20000 rss)" -gt 10000000 ] && [ "$(field private-64k 20000 rss)" -lt 20480000 ] && field private-64k 20000 stopped_by | grep -q "^memory: 29 MiB are there, and a third is left$" && [ -z "$(field private-64k 30000 made)" ] && [ "$(field shared-1 20000 made)" = 20000 ]'
    in_place_of "$PWD/pid_max" /proc/sys/kernel/pid_max --count 2000 --live 64 --kind pthread,private-64k
    verdict 'process numbers: a thousand are left for others' \
        '[ $code = 0 ] && [ "$(field pthread 2000 made)" -lt 1000 ] && field pthread 2000 stopped_by | grep -q "^kernel.pid_max is 2,000" && field pthread 2000 raise | grep -q "^sysctl -w kernel.pid_max=" && [ "$(field private-64k 2000 made)" = 2000 ]'
else
    echo 'skip - memory and process numbers: no mount namespace'
fi
exit $status
