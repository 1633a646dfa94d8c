// SPDX-License-Identifier: Apache-2.0
// The control block of a coroutine, and its states.
//
//   fresh --resume--> running <--> resuming      (resumed another; goes on when that one yields)
//   fresh --co_go---> ready
//   running --co_yield--> yielded --co_resume, co_wake--> running, ready
//   running --park--> parked --unpark, deadline--> ready --loop--> running
//   running --returns, cancelled--> ended --co_reset--> fresh
//
// A private stack carries its coroutine's control block at its top: one page serves both. On a
// shared stack the block stands apart, because it must be readable while the stack is out.
//
// Fields belong to the coroutine's thread, except `pending`, which any thread sets (loop/inbox.h).
#pragma once

#include "co_ctx/coctx.h"
#include "co_routine/base/list.h"
#include "co_routine/base/sanitizer.h"
#include "co_routine/co_routine.h"
#include "co_routine/stack/shared_stack.h"

#include <cstddef>
#include <cstdint>

namespace corun {

struct co_env;
struct co_extra;
struct local_tables;
class stack_pool;

using coroutine = ::stCoRoutine_t;

enum class co_state : uint8_t { fresh, ready, running, resuming, yielded, parked, ended };
const char *state_name(co_state s);

// Who can end a wait.
enum class ended_by : uint8_t {
    event,   // what is no coroutine: a descriptor, a helper thread, a signal, or nobody knows
    program, // code of the program alone: a lock, a channel, a futex
    runtime, // a service of the runtime's, which has nothing to do now
};
// Whom a coroutine waits for: an address, or a number where that is all that is known. 0: nobody, or
// nobody knows.
using holder_key = uint64_t;
inline holder_key key_of(const coroutine *co) { return reinterpret_cast<uintptr_t>(co); }
inline holder_key key_of_number(uint32_t id) { return uint64_t{id} << 1 | 1; }

// What a parked coroutine waits in, named so that debug/ can print it without knowing co_hook, and
// how to take it out of there when it is dropped while it waits.
struct wait_kind {
    const char *call;               // "recv", "mutex"
    bool subject_is_fd;             // else an object
    void (*abandon)(coroutine *co); // unlinks it; nullptr: nothing to do
    // What debug/ says of the object behind its address (", held by #4"); returns the length.
    unsigned (*describe)(char *out, unsigned size, const void *object) = nullptr;
    ended_by end = ended_by::event;
    // The one that alone can end the wait, certainly, as long as it is of the same thread and parked.
    holder_key (*holder)(const coroutine *co) = nullptr;
};
union wait_subject {
    const void *object = nullptr;
    intptr_t fd;
};

// Bits of coroutine::flags.
enum co_flag : uint16_t {
    flag_detached = 1 << 0,     // freed when it ends: nobody holds it
    flag_hooks = 1 << 1,        // co_enable_hook_sys
    flag_root = 1 << 2,         // the thread's own stack
    flag_started = 1 << 3,      // counted in env->live
    flag_queued = 1 << 4,       // stands in the ready queue
    flag_doomed = 1 << 5,       // released while queued somewhere: freed when it leaves the queue
    flag_wake_permit = 1 << 6,  // co_wake came before co_yield
    flag_timed_out = 1 << 7,    // set by the timer, read by park
    flag_cancel = 1 << 8,       // co_cancel asked for the end
    flag_cancel_errno = 1 << 9, // CO_CANCEL_ERRNO
    flag_unwinding = 1 << 10,   // the end is under way: no second one begins
    flag_woken = 1 << 11,       // ready because of a co_wake it has not answered yet
    flag_ran = 1 << 12,         // its entry function has begun
    flag_joined = 1 << 13,      // the one it joins has ended; wait_slot is its result
    flag_hook_choice = 1 << 14, // extra->hook_families is its own
    flag_elsewhere = 1 << 15,   // its stack is not ours: stack_low to stack_high
};

// Bits of coroutine::pending: what other threads ask for.
enum co_pending : uint32_t { pending_unpark = 1, pending_wake = 2, pending_cancel = 4 };

inline constexpr uint32_t no_timer = UINT32_MAX;

} // namespace corun

// 256 bytes at most on x86_64 (asserted below): a million of them must not cost more than what they
// hold on to. The first line is what a switch loads.
struct alignas(64) stCoRoutine_t {
    void *regs[COCTX_LIVE_REGS];
    corun::coroutine *caller = nullptr; // who resumed it; nullptr: nobody waits for it

