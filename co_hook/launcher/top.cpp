// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/top.h"

#include "co_hook/launcher/rows.h"
#include "co_hook/launcher/terminal.h"
#include "co_hook/launcher/text.h"

#include "co_routine/base/clock.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <getopt.h>
#include <unistd.h>

namespace corun::launcher {

namespace {

// A thread in this round.
struct entry {
    thread_row r;
    double rate; // its switches in a second; below 0: not known yet
};

struct order {
    char key;
    const char *name;
    bool descends;
    int (*compare)(const entry &a, const entry &b);
};
template <class T> int sign(T a, T b) { return a < b ? -1 : a > b; }
int compare_words(const char *a, const char *b) {
    return strcmp(a == nullptr ? "" : a, b == nullptr ? "" : b);
}
using row_pair = const entry &;
constexpr order orders[] = {
    {'s', "switches", true, [](row_pair a, row_pair b) { return sign(a.rate, b.rate); }},
    {'t', "total", true, [](row_pair a, row_pair b) { return sign(a.r.switches, b.r.switches); }},
    {'f', "for", true, [](row_pair a, row_pair b) { return sign(a.r.waited_ns, b.r.waited_ns); }},
    {'u', "used", true,
     [](row_pair a, row_pair b) { return sign(a.r.stack_used, b.r.stack_used); }},
    {'c', "call", false, [](row_pair a, row_pair b) { return compare_words(a.r.call, b.r.call); }},
    {'n', "name", false, [](row_pair a, row_pair b) { return strcmp(a.r.name, b.r.name); }},
    {'a', "state", false,
     [](row_pair a, row_pair b) { return strcmp(word_of(b.r.state), word_of(a.r.state)); }},
    {'i', "id", false, [](row_pair, row_pair) { return 0; }},
};
constexpr char keys_line[] = // for 80 columns
    "s switch/s t total f for u used c call n name a state i id, r reverse, q quit";

struct asked {
    const char *pid = nullptr;
    double delay = 1;
    long rounds = 0; // 0: for ever
    bool is_batch = false, is_reversed = false;
    const order *by = orders;
};

// ---- What is known of the process from one round to the next

struct sample {
    int tid;
    const coroutine *at;
    uint32_t switches;
};
struct {
    sample *samples; // by their numbers
    size_t count, room;
    int64_t at_ns;
    uint64_t switches;
    double processor_s;
    unsigned long long began; // of the process
} last;

struct process_times {
    char name[64];
    double processor_s;
    unsigned long long began;
};
// PID (NAME) STATE ..., where the name may be anything.
bool read_times(int pid, process_times *out) {
    char line[1024] = "";
    FILE *f = fopen(text("/proc/%d/stat", pid), "re");
    if (f == nullptr)
        return false;
    line[fread(line, 1, sizeof line - 1, f)] = '\0';
    fclose(f);
    const char *open = strchr(line, '('), *close = strrchr(line, ')');
    unsigned long user, system;
    if (open == nullptr || close == nullptr || close < open ||
        sscanf(close + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu",
               &user, &system, &out->began) != 3)
        return false;
    snprintf(out->name, sizeof out->name, "%.*s", static_cast<int>(close - open - 1), open + 1);
    printable(out->name);
    out->processor_s =
        static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
    return true;
}

const sample *find_sample(const thread_row &r) {
    const sample *end = last.samples + last.count;
    const sample *s = std::lower_bound(static_cast<const sample *>(last.samples), end, r.tid,
                                       [](const sample &x, int tid) { return x.tid < tid; });
    return s != end && s->tid == r.tid && s->at == r.at ? s : nullptr;
}

void keep(const thread_list &list, int64_t now, const process_times &t) {
    if (list.count > last.room) {
        last.room = list.count * 2;
        free(last.samples);
        last.samples = static_cast<sample *>(malloc(last.room * sizeof(sample)));
        if (last.samples == nullptr)
            fail(exit_cannot, "out of memory");
    }
    for (size_t i = 0; i < list.count; i++)
        last.samples[i] = {list.rows[i].tid, list.rows[i].at, list.rows[i].switches};
    last.count = list.count;
    last.at_ns = now;
    last.switches = list.switches;
    last.processor_s = t.processor_s;
    last.began = t.began;
}

// ---- A round

struct round {
    entry *entries;
    size_t count;
    const char *process, *rates;
};

round look(const attached &p) {
    process_times t;
    int64_t now = now_ns();
    if (!read_times(p.pid, &t) || (last.began != 0 && t.began != last.began))
        fail(exit_cannot, "process %d is gone", p.pid);
    expect_new_peers();
    thread_list list = read_threads(p);
    double seconds = static_cast<double>(now - last.at_ns) / static_cast<double>(ns_per_s);
    size_t by_state[3] = {};
    round r{static_cast<entry *>(memory(list.count * sizeof(entry))), list.count, "", ""};
    for (size_t i = 0; i < list.count; i++) {
        const sample *s = find_sample(list.rows[i]);
        co_state state = list.rows[i].state;
        // One that is new has made all of its switches since then.
        uint32_t since = list.rows[i].switches - (s == nullptr ? 0 : s->switches);
        r.entries[i] = {list.rows[i], last.began == 0 ? -1 : since / seconds};
        by_state[state == co_state::parked ? 2 : state == co_state::ready ? 1 : 0]++;
    }
    r.process = text("corun top: process %d (%s), %zu threads: %zu running, %zu ready, %zu parked",
                     p.pid, t.name, list.count, by_state[0], by_state[1], by_state[2]);
    r.rates = text("%.0f switches/s, processor %.0f%%",
                   static_cast<double>(list.switches - last.switches) / seconds,
                   100 * (t.processor_s - last.processor_s) / seconds);
    keep(list, now, t);
    return r;
}

void sort(round *r, const asked &a) {
    int factor = a.by->descends != a.is_reversed ? -1 : 1;
    std::sort(r->entries, r->entries + r->count, [&a, factor](row_pair x, row_pair y) {
        int c = factor * a.by->compare(x, y);
        return c != 0 ? c < 0 : factor * sign(x.r.tid, y.r.tid) * (a.by->descends ? -1 : 1) < 0;
    });
}

const char *line_of_entry(const attached &p, const entry &e) {
    return line_of(p, e.r, e.rate < 0 ? "-" : text("%.0f", e.rate));
}

const char *second_head(const round &r, const asked &a) {
    return text("%s; sorted by %s%s", r.rates, a.by->name, a.is_reversed ? ", reversed" : "");
}

void print(const attached &p, const round &r, const asked &a) {
    printf("%s\n%s\n\n%s\n", r.process, second_head(r, a), head_of_rows(true));
    for (size_t i = 0; i < r.count; i++)
        puts(line_of_entry(p, r.entries[i]));
    putchar('\n');
    if (fflush(stdout) != 0)
        fail(exit_cannot, "top: stdout: %s", strerrordesc_np(errno));
}

void draw(const attached &p, const round &r, const asked &a) {
    static screen s;
    s.begin(window_now());
    s.line(r.process);
    s.line(second_head(r, a));
    s.line(keys_line);
    s.line(head_of_rows(true), true);
    for (size_t i = 0; i < r.count && !s.is_full(); i++)
        s.line(line_of_entry(p, r.entries[i]));
    s.show();
}

// ---- Until when

void wait_in_batch(int64_t until) {
    timespec t{until / ns_per_s, until % ns_per_s};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == EINTR)
        ;
}

// False: the end was asked for. *now: the threads are to be read again.
bool obey_key(int key, asked *a, bool *now) {
    if (key == 'q' || key == 'Q' || key == no_more_keys)
        return false;
    *now = key == ' ';
    if (key == 'r')
        a->is_reversed = !a->is_reversed;
    for (const order &o : orders)
        if (o.key == key) {
            a->is_reversed = false;
            a->by = &o;
        }
    return true;
}

// Drawn as often as the order or the window changes. False: the end was asked for.
bool show_until(const attached &p, round *r, asked *a, int64_t until) {
    for (bool now = false; !now;) {
        sort(r, *a);
        draw(p, *r, *a);
        if (!obey_key(key_until(until), a, &now))
            return false;
        now = now || now_ns() >= until;
    }
    return true;
}

bool wait_with_keys(asked *a, int64_t until) {
    for (bool now = false; !now && now_ns() < until;)
        if (!obey_key(key_until(until), a, &now))
            return false;
    return true;
}

// ---- The command line

constexpr char usage[] =
    "usage: corun top [-b] [-d SECONDS] [-n COUNT] [-s KEY] [-r] PID\n"
    "\n"
    "  -b    prints all threads, again and again, for a file or a pipe\n"
    "  -d    from one look to the next: 0.1 to 3600, default 1\n"
    "  -n    ends after so many\n"
    "  -s    sorted by switches (in a second), total, for, used, call, name, state or id\n"
    "  -r    the other way round\n"
    "  -h    this text\n"
    "\n"
    "In a terminal also by the keys that stand there; space looks now, q quits.\n";

const order *order_of(const char *name) {
    for (const order &o : orders)
        if (same(o.name, name))
            return &o;
    fail(exit_cannot, "top: -s %s: it may be switches, total, for, used, call, name, state or id",
         name);
}

double seconds_of(const char *word) {
    char *end = nullptr;
    double s = strtod(word, &end);
    if (end == word || *end != '\0' || !(s >= 0.1 && s <= 3600))
        fail(exit_cannot, "top: -d %s: a number of seconds from 0.1 to 3600", word);
    return s;
}

long count_of(const char *word) {
    char *end = nullptr;
    long n = strtol(word, &end, 10);
    if (end == word || *end != '\0' || n < 1)
        fail(exit_cannot, "top: -n %s: a number from 1", word);
    return n;
}

asked parse(char **words) {
    asked a;
    int count = 0;
    while (words[count] != nullptr)
        count++;
    opterr = 0;
    for (int c; (c = getopt(count, words, ":bd:hn:rs:")) != -1;)
        switch (c) {
        case 'b':
            a.is_batch = true;
            break;
        case 'd':
            a.delay = seconds_of(optarg);
            break;
        case 'n':
            a.rounds = count_of(optarg);
            break;
        case 'r':
            a.is_reversed = true;
            break;
        case 's':
            a.by = order_of(optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(fflush(stdout) == 0 ? 0 : exit_cannot);
        case ':':
            fail(exit_cannot, "top: -%c: its value is missing", optopt);
        default:
            fail(exit_cannot, "top: unknown option '%s'; corun top -h lists them",
                 optopt == 0 ? words[optind - 1] : text("-%c", optopt));
        }
    if (words[optind] == nullptr)
        fail(exit_cannot,
             "top: the number of a process is missing (a program of that name: corun -- top)");
    if (words[optind + 1] != nullptr)
        fail(exit_cannot, "top: one PID, and nothing behind it");
    a.pid = words[optind];
    return a;
}

} // namespace

int top(char **words) {
    constexpr int64_t first_ns = 200 * ns_per_ms; // then there is something to compare with
    asked a = parse(words - 1);
    if (!a.is_batch && !has_terminal())
        fail(exit_cannot,
             "top: stdin and stdout must be a terminal; top -b writes to a file, and corun ps %s "
             "lists once",
             a.pid);
    attached p = attach_to_threads(a.pid);
    give_way();
    auto delay_ns = static_cast<int64_t>(a.delay * static_cast<double>(ns_per_s));
    int64_t until = now_ns() + std::min(delay_ns, first_ns);
    {
        scratch first;
        look(p);
    }
    if (!a.is_batch)
        begin_terminal();
    if (!a.is_batch && !wait_with_keys(&a, until))
        return 0;
    for (long i = 0; a.rounds == 0 || i < a.rounds; i++) {
        if (a.is_batch)
            wait_in_batch(until);
        scratch this_round;
        round r = look(p);
        until = now_ns() + delay_ns;
        if (a.is_batch) {
            sort(&r, a);
            print(p, r, a);
        } else if (!show_until(p, &r, &a, until)) {
            break;
        }
    }
    return 0;
}

} // namespace corun::launcher
