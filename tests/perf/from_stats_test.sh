#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# corun-stackmem --from-stats: what it advises from a real table of corun --stats, and which files it refuses.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"
stackmem=$B/corun-stackmem prog=$B/tests/waist/stats_prog
[ -x "$stackmem" ] || { echo "$stackmem is not built"; exit 1; }
unset CORUN_DEBUG CORUN_OPTIONS LD_PRELOAD
cd "$scratch" || exit 1

advise() { timeout -k 5 60 "$stackmem" --from-stats "$@" >out 2>err </dev/null; code=$?; }
value() { sed -n "s/^  $1  *\([0-9][0-9]*\).*/\1/p" table | sort -n | tail -1; }
with_commas() { sed ':a; s/\([0-9]\)\([0-9]\{3\}\)\($\|,\)/\1,\2\3/; ta' <<<"$1"; }
page_up() { echo $((($1 + 4095) / 4096 * 4)); }
# made THREADS DEEPEST AVERAGE: a table as corun writes it.
made() {
    printf 'corun: process 77 (server), signal 10\n  threads now %30d\n  threads at most %26d\n' $1 $1
    printf '  stack used at most, now %18d bytes  thread 3, of 8388608 bytes\n' $2
    printf '  stack used on average, now %15d bytes  of %d threads\n' $3 $1
}

# ---- A table that corun wrote
if [ -x "$B/corun" ] && [ -x "$prog" ]; then
    timeout -k 5 20 "$B/corun" --stats=table --stats-signal=USR1 "$prog" 40 10 signal >/dev/null 2>out </dev/null
    cat out >>table # the table of the signal, where it goes to stderr
    deepest=$(printf '%s\n' $(value 'stack used at most, now') $(value 'stack used at most, ended') | sort -n | tail -1)
    advise table
    verdict 'a table of corun: its threads and its marks' \
        '[ $code = 0 ] && [ ! -s err ] && grep -q "threads at most: $(($(value "threads at most") - 1)) besides the first; stack used at most: $(with_commas $deepest) bytes$" out && grep -q "on average while they were there: $(with_commas $(value "stack used on average, now")) bytes" out'
    verdict '... the size, twice the deepest in whole pages' '[ "$deepest" -gt 16384 ] && grep -q "^Stack size: $(page_up $((2 * deepest)))K (corun --stack=$(page_up $((2 * deepest)))K)" out'
    verdict '... each kind with a line' 'for k in private-64k private-4k shared-1 shared-16 shared-256 pthread ucontext; do grep -qE "^$k +[0-9,]+ " out || exit 1; done'
    timeout -k 5 20 "$B/corun" --stats=single true && advise single
    verdict 'a program of one thread' '[ $code = 2 ] && grep -q "never had a second thread" err'
    "$B/corun" --stats=ended "$prog" 20 10 && advise ended --kind private-4k
    verdict 'without the average of a time' '[ $code = 0 ] && grep -q "No table is of a time" out && ! grep -q "^Mode" out'
else
    echo 'skip - a table that corun wrote: no corun'
fi

# ---- Sizes and modes
made 1001 5000 300 >table
advise table --kind private-64k,shared-16
verdict 'little on average: shared stacks' '[ $code = 0 ] && grep -q "^Mode: shared stacks" out && grep -q "^Stack size: 16K " out'
verdict '... whose bytes are about those in use' 'each=$(awk "/^shared-16/{gsub(\",\",\"\",\$2); print \$2}" out) && [ "$each" -gt 300 ] && [ "$each" -lt 1500 ]'
made 1001 30000 15000 >table
advise table --kind private-64k,shared-16
verdict 'much on average: private ones' '[ $code = 0 ] && grep -q "^Mode: private stacks" out && grep -q "^Stack size: 60K " out'
verdict '... with the pages of the average' 'each=$(awk "/^private-64k/{gsub(\",\",\"\",\$2); print \$2}" out) && [ "$each" -ge 16384 ] && [ "$each" -lt 21000 ]'
verdict '... and 10x and 100x are that' 'grep -qE "^private-64k .* 1[5-9] MiB +1[5-9][0-9] MiB +1\.[5-9] GiB" out'
{ made 11 5000 300; made 501 9000 200; } >table
advise table --kind private-4k
verdict 'of several tables the largest numbers' 'grep -q ": 2 tables; threads at most: 500 besides the first; stack used at most: 9,000 bytes" out && grep -q "were there: 300 bytes" out'
made 9000001 5000 3000 >table
advise table --kind pthread,private-4k
verdict 'what this machine would not hold has an asterisk' 'grep -qE "^pthread .*\*.*\*.*\*" out && grep -qE "^private-4k .*\*" out && grep -q "^\* more than this machine" out'

# ---- What is not a table
refused() { # words; the file is `table`
    advise table
    [ $code = 2 ] && [ ! -s out ] && [ "$(wc -l <err)" = 1 ] && grep -q "^corun-stackmem: --from-stats table: .*$1" err
}
change() { made 100 5000 300 | sed -E "$1" >table; }
head -c 100000 /dev/urandom >table
verdict 'rubbish' 'refused "" && { : >table; refused "no table of corun --stats"; } && { ls -l / >table; refused "no table of corun --stats"; }'
verdict 'no file, a directory' 'rm table && refused "No such file" && mkdir table && refused "Is a directory" && rmdir table'
change '3s/[0-9]+/x/'
verdict 'a row without a number' 'refused "line 3: \"threads at most\" without a number"'
change '3s/[0-9]+/99999999/'
verdict 'more threads than there can be' 'refused "line 3: .*number that can be"'
change '3s/[0-9]+/-5/'
verdict 'a negative one' 'refused "line 3"'
change '4s/bytes/KiB/'
verdict 'another unit' 'refused "line 4: \"stack used at most, now\""'
change '4s/[0-9]+/99999999999999999999/'
verdict 'a number that would wrap' 'refused "line 4"'
change '4s/5000/600000000/'
verdict 'a mark that no stack has twice' 'refused "twice the 600,000,000 bytes .* 1G"'
change '3p'
verdict 'a row twice' 'refused "line 4: .*a second time"'
change '5s/300/6000/'
verdict 'an average above the largest' 'refused "line 1: .*larger on average"'
change '3d'
verdict 'a table that is cut off' 'refused "line 1: .*no \"threads at most\""'
change '1d'
verdict 'rows without a table' 'refused "line 2: .*before the first line"'
change '4,5d'
verdict 'no stacks' 'refused "stack used"'
change 1q
advise table --count 5
verdict 'options that say what the file says' '[ $code = 2 ] && grep -q "count is nothing for --from-stats; leave it out" err'
exit $status
