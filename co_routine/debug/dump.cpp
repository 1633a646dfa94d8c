// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/dump.h"

#include "co_routine/base/clock.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/debug/deadlock.h"
#include "co_routine/debug/peer.h"
#include "co_routine/debug/stack_use.h"
#include "co_routine/debug/stretches.h"
#include "co_routine/debug/unwinder.h"
#include "co_routine/loop/loop.h"

#include <cerrno>

namespace corun {
namespace {

// A line being put together; what does not fit is dropped.
struct text {
    char *at;
    unsigned size, length = 0;

    template <class... Args> void add(const char *format, Args... args) {
        length += format_line(at + length, size - length, format, args...);
    }
};

// Nothing below 0, which is not known.
void add_duration(text &out, const char *before, int64_t ns) {
    spoken_duration d = in_words(ns);
    if (ns >= 0)
        out.add("%s%lld %s", before, d.count, d.unit);
}

void add_wait(text &out, const coroutine *co) {
    if (co->state != co_state::parked || !co->waiting)
        return;
    const wait_kind *kind = co->waiting;
    out.add(" in %s", kind->call);
    if (kind->subject_is_fd) {
        char peer[160];
        bool has_peer = format_peer(peer, sizeof peer, static_cast<int>(co->subject.fd)) > 0;
        out.add(" (fd %ld%s%s)", static_cast<long>(co->subject.fd), has_peer ? ", " : "",
                has_peer ? peer : "");
    } else if (const void *object = co->subject.object) {
        out.add(" (%p", object);
        if (kind->describe)
            out.length += kind->describe(out.at + out.length, out.size - out.length, object);
        out.add(")");
    }
    add_duration(out, " for ", parked_for_ns(co));
    if (co->deadline_ns == no_deadline)
        return;
    int64_t left = co->deadline_ns - now_ns();
    add_duration(out, ", ", left > 0 ? left : 0);
    out.add(" left");
}

void add_stack(text &out, const coroutine *co) {
    if (co->has(flag_root)) // the thread's own: not ours to measure
        return;
    size_t used = high_water_of(co);
    if (!co->shared_home())
        out.add("; private stack %zu bytes, %zu used", co->pool->stack_bytes(), used);
    else if (stack_is_in_place(co))
        out.add("; shared stack %zu bytes, in place, %zu used at most",
                co->tenancy.home->group->stack_bytes, used);
    else
        out.add("; shared stack %zu bytes, %u saved, %zu used at most",
                co->tenancy.home->group->stack_bytes, co->tenancy.saved_bytes, used);
}

// All of it, or -errno.
int write_all(int fd, const char *from, size_t bytes) {
    while (bytes > 0) {
        sys::word n = sys::write(fd, from, bytes);
        if (n == -EINTR)
            continue;
        if (n == -EAGAIN) { // somebody's non-blocking descriptor: wait for room, here
            pollfd room{fd, POLLOUT, 0};
            sys::ppoll(&room, 1, nullptr, nullptr);
            continue;
        }
        if (sys::failed(n))
            return static_cast<int>(n);
        from += n;
        bytes -= static_cast<size_t>(n);
    }
    return 0;
}

int write_cycles(int fd, const co_env *env) {
    const wait_cycles cycles(env);
    for (size_t i = 0; i < cycles.count(); ++i) {
        char line[dump_line_bytes * 4];
        unsigned n = format_cycle(line, sizeof line - 1, cycles, i, describe);
        line[n++] = '\n';
        if (int error = write_all(fd, line, n))
            return error;
    }
    return 0;
}

int write_stretches(int fd, bool with_frames) {
    char line[dump_line_bytes];
    stretch s;
    int error = 0;
    for (unsigned i = 0; error == 0 && kept_stretch(i, &s); ++i) {
        unsigned n = format_line(line, sizeof line, "stretch: ");
        n += format_stretch(line + n, sizeof line - n - 1, s);
        line[n++] = '\n';
        error = write_all(fd, line, n);
        for (int f = 0; with_frames && f < s.count && error == 0; ++f)
            error = write_all(
                fd, line,
                format_dumped_frame(line, sizeof line, f, s.frames[f], f == 0 && s.exact_first));
    }
    return error;
}

} // namespace

unsigned format_dumped_frame(char *out, unsigned size, int number, void *pc, bool exact_pc) {
    unsigned n = format_line(out, size, "    ");
    n += format_frame(out + n, size - n - 1, number, pc, exact_pc);
    out[n++] = '\n';
    out[n] = '\0';
    return n;
}

unsigned format_coroutine(char *out, unsigned size, const coroutine *co, const dump_words &words) {
    text line{out, size - 1};
    const char *name = co->extra && co->extra->name[0] ? co->extra->name : nullptr;
    if (words.who)
        line.add("%s ", words.who);
    else if (co->has(flag_root))
        line.add("the thread's own stack ");
    else if (name)
        line.add("#%u '%s' ", co->id, name);
    else
        line.add("#%u ", co->id);
    line.add("%s", state_name(co->state));
    if (co->caller && !co->caller->has(flag_root))
        line.add(" (resumed by #%u)", co->caller->id);
    add_wait(line, co);
    if (words.stack)
        line.add("%s", words.stack);
    else
        add_stack(line, co);
    make_printable(out, line.length);
    out[line.length++] = '\n';
    out[line.length] = '\0';
    return line.length;
}

} // namespace corun

using namespace corun;

int co_dump(int fd, unsigned flags) {
    if (flags & ~unsigned{CO_DUMP_STACKS | CO_DUMP_STRETCHES}) {
        errno = EINVAL;
        return -1;
    }
    co_env *env = env_or_null();
    if (flags & CO_DUMP_STACKS) {
        prepare_backtraces(); // before the walk: it may make a coroutine for a moment
        forget_code();
    }
    int lines = 0;
    for (size_t i = 0; env && i < env->all.size(); ++i) {
        coroutine *co = env->all[i];
        if (co->has(flag_doomed))
            continue;
        char line[dump_line_bytes];
        int error = write_all(fd, line, format_coroutine(line, sizeof line, co));
        if (error == 0 && (flags & CO_DUMP_STACKS))
            error = each_frame_line(
                co, __builtin_return_address(0),
                [fd](const char *from, unsigned length) { return write_all(fd, from, length); });
        if (error != 0) {
            errno = -error;
            return -1;
        }
        ++lines;
    }
    int error = env ? write_cycles(fd, env) : 0;
    if (error == 0 && (flags & CO_DUMP_STRETCHES))
        error = write_stretches(fd, (flags & CO_DUMP_STACKS) != 0);
    if (error != 0) {
        errno = -error;
        return -1;
    }
    return lines;
}
