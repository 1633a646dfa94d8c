// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/stats_table.h"

#include "co_hook/waist/code_names.h"
#include "co_hook/waist/patch.h"
#include "co_hook/waist/stats_memory.h"
#include "co_hook/waist/table_text.h"

#include "co_routine/base/clock.h"
#include "co_routine/debug/call_name.h"
#include "co_routine/debug/stretches.h"
#include "co_routine/debug/unwinder.h"
#include "co_routine/loop/offload.h"

#include <cstring>
#include <ctime>

namespace corun::waist {
namespace {

constexpr unsigned most_listed = 50;
// With fewer threads, what the program itself takes is most of what would be called theirs.
constexpr unsigned enough_to_divide_by = 100;

table_text out; // one table at a time

struct call_label {
    char text[32];
    explicit call_label(long nr) {
        if (const char *name = call_name(nr))
            format_line(text, sizeof text, "%s", name);
        else
            format_line(text, sizeof text, "call %ld", nr);
    }
};

template <class F> void each_thread(worker *w, F f) {
    for (list_node *n = w->threads.ring.next; n != &w->threads.ring; n = n->next)
        f(CO_CONTAINER(n, thread, link));
}

bool waits(const thread *t) { return t->co->state == co_state::parked; }

// A call that is not over has parked, unless it is the caller's own.
bool is_inside(const thread *t, const table_request &r) { return t != r.self && t->call_nr >= 0; }

void write_threads(worker *w, const table_request &r, uint64_t (&inside)[counted_numbers]) {
    unsigned running = 0, ready = 0, waiting = 0;
    static uint64_t waiting_in[counted_numbers];
    memset(waiting_in, 0, sizeof waiting_in);
    each_thread(w, [&](thread *t) {
        ++(t == r.self ? running : waits(t) ? waiting : ready);
        unsigned long n = static_cast<unsigned long>(t->call_nr);
        n = n < counted_numbers ? n : counted_numbers - 1;
        if (is_inside(t, r))
            ++inside[n];
        if (t != r.self && waits(t))
            ++waiting_in[n];
    });
    if (!w->active)
        running = 1;
    out.row("threads now", running + ready + waiting);
    out.row("threads running", running);
    out.row("threads ready", ready);
    out.row("threads waiting", waiting);
    for (long nr = 0; nr < counted_numbers; ++nr)
        if (waiting_in[nr] > 0) {
            char label[64];
            format_line(label, sizeof label, "  in %s", call_label(nr).text);
            out.row(label, waiting_in[nr]);
        }
    out.row("threads created", w->counts.threads_created);
    out.row("threads ended", w->counts.threads_ended);
    out.row("threads at most", w->counts.most_threads);
}

void write_longest(worker *w, const table_request &r) {
    const longest_turn &s = w->counts.longest;
    char note[400], where[300];
    unsigned n = 0;
    note[0] = '\0';
    if (s.tid) {
        format_code(where, sizeof where, s.pc);
        const call_label call(s.nr);
        const char *end = s.nr < 0 ? "until it was preempted" : call.text;
        const char *how = s.nr < 0 ? "" : s.in_call ? "in " : "before ";
        n = format_line(note, sizeof note, "thread %d, %s%s, %s", s.tid, how, end, where);
    }
    note[n] = '\0';
    out.time_row("longest turn", static_cast<double>(s.cycles) / r.cycles_per_ns, note);
    if (r.turn_cycles == 0)
        return;
    format_code(where, sizeof where, r.pc);
    format_line(note, sizeof note, "thread %d, at %s", r.self->tid, where);
    out.time_row("this turn", static_cast<double>(r.turn_cycles) / r.cycles_per_ns, note);
}

void write_preempted(worker *w) {
    uint64_t others = w->preemptions;
    for (const preempted_thread &p : w->counts.preempted) {
        if (p.tid == 0)
            return;
        others -= p.times;
        char label[64], note[320] = "first at ";
        constexpr unsigned before = sizeof "first at " - 1;
        format_line(label, sizeof label, "  of thread %d", p.tid);
        format_code(note + before, sizeof note - before, p.pc);
        out.row(label, p.times, "", note);
    }
    if (others == 0)
        return;
    char label[64];
    format_line(label, sizeof label, "  of %u other threads",
                w->counts.threads_preempted - noted_as_preempted);
    out.row(label, others);
}

void write_loop(worker *w, const table_request &r) {
    const loop *l = w->env->event_loop;
    out.row("switches", w->env->counts.switches);
    out.row("preemptions", w->preemptions);
    write_preempted(w);
    out.row("wake-ups of the loop", l ? l->counts.wakeups : 0);
    write_longest(w, r);
    out.row("calls given to helpers", l ? l->counts.offloads : 0);
    out.row("helpers now", offload_helper_count());
}

void write_stacks(worker *w, const table_request &r) {
    size_t deepest = 0, size = 0, all = 0, measured = 0;
    int tid = 0;
    each_thread(w, [&](thread *t) {
        if (t->stack_low == 0)
            return;
        size_t used = stack_used(t->stack_low, t->stack_high);
        ++measured;
        all += used;
        if (used > deepest) {
            deepest = used;
            size = t->stack_high - t->stack_low;
            tid = t->tid;
        }
    });
    char note[128];
    if (measured > 0) {
        format_line(note, sizeof note, "thread %d, of %zu bytes", tid, size);
        out.row("stack used at most, now", deepest, "bytes", note);
        format_line(note, sizeof note, "of %zu threads", measured);
        out.row("stack used on average, now", all / measured, "bytes", note);
    }
    if (r.stacks_measured > 0) {
        format_line(note, sizeof note, "of %lu that were looked at",
                    static_cast<unsigned long>(r.stacks_measured));
        out.row("stack used at most, ended", r.deepest_ended, "bytes", note);
    }
}

void write_memory(worker *w, const table_request &r) {
    memory_use m = memory_now();
    out.row("memory resident", m.resident, "KiB");
    out.row("memory resident at most", m.most_resident, "KiB");
    out.row("page tables", m.page_tables, "KiB");
    unsigned others = w->counts.most_threads - 1;
    if (others < enough_to_divide_by || r.rss_before_kb == 0 || m.most_resident <= r.rss_before_kb)
        return;
    char note[128];
    format_line(note, sizeof note, "what the process grew by at most, over %u threads", others);
    out.row("memory for each thread", (m.most_resident - r.rss_before_kb) * 1024 / others, "bytes",
            note);
}

double processor_ns() {
    timespec t{};
    sys::call(sys::nr_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

double wall_ns(const table_request &r) { return static_cast<double>(now_ns() - r.since_ns); }

void write_process(const table_request &r) {
    out.time_row("wall time", wall_ns(r), "");
    out.time_row("processor time", processor_ns(), "");
    out.row("objects loaded", patched_so_far.objects);
    out.row("system call sites", patched_so_far.sites);
    out.row("system call sites covered", patched_so_far.patched);
}

constexpr unsigned call_columns[] = {24, 36, 48, 60, 72, 90};

void write_call(const char *name, const call_counts &c, double cycles_per_ns) {
    uint64_t waited = c.parked > c.helped ? c.parked : c.helped;
    out.add("  %s", name);
    out.right(call_columns[0], c.made);
    out.right(call_columns[1], c.parked);
    out.right(call_columns[2], c.helped);
    out.right(call_columns[3], c.made > waited ? c.made - waited : 0);
    out.right_time(call_columns[4], static_cast<double>(c.longest_cycles) / cycles_per_ns);
    out.end_line();
}

void write_calls(worker *w, const table_request &r, const uint64_t (&inside)[counted_numbers]) {
    out.end_line();
    out.add("  call");
    const char *heads[] = {"made", "waited", "helped", "passed", "longest"};
    for (unsigned i = 0; i < 5; ++i)
        out.right(call_columns[i], heads[i]);
    out.end_line();
    call_counts all;
    bool written[counted_numbers] = {};
    for (;;) {
        unsigned next = counted_numbers;
        for (unsigned i = 0; i < counted_numbers; ++i)
            if (!written[i] && w->counts.calls[i].made > 0 &&
                (next == counted_numbers || w->counts.calls[i].made > w->counts.calls[next].made))
                next = i;
        if (next == counted_numbers)
            break;
        written[next] = true;
        call_counts c = w->counts.calls[next];
        c.parked += inside[next];
        write_call(call_label(next).text, c, r.cycles_per_ns);
        all.made += c.made;
        all.parked += c.parked;
        all.helped += c.helped;
        if (c.longest_cycles > all.longest_cycles)
            all.longest_cycles = c.longest_cycles;
    }
    write_call("all", all, r.cycles_per_ns);
}

constexpr unsigned list_columns[] = {12, 30, 41, 74, 86, 98};

void write_wait(const thread *t) {
    const coroutine *co = t->co;
    out.pad_to(list_columns[2]);
    out.add("%s", call_label(t->call_nr).text);
    if (!co->waiting)
        return;
    if (co->waiting->subject_is_fd)
        out.add(" fd %ld", static_cast<long>(co->subject.fd));
    else if (co->subject.object)
        out.add(" %p", co->subject.object);
    if (co->deadline_ns == no_deadline)
        return;
    int64_t left = co->deadline_ns - now_ns();
    out.add(", %ld ms", static_cast<long>(left > 0 ? left / ns_per_ms : 0));
}

void write_thread(const thread *t, const table_request &r) {
    const co_extra *extra = t->co->extra;
    out.add("  %d", t->tid);
    out.pad_to(list_columns[0]);
    out.add("%s", extra && extra->name[0] ? extra->name : "-");
    out.pad_to(list_columns[1]);
    out.add("%s", t == r.self ? "running" : waits(t) ? "waiting" : "ready");
    if (t != r.self && waits(t))
        write_wait(t);
    if (t->stack_low != 0) {
        out.right(list_columns[4], stack_used(t->stack_low, t->stack_high));
        out.right(list_columns[5], t->stack_high - t->stack_low);
    }
    out.end_line();
}

void write_list(worker *w, const table_request &r) {
    if (w->live < 2)
        return;
    out.end_line();
    out.add("  thread");
    out.pad_to(list_columns[0]);
    out.add("name");
    out.pad_to(list_columns[1]);
    out.add("state");
    out.pad_to(list_columns[2]);
    out.add("waits in");
    out.right(list_columns[4], "stack used");
    out.right(list_columns[5], "of bytes");
    out.end_line();
    unsigned listed = 0;
    each_thread(w, [&](thread *t) {
        if (listed++ < most_listed)
            write_thread(t, r);
    });
    if (listed > most_listed) {
        out.add("  ... and %u more", listed - most_listed);
        out.end_line();
    }
}

void write_stretches() {
    stretch s;
    for (unsigned i = 0; kept_stretch(i, &s); ++i) {
        char line[400];
        if (i == 0) {
            out.end_line();
            out.add("  longest turns");
            out.end_line();
        }
        format_stretch(line, sizeof line, s);
        out.add("    %s", line);
        out.end_line();
        for (int f = 0; f < s.count; ++f) {
            format_frame(line, sizeof line, f, s.frames[f], f == 0 && s.exact_first);
            out.add("        %s", line);
            out.end_line();
        }
    }
}

// Nothing was counted.
void write_single(const table_request &r) {
    char wall[32], processor[32];
    format_ms(wall, sizeof wall, wall_ns(r));
    format_ms(processor, sizeof processor, processor_ns());
    out.add(": it never had a second thread; %s, %s of processor time", wall, processor);
    out.end_line();
    out.flush();
}

} // namespace

void write_table(worker *w, const table_request &r) {
    static uint64_t inside[counted_numbers];
    memset(inside, 0, sizeof inside);
    out.begin(r.fd);
    char name[16] = "";
    constexpr int get_name = 16;
    sys::call(SYS_prctl, get_name, name);
    out.add("corun: process %ld (%s), %s", sys::getpid(), name, r.occasion);
    if (w->counts.threads_created == 0)
        return write_single(r);
    out.end_line();
    write_threads(w, r, inside);
    write_loop(w, r);
    write_stacks(w, r);
    write_memory(w, r);
    write_process(r);
    write_calls(w, r, inside);
    write_list(w, r);
    write_stretches();
    out.flush();
}

} // namespace corun::waist