    corun::co_state state = corun::co_state::fresh;
    uint8_t loose_saves = 0; // see stack/shared_stack.h
    uint16_t flags = 0;
    uint32_t id = 0;
    corun::co_env *env = nullptr;
    corun::tenant tenancy;
    int saved_errno = 0;
    union {
        uint32_t uncaught_exceptions = 0; // with the next: the C++ runtime's per-thread state
        uint32_t turns; // of the loop, where env->eh is nullptr; after 2^32 they begin anew
    };
    union {
        void *caught_exceptions = nullptr;
        char *stack_high; // flag_elsewhere: in an env without a C++ runtime
    };

    // Of its private stack, its own range or somebody else's stack (flag_elsewhere); under a sanitizer the
    // root's, too. Else nullptr.
    char *stack_low = nullptr;
    union {
        corun::coroutine *ready_next = nullptr; // with flag_queued
        uint64_t parked_at_cycles; // parked, and without it: when that turn of the loop began
    };
    corun::list_node wait_link; // in the queue of what it waits for

    const corun::wait_kind *waiting = nullptr; // what it waits in; nullptr: nothing
    corun::wait_subject subject;               // and on what
    union {
        int64_t deadline_ns = 0; // while parked
        void *result;            // once ended
    };
    void *wait_slot = nullptr; // where a partner puts or finds what is handed over
    uint32_t timer_index = corun::no_timer;
    uint32_t index = 0; // in env->all

    pfn_co_routine_t entry = nullptr;
    void *arg = nullptr;
    corun::stack_pool *pool = nullptr; // where stack_low goes back to
    corun::co_extra *extra = nullptr;  // name, locals, joiners: made when first needed
    corun::coroutine *inbox_next = nullptr;
    uint32_t pending = 0;          // atomic
    uint32_t saved_high_water = 0; // shared stacks: most bytes ever saved

    // The bounds of the stack it runs on, wherever that is.
    char *low_end() const { return shared_home() && !pool ? tenancy.home->low : stack_low; }
    char *high_end() const;
    // nullptr: a stack of its own. (The home may be a gate: core/watched.h.)
    corun::shared_stack *shared_home() const {
        return tenancy.home && tenancy.home->group ? tenancy.home : nullptr;
    }

    bool has(corun::co_flag f) const { return (flags & f) != 0; }
    void set(corun::co_flag f) { flags = static_cast<uint16_t>(flags | f); }
    void clear(corun::co_flag f) { flags = static_cast<uint16_t>(flags & ~f); }
    bool take(corun::co_flag f) {
        bool was = has(f);
        clear(f);
        return was;
    }
};

namespace corun {

#if defined(__x86_64__)
static_assert(sizeof(coroutine) <= 256);
#endif

// Slab memory that a call uses while it waits, in front of its bytes.
struct alignas(16) kept_block {
    list_node link;
    size_t bytes; // with this
};

// What few coroutines have.
struct co_extra {
    char name[64] = {};
    list_head joiners;                              // linked by wait_link
    list_head blocks;                               // kept_block: freed when it is released
    local_tables *locals = nullptr;                 // see core/locals.h
    unsigned hook_families = 0;                     // with flag_hook_choice
    san_fiber fiber;                                // under a sanitizer each has one
    alignas(16) unsigned char unwind_exception[64]; // of a cancel: frames that go must not bury it
};
// The coroutine's, made if need be; nullptr: no memory.
co_extra *extra_of(coroutine *co);

// How every message names one: "coroutine 'worker' (#3)", "coroutine #3", "the thread's own stack".
// Returns the length.
unsigned describe(char *out, unsigned size, const coroutine *co);
inline constexpr unsigned description_bytes = 128;
struct description {
    char text[description_bytes];
    explicit description(const coroutine *co) { describe(text, sizeof text, co); }
};

// Creates one in state fresh; 0 or an errno value. See co_create.
int create_coroutine(coroutine **out, const stCoRoutineAttr_t *attr, pfn_co_routine_t entry,
                     void *arg);

// One on a stack that somebody else owns, for an env whose eh is nullptr; state fresh, detached, in no
// queue. nullptr: no memory. entry nullptr: it runs already, as the code that calls this.
coroutine *create_elsewhere(co_env *env, char *low, char *high, pfn_co_routine_t entry, void *arg);

// Ends the running coroutine with this result: destructors of its locals, joiners, then away for
// good. Called at the bottom of its stack, or wherever a cancelled one stopped unwinding.
[[noreturn]] void end_running(void *result);

void wake_joiners(coroutine *co);

// Frees what a coroutine holds. Not while it runs, but for one that ends this very moment.
void free_coroutine(coroutine *co);

// From ended back to fresh; EBUSY in any other state.
int reset_coroutine(coroutine *co);

// The frame every coroutine's stack ends with; debug/ and the unwinder stop there.
void *coroutine_entry(void *co, void *unused);

} // namespace corun
