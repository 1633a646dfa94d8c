// SPDX-License-Identifier: Apache-2.0
#include "co_routine/debug/unwinder.h"

#include "co_routine/base/at_fork.h"
#include "co_routine/base/check.h"
#include "co_routine/base/clock.h"
#include "co_routine/base/raw_sys.h"
#include "co_routine/base/sanitizer.h"
#include "co_routine/core/coroutine.h"
#include "co_routine/debug/suspended_walk.h"
#include "co_routine/debug/symbol_names.h"
#include "co_routine/debug/walk.h"

#include <cstring>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unwind.h>

#if defined(__x86_64__)
#include "co_ctx/x86_64/layout.h"
#elif defined(__i386__)
#include "co_ctx/i386/layout.h"
#endif

namespace corun {
namespace {

libunwind::functions_here functions; // written before `sought` says so

enum search : int { not_yet, loaded, missing };
int sought = not_yet; // atomic

// ---- fork

// libunwind locks its caches, and what another thread has locked at a fork nobody unlocks in the child. So a
// fork waits until nobody is in it, and meanwhile nobody goes in.
constexpr int64_t fork_patience_ns = 100 * ns_per_ms;
int inside;                   // atomic: libunwind's users
int forks;                    // atomic: under way
thread_local int inside_here; // of them this thread: a handler that forks does not wait for itself
thread_local bool fork_is_late; // somebody is in there still

void before_fork() {
    __atomic_add_fetch(&forks, 1, __ATOMIC_SEQ_CST);
    for (int64_t until = now_ns() + fork_patience_ns;;) {
        fork_is_late = __atomic_load_n(&inside, __ATOMIC_SEQ_CST) > inside_here;
        if (!fork_is_late || now_ns() >= until)
            return;
        sys::kernel_timespec t{0, ns_per_ms / 20};
        sys::call(sys::nr_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, nullptr);
    }
}

void after_fork_in_parent() { __atomic_sub_fetch(&forks, 1, __ATOMIC_SEQ_CST); }

void after_fork_in_child() {
    if (fork_is_late)
        sought = missing;
    inside = inside_here;
    forks = 0;
}

__attribute__((constructor)) void prepare_for_fork() {
    at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

class libunwind_turn {
  public:
    libunwind_turn() {
        __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        ++inside_here;
        is_allowed_ = __atomic_load_n(&forks, __ATOMIC_SEQ_CST) == 0;
        if (!is_allowed_)
            leave();
    }
    ~libunwind_turn() {
        if (is_allowed_)
            leave();
    }
    libunwind_turn(const libunwind_turn &) = delete;
    libunwind_turn &operator=(const libunwind_turn &) = delete;
    bool is_allowed() const { return is_allowed_; }

  private:
    static void leave() {
        --inside_here;
        __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    }
    bool is_allowed_;
};

int walk_with_libunwind(ucontext_t *context, const walk_request &request, void **pcs, int max) {
    libunwind_turn turn;
    if (!turn.is_allowed())
        return 0;
    libunwind::cursor cursor;
    int flags = request.signal_frame ? libunwind::init_signal_frame : 0;
    if (functions.init_local2(&cursor, context, flags) < 0)
        return 0;
    return walk(functions, &cursor, request, pcs, max);
}

// ---- libgcc's, for the caller's own frames on i386 ---------------------------------------------

#if defined(__i386__)
struct {
    decltype(&_Unwind_Backtrace) backtrace;
    decltype(&_Unwind_GetIP) get_ip;
    decltype(&_Unwind_GetRegionStart) get_region_start;
} libgcc; // complete or all nullptr

struct own_walk {
    uintptr_t first;
    void **pcs;
    int max, n, left_out;
};

_Unwind_Reason_Code on_own_frame(_Unwind_Context *context, void *argument) {
    own_walk *w = static_cast<own_walk *>(argument);
    uintptr_t pc = libgcc.get_ip(context);
    if (pc == 0 || w->n == w->max || w->left_out == most_frames_left_out ||
        libgcc.get_region_start(context) == entry_address())
        return _URC_END_OF_STACK;
    if (w->n > 0 || pc == w->first)
        w->pcs[w->n++] = reinterpret_cast<void *>(pc);
    else
        ++w->left_out;
    return _URC_NO_REASON;
}

// Every C++ program has it; for a C program it is loaded.
void find_libgcc() {
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW);
    decltype(libgcc) found{};
    if (library && find_symbol(library, "_Unwind_Backtrace", &found.backtrace) &&
        find_symbol(library, "_Unwind_GetIP", &found.get_ip) &&
        find_symbol(library, "_Unwind_GetRegionStart", &found.get_region_start))
        libgcc = found;
}
#else
void find_libgcc() {}
#endif

uintptr_t context_pc(const ucontext_t *c) {
#if defined(__x86_64__)
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RIP]);
#else
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_EIP]);
#endif
}
uintptr_t context_sp(const ucontext_t *c) {
#if defined(__x86_64__)
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RSP]);
#else
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_ESP]);
#endif
}
uintptr_t context_fp(const ucontext_t *c) {
#if defined(__x86_64__)
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_RBP]);
#else
    return static_cast<uintptr_t>(c->uc_mcontext.gregs[REG_EBP]);
