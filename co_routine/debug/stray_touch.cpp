// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/stray_touch.h"

#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/base/user_memory.h"
#include "co_routine/core/env.h"
#include "co_routine/debug/fault_report.h"
#include "co_routine/debug/stack_use.h"
#include "co_routine/debug/symbol_names.h"
#include "co_routine/debug/unwinder.h"

#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>

namespace corun {
namespace {

// As many as the frame is sought in; fewer are shown.
constexpr int most_frames = 128;

struct owner_frames {
    void *pcs[most_frames];
    uintptr_t sps[most_frames + 1];
    int n;
};

// What describe says of another thread's.
void describe_foreign(char *out, unsigned size, const coroutine *owner, int tid) {
    uint32_t id = 0;
    co_extra *extra = nullptr;
    char name[sizeof co_extra::name] = "";
    if (!copy_from_user(&id, &owner->id, sizeof id)) {
        format_line(out, size, "a coroutine of thread %d", tid);
        return;
    }
    bool has_name = copy_from_user(&extra, &owner->extra, sizeof extra) && extra &&
                    copy_from_user(name, &extra->name, sizeof name) && name[0];
    name[sizeof name - 1] = '\0';
    make_printable(name, static_cast<unsigned>(strlen(name)));
    if (has_name)
        format_line(out, size, "coroutine '%s' (#%u) of thread %d", name, id, tid);
    else
        format_line(out, size, "coroutine #%u of thread %d", id, tid);
}

// "serve+0x41", or the address.
void name_place(char *out, unsigned size, void *pc, uintptr_t from_call) {
    code_name code;
    auto at = reinterpret_cast<uintptr_t>(pc);
    if (name_code(at - from_call, &code) && code.function[0])
        format_line(out, size, from_call ? "%s+0x%zx" : "%s", code.function,
                    static_cast<size_t>(at - code.begin));
    else
        format_line(out, size, "%p", pc);
}

// Also of what is inaccessible.
bool copy_inaccessible(void *to, const char *from, size_t bytes) {
    sys::word fd =
        sys::call(SYS_openat, AT_FDCWD, "/proc/thread-self/mem", O_RDONLY | O_CLOEXEC, 0);
    if (sys::failed(fd))
        return false;
    constexpr int high_half = 0; // of the place: what an i386 has
    sys::word n = sys::call(SYS_pread64, fd, to, bytes, from, high_half);
    sys::close(static_cast<int>(fd));
    return n == static_cast<sys::word>(bytes);
}

void walk_owner(void *const *regs, const live_bytes &stack, owner_frames *out) {
    out->n = walk_suspended(regs, {.stack = stack, .sps = out->sps}, out->pcs, most_frames);
}

// Whoever owns it may run on meanwhile: then these are no frames, or those of before.
void walk_foreign(const coroutine *owner, const own_range *range, owner_frames *out) {
    alignas(64) void *regs[COCTX_LIVE_REGS];
    if (!copy_from_user(regs, &owner->regs, sizeof regs))
        return;
    const char *sp = static_cast<char *>(coctx_sp(regs)), *low = range->low;
    if (!low || sp < low || sp >= low + range->bytes)
        return;
    const char *high = low + range->bytes;
    auto bytes = static_cast<size_t>(high - sp);
    sys::word copy = sys::mmap_anonymous(bytes, PROT_READ | PROT_WRITE, 0);
    if (sys::failed(copy))
        return;
    auto *there = reinterpret_cast<char *>(copy);
    if (copy_inaccessible(there, sp, bytes))
        walk_owner(regs, {sp, high, there}, out);
    sys::munmap(there, bytes);
}

} // namespace

bool stray_touch::find(uintptr_t address) {
    if (!(debug_flags() & CO_DEBUG_STACKS))
        return false;
    address_ = address;
    range_ = find_own_range(address);
    owner_ = range_ ? __atomic_load_n(&range_->owner, __ATOMIC_RELAXED) : nullptr;
    co_env *here = env_or_null(), *its_env = nullptr;
    if (!owner_ || !copy_from_user(&its_env, &owner_->env, sizeof its_env) ||
        !copy_from_user(&entry_, &owner_->entry, sizeof entry_))
        return false;
    is_foreign_ = !here || its_env != here;
    if (is_foreign_) {
        describe_foreign(whose_, sizeof whose_, owner_, range_->tid);
        return true;
    }
    const shared_stack *home = owner_->tenancy.home;
    if (!home || home->occupant == owner_)
        return false;
    describe(whose_, sizeof whose_, owner_);
    return true;
}

bool stray_touch::let_through() {
    goes_on_ = (debug_flags() & CO_DEBUG_PRIVATE) && open_for_good(range_);
    if (goes_on_)
        caught_ = note_caught(entry_);
    return goes_on_;
}

void stray_touch::say() const {
    const coroutine *running = running_coroutine();
    char who[description_bytes] = "", entry[128] = "", then[256] = "";
    if (!running && is_foreign_) // else the line begins with its name
        format_line(who, sizeof who, "thread %d ", static_cast<int>(sys::gettid()));
    else if (!running)
        format_line(who, sizeof who, "the thread's own stack ");
    if (goes_on_ && caught_ == catch_result::first) {
        name_place(entry, sizeof entry, reinterpret_cast<void *>(entry_), 0);
        format_line(then, sizeof then,
                    "; the program goes on, and new coroutines of %s get private stacks", entry);
    } else if (goes_on_) {
        format_line(then, sizeof then, "; the program goes on, and that stack stays accessible");
    }
    warn("%stouched %p on the stack of %s, which is out (%zu bytes below the top of its shared "
         "stack); pass a copy, or put what is shared on the heap%s",
         who, reinterpret_cast<void *>(address_), whose_,
         static_cast<size_t>(reinterpret_cast<uintptr_t>(range_->low) + range_->bytes - address_),
         then);
}

void stray_touch::write_owner() const {
    owner_frames f;
    f.n = 0;
    if (is_foreign_) {
        walk_foreign(owner_, range_, &f);
    } else {
        open_range range(owner_);
        const char *sp = static_cast<char *>(coctx_sp(owner_->regs)), *high = owner_->high_end();
        walk_owner(owner_->regs, {sp, high, sp}, &f);
    }
    char line[512] = "corun:   ", name[160];
    unsigned n = 9 + format_line(line + 9, sizeof line - 10, "the stack of %s; %p is ", whose_,
                                 reinterpret_cast<void *>(address_));
    auto add = [&](const char *format, auto... arguments) {
        n += format_line(line + n, sizeof line - 1 - n, format, arguments...);
    };
    int in = 0;
    while (in < f.n && address_ >= f.sps[in + 1])
        ++in;
    if (f.n == 0) {
        add("in a frame that cannot be told");
    } else if (address_ < f.sps[0]) {
        add("%zu bytes below its stack pointer: the function that had it has returned:",
            static_cast<size_t>(f.sps[0] - address_));
    } else if (in < f.n) {
        name_place(name, sizeof name, f.pcs[in], 1);
        add("in frame #%d, %s, %zu bytes above its stack pointer and %zu below its end:", in, name,
            static_cast<size_t>(address_ - f.sps[in]),
            static_cast<size_t>(f.sps[in + 1] - address_));
    } else {
        add("beyond the frames that can be told:");
    }
    line[n++] = '\n';
    sys::write(2, line, n);
    write_report_frames(f.pcs, f.n, false);
}

} // namespace corun
