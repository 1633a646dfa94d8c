// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/frames.h"

#include "co_hook/launcher/objects.h"
#include "co_hook/launcher/ptrace_stop.h"
#include "co_hook/launcher/text.h"

#include "co_hook/waist/slots.h"

#include <algorithm>
#include <cstring>
#include <sys/uio.h>

namespace corun::launcher {

namespace {

remote_walker walker;
bool has_libunwind;

// What one walk sees: a part of the stack, read at once, and the rest of the process word by word.
struct view : remote_view {
    const attached &p;
    const unsigned char *stack;
    uintptr_t low;
    size_t bytes;
    unsigned words_left; // unwind data of a program's own making may ask without end
};

bool read_word(remote_view *seen, uintptr_t at, uintptr_t *out) {
    view &v = *static_cast<view *>(seen);
    if (v.words_left == 0)
        return false;
    v.words_left--;
    if (at >= v.low && at - v.low < v.bytes && v.bytes - (at - v.low) >= sizeof *out) {
        memcpy(out, v.stack + (at - v.low), sizeof *out);
        return true;
    }
    return read_code(v.p, at, out);
}

bool code_of_view(remote_view *, uintptr_t pc, remote_code *out) { return code_at(pc, out); }

// ---- Frames

int walk_by_libunwind(view *v, uintptr_t *pcs) {
    libunwind::cursor cursor;
    const libunwind::functions_of_cursor &f = walker.functions();
    int n = 0;
    if (!walker.begin(&cursor, v))
        return 0;
    do {
        uintptr_t pc = 0;
        if (f.get_reg(&cursor, libunwind::register_ip, &pc) < 0 || pc == 0)
            break;
        pcs[n++] = pc;
    } while (n < most_frames && f.step(&cursor) > 0);
    return n;
}

// As far as they go upwards, in what was read of the stack.
int walk_by_frame_pointers(view *v, const switch_registers &r, uintptr_t *pcs) {
    uintptr_t fp = r.fp(), low = v->low, pc, next;
    int n = 0;
    pcs[n++] = r.pc();
    while (n < most_frames && fp >= low && fp - v->low < v->bytes && fp % sizeof fp == 0 &&
           read_word(v, fp, &next) && read_word(v, fp + sizeof fp, &pc) && pc >= page_size) {
        pcs[n++] = pc;
        low = fp + 1;
        fp = next;
    }
    return n;
}

bool is_between(uintptr_t pc, const char *low, const char *high) {
    return pc >= reinterpret_cast<uintptr_t>(low) && pc < reinterpret_cast<uintptr_t>(high);
}
bool is_slot(const attached &p, uintptr_t pc) {
    return is_between(pc, p.shown.slots, p.shown.slots_end);
}
bool is_runtime(const attached &p, uintptr_t pc) {
    return is_between(pc, p.shown.code, p.shown.code_end) && !is_slot(p, pc);
}
// The address behind the system call that a slot stands for.
uintptr_t place_of(const attached &p, uintptr_t pc) {
    uintptr_t site;
    if (!is_slot(p, pc) ||
        !read_code(p, (pc & ~uintptr_t{CORUN_SLOT_BYTES - 1}) + CORUN_SLOT_SITE, &site))
        return pc;
    return site;
}

void walk(const attached &p, const switch_registers &r, view *v, frames *out) {
    v->regs = r.values;
    v->read = read_word;
    v->code_at = code_of_view;
    int n = has_libunwind ? walk_by_libunwind(v, out->pcs) : 0;
    if (n == 0)
        n = walk_by_frame_pointers(v, r, out->pcs);
    int own = 0; // corun's own, above those of the program
    while (own < n && is_runtime(p, out->pcs[own]))
        own++;
    if (own > 0)
        out->first_is_exact = out->pcs[own - 1] == reinterpret_cast<uintptr_t>(p.shown.restorer);
    if (own + 1 < n && is_slot(p, out->pcs[own]))
        own++; // its caller is the place that it stands for
    out->count = n - own;
    for (int i = 0; i < out->count; i++)
        out->pcs[i] = place_of(p, out->pcs[own + i]);
}

constexpr unsigned most_words = 200000;

void walk_suspended(const attached &p, const thread_now &now, frames *out) {
    static unsigned char stack[size_t{16} << 10];
    switch_registers r;
    if (!registers_at_call(p, now, &r))
        r = registers_of(now.co->regs);
    size_t bytes = sizeof stack;
    if (r.sp() >= now.t->stack_low && r.sp() < now.t->stack_high)
        bytes = std::min(bytes, size_t{now.t->stack_high - r.sp()});
    bytes = read_upwards(p, r.sp(), stack, bytes);
    view v{{}, p, stack, r.sp(), bytes, most_words};
    walk(p, r, &v, out);
}

void walk_stopped(const attached &p, stopped *s, frames *out) {
    out->first_is_exact = s->is_in_program;
    view v{{}, p, s->stack, s->registers.sp(), s->bytes, most_words};
    walk(p, s->registers, &v, out);
}

bool has_gone_on(const attached &p, const thread_row &listed, const thread_now &since) {
    thread_now then;
    return !read_again(p, listed, &then) || then.co->turns != since.co->turns ||
           then.co->state == co_state::running;
}

} // namespace

bool registers_at_call(const attached &p, const thread_now &now, switch_registers *out) {
    copy_of<waist::frame> f;
    if (now.t->call_nr < 0 || now.t->at_call == nullptr || !f.read(p, now.t->at_call))
        return false;
    uintptr_t sp = reinterpret_cast<uintptr_t>(now.t->at_call + 1) + WAIST_RED_ZONE;
    *out = registers_of(
        kept_registers{f->rbx, f->rbp, f->r12, f->r13, f->r14, f->r15, sp, place_of(p, f->slot)});
    return true;
}

size_t read_upwards(const attached &p, uintptr_t from, void *to, size_t bytes) {
    iovec ours{to, bytes}, theirs{reinterpret_cast<void *>(from), bytes};
    ssize_t n = process_vm_readv(p.pid, &ours, 1, &theirs, 1, 0);
    return n < 0 ? 0 : static_cast<size_t>(n);
}

void prepare_walks(const attached &p) {
    has_libunwind = walker.prepare();
    if (!has_libunwind)
        warn("frames need libunwind-x86_64.so.8 (Debian: apt install libunwind8); without it they "
             "follow "
             "frame pointers");
    read_objects(p);
}

bool walk_thread(const attached &p, const thread_row &listed, thread_now *now, frames *out) {
    constexpr int most_attempts = 20;
    for (int i = 0; i < most_attempts; i++) {
        *out = {};
        if (!read_again(p, listed, now))
            return false;
        if (now->co->state == co_state::running) {
            stopped *s = stop_and_read(p, listed);
            if (s == nullptr)
                return true;
            *now = s->thread;
            if (now->co->state != co_state::running)
                continue; // not any more
            walk_stopped(p, s, out);
            return true;
        }
        walk_suspended(p, *now, out);
        if (!has_gone_on(p, listed, *now))
            return true;
    }
    *out = {};
    return true;
}

} // namespace corun::launcher