#endif
}

// Whatever the register holds, nothing outside the stack is read and every step goes upwards. The
// sizes of functions are not known here; what follows coroutine_entry within 256 bytes is ours too.
CO_NO_SANITIZE int walk_frame_pointers(const ucontext_t *context, const walk_request &request,
                                       void **pcs, int max) {
    const live_bytes &stack = request.stack;
    uintptr_t low = reinterpret_cast<uintptr_t>(stack.low);
    uintptr_t high = reinterpret_cast<uintptr_t>(stack.high);
    uintptr_t pc = context_pc(context), fp = context_fp(context);
    uintptr_t first = reinterpret_cast<uintptr_t>(request.first_pc);
    int n = 0;
    note_sp(request, n, context_sp(context));
    pcs[n++] = reinterpret_cast<void *>(first ? first : pc);
    while (low && n < max) {
        constexpr size_t word_bytes = sizeof(uintptr_t);
        if (fp < low || fp % word_bytes != 0 || fp + 2 * word_bytes > high)
            break;
        uintptr_t frame[2];
        memcpy(frame, stack.bytes + (fp - reinterpret_cast<uintptr_t>(stack.low)), sizeof frame);
        if (frame[1] < page_size || frame[1] - entry_address() < 256)
            break;
        if (frame[1] == first)
            n = 0; // what came before were our own frames
        note_sp(request, n, fp + sizeof frame);
        pcs[n++] = reinterpret_cast<void *>(frame[1]);
        low = fp + 1;
        fp = frame[0];
    }
    note_sp(request, n, high);
    return n;
}

} // namespace

bool libunwind_was_sought() { return __atomic_load_n(&sought, __ATOMIC_ACQUIRE) != not_yet; }

bool libunwind_loaded() { return __atomic_load_n(&sought, __ATOMIC_ACQUIRE) == loaded; }

bool load_libunwind(bool say_if_missing) {
    int seen = __atomic_load_n(&sought, __ATOMIC_ACQUIRE);
    if (seen != not_yet)
        return seen == loaded;
    libunwind_turn turn;
    if (!turn.is_allowed())
        return false; // the next one tries again
    // Two threads may both come here; they find the same functions.
    bool there = libunwind::find(&functions) && prepare_suspended_walks();
    find_libgcc();
    int before = __atomic_exchange_n(&sought, there ? loaded : missing, __ATOMIC_ACQ_REL);
    if (!there && before == not_yet && say_if_missing)
        warn("%s", what_backtraces_need);
    return there;
}

namespace {

struct visit {
    void (*f)(void *argument);
    void *argument;
    alignas(64) void *here[COCTX_LIVE_REGS], *there[COCTX_LIVE_REGS];
};

void *call_and_return(void *visiting, void *) {
    auto *v = static_cast<visit *>(visiting);
    v->f(v->argument);
    coctx_swap_regs(v->there, v->here);
    __builtin_unreachable();
}

} // namespace

void call_on_stack(char *low, size_t bytes, void (*f)(void *argument), void *argument) {
    visit v{f, argument, {}, {}};
    coctx_make_regs(v.there, low, bytes, call_and_return, &v, nullptr);
    coctx_swap_regs(v.here, v.there);
}

void load_libunwind_elsewhere() {
    constexpr size_t bytes = 1024 * 1024;
    sys::word low = sys::mmap_anonymous(bytes, PROT_READ | PROT_WRITE, MAP_NORESERVE);
    if (sys::failed(low))
        return;
    auto load = [](void *) { load_libunwind(false); };
    call_on_stack(reinterpret_cast<char *>(low), bytes, load, nullptr);
    sys::munmap(reinterpret_cast<void *>(low), bytes);
}

int walk_own_frames([[maybe_unused]] void *first_pc, [[maybe_unused]] void **pcs,
                    [[maybe_unused]] int max) {
#if defined(__i386__)
    if (!libgcc.backtrace || !libunwind_was_sought())
        return 0;
    own_walk w{reinterpret_cast<uintptr_t>(first_pc), pcs, max, 0, 0};
    libgcc.backtrace(on_own_frame, &w);
    return w.n;
#else
    return 0;
#endif
}

void context_of_registers(ucontext_t *out, void *const *regs) {
    memset(out, 0, sizeof *out);
    greg_t *to = out->uc_mcontext.gregs;
    auto saved = [regs](size_t offset) {
        return reinterpret_cast<greg_t>(regs[offset / sizeof(void *)]);
    };
#if defined(__x86_64__)
    to[REG_RBX] = saved(COCTX_OFFSET_RBX);
    to[REG_RBP] = saved(COCTX_OFFSET_RBP);
    to[REG_R12] = saved(COCTX_OFFSET_R12);
    to[REG_R13] = saved(COCTX_OFFSET_R13);
    to[REG_R14] = saved(COCTX_OFFSET_R14);
    to[REG_R15] = saved(COCTX_OFFSET_R15);
    to[REG_RSP] = saved(COCTX_OFFSET_RSP);
    to[REG_RIP] = saved(COCTX_OFFSET_RIP);
#else
    to[REG_EBX] = saved(COCTX_OFFSET_EBX);
    to[REG_ESI] = saved(COCTX_OFFSET_ESI);
    to[REG_EDI] = saved(COCTX_OFFSET_EDI);
    to[REG_EBP] = saved(COCTX_OFFSET_EBP);
    to[REG_ESP] = saved(COCTX_OFFSET_ESP);
    to[REG_EIP] = saved(COCTX_OFFSET_EIP);
#endif
}

int walk_frames(ucontext_t *context, const walk_request &request, void **pcs, int max) {
    if (max <= 0)
        return 0;
    int n = 0;
    if (libunwind_loaded())
        n = walk_with_libunwind(context, request, pcs, max);
    return n > 0 ? n : walk_frame_pointers(context, request, pcs, max);
}

int walk_suspended(void *const *regs, const walk_request &request, void **pcs, int max) {
    if (max <= 0)
        return 0;
    if (libunwind_loaded()) {
        libunwind_turn turn;
        int n = turn.is_allowed() ? walk_elsewhere(regs, request, pcs, max) : 0;
        if (n > 0)
            return n;
    }
    ucontext_t context;
    context_of_registers(&context, regs);
    return walk_frame_pointers(&context, request, pcs, max);
}

#if defined(__x86_64__)
int walk_registers(const kept_registers &registers, void **pcs, int max) {
    return walk_suspended(registers_of(registers).values, {}, pcs, max);
}
#endif

void forget_code() {
    forget_names();
    if (libunwind_loaded())
        flush_suspended_walks();
}

int (*code_info)(const void *pc, Dl_info *info) = dladdr;

unsigned format_frame(char *out, unsigned size, int number, void *pc, bool exact_pc) {
    // A call that never returns may be its function's last instruction: the return address then
    // belongs to the next one.
    auto at = reinterpret_cast<uintptr_t>(pc);
    code_name name;
    if (!name_code(at - (exact_pc ? 0 : 1), &name))
        return format_line(out, size, "#%d %p", number, pc);
    unsigned n = format_line(out, size, "#%d %p ", number, pc);
    if (name.function[0])
        n += format_line(out + n, size - n, "%s+0x%zx ", name.function,
                         static_cast<size_t>(at - name.begin));
    n += format_line(out + n, size - n, "(%s+0x%zx)", name.file,
                     static_cast<size_t>(at - name.base));
    make_printable(out, n);
    return n;
}

} // namespace corun
