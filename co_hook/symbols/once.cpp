// SPDX-License-Identifier: Apache-2.0
// pthread_once and call_once, in libc's layout, so that whoever comes first (a coroutine, a plain
// thread by libc's own function) makes everybody else wait:
//
//     0 --first one--> generation | in_progress --routine returned--> done
//                            \--it was left by an exception or a cancel: back to 0
//
// The routine may wait: the thread's other coroutines go on, and those that need the same once park.
//
// Rules
//  - The generation counts forks: a routine that was under way in the parent is begun anew in the
//    child. Libc says which it is to whoever runs a routine; so we run one, on a once of our own. That
//    also tells of ThreadSanitizer, whose pthread_once has other states than libc's.
//  - An exception crosses our frame without the C++ runtime's help, which this library does without:
//    call_guarded has a personality routine that does the cleaning up by itself.
//  - libstdc++'s call_once hands its callable over in thread-locals. A coroutine that waits keeps its
//    own, for it may have to run the routine after all. (Not where libstdc++ is linked statically.)
//  - A coroutine that is released, not cancelled, inside the routine leaves it under way for ever.
#include "co_hook/calls/address_wait.h"
#include "co_hook/symbols/hook.h"

#include <climits>
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <threads.h>
#include <unwind.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_THREADS;
constexpr wait_kind once_kind{"pthread_once", false, calls::abandon_address_wait, nullptr,
                              ended_by::program};

using routine = void (*)();

// Libc's states, and ThreadSanitizer's.
enum : int { in_progress = 1, done = 2 };
enum : int { sanitizers_done = 1, sanitizers_waiter = 1 << 17 };
int done_state; // atomic; which it is. 0: not known yet

int state_of(const pthread_once_t *control) { return __atomic_load_n(control, __ATOMIC_ACQUIRE); }

bool is_done(int state) {
    return state != 0 && state == __atomic_load_n(&done_state, __ATOMIC_RELAXED);
}

bool is_changed(const void *control, uintptr_t state) {
    return state_of(static_cast<const pthread_once_t *>(control)) != static_cast<int>(state);
}

void wake_all(pthread_once_t *control) {
    sys::call(SYS_futex, control, FUTEX_WAKE_PRIVATE, INT_MAX);
    calls::wake_at(control, INT_MAX);
}

void set_state(pthread_once_t *control, int state) {
    __atomic_store_n(control, state, __ATOMIC_RELEASE);
    wake_all(control);
}

// What call_guarded calls. The first runs the routine of a once that is ours to run.
int run_routine(pthread_once_t *control, routine f) {
    f();
    set_state(control, __atomic_load_n(&done_state, __ATOMIC_RELAXED));
    return 0;
}

int run_raw_routine(pthread_once_t *control, routine f) {
    f();
    set_state(control, done);
    return 0;
}

} // namespace

// f(control, routine). If it is left by unwinding, see once_personality.
extern "C" __attribute__((visibility("hidden"))) int
corun_call_guarded(int (*f)(pthread_once_t *, routine), pthread_once_t *control, routine r);

// The frame keeps control and f at the third and fourth word above its stack pointer.
#if defined(__x86_64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".hidden corun_call_guarded\n"
        ".globl corun_call_guarded\n"
        ".type corun_call_guarded, @function\n"
        "corun_call_guarded:\n"
        ".cfi_startproc\n"
        ".cfi_personality 0x1b, corun_once_personality\n"
        "subq $40, %rsp\n"
        ".cfi_adjust_cfa_offset 40\n"
        "movq %rsi, 16(%rsp)\n"
        "movq %rdi, 24(%rsp)\n"
        "movq %rdi, %rax\n"
        "movq %rsi, %rdi\n"
        "movq %rdx, %rsi\n"
        "call *%rax\n"
        "addq $40, %rsp\n"
        ".cfi_adjust_cfa_offset -40\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size corun_call_guarded, . - corun_call_guarded\n");
#else
__asm__(".text\n"
        ".p2align 4\n"
        ".hidden corun_call_guarded\n"
        ".globl corun_call_guarded\n"
        ".type corun_call_guarded, @function\n"
        "corun_call_guarded:\n"
        ".cfi_startproc\n"
        ".cfi_personality 0x1b, corun_once_personality\n"
        "subl $28, %esp\n"
        ".cfi_adjust_cfa_offset 28\n"
        "movl 32(%esp), %eax\n"
        "movl 36(%esp), %ecx\n"
        "movl 40(%esp), %edx\n"
        "movl %ecx, (%esp)\n"
        "movl %edx, 4(%esp)\n"
        "movl %ecx, 8(%esp)\n"
        "movl %eax, 12(%esp)\n"
        "call *%eax\n"
        "addl $28, %esp\n"
        ".cfi_adjust_cfa_offset -28\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size corun_call_guarded, . - corun_call_guarded\n");
#endif

extern "C" __attribute__((weak)) _Unwind_Word _Unwind_GetCFA(_Unwind_Context *);

namespace {

// The stack pointer of the frame that is about to be left, at its call.
void **frame_of(_Unwind_Context *context) {
    using function = _Unwind_Word (*)(_Unwind_Context *);
    function get = _Unwind_GetCFA;
    if (!get) // the unwinder came by dlopen: with a plugin, or for a cancel in a C program
        if (void *lib = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_NOLOAD))
            get = reinterpret_cast<function>(dlsym(lib, "_Unwind_GetCFA"));
    return get ? reinterpret_cast<void **>(get(context)) : nullptr;
}

} // namespace

extern "C" __attribute__((visibility("hidden"), used)) _Unwind_Reason_Code
corun_once_personality(int, _Unwind_Action actions, _Unwind_Exception_Class, _Unwind_Exception *,
                       _Unwind_Context *context) {
    if (actions & _UA_CLEANUP_PHASE)
        if (void **frame = frame_of(context)) {
            auto *control = static_cast<pthread_once_t *>(frame[2]);
            if (frame[3] == reinterpret_cast<void *>(run_routine) ||
                frame[3] == reinterpret_cast<void *>(run_raw_routine))
                set_state(control, 0);
            else
                wake_all(control); // libc has set the state back, and woken its own
        }
    return _URC_CONTINUE_UNWIND;
}

namespace {

int once_in_coroutine(pthread_once_t *control, routine f);

// Where libc's own was not found. Nothing tells of forks there.
int raw_once(pthread_once_t *control, routine f) {
    for (;;) {
        int state = state_of(control);
        if (state & done)
            return 0;
        if (state & in_progress)
            sys::call(SYS_futex, control, FUTEX_WAIT_PRIVATE, state, nullptr);
        else if (__atomic_compare_exchange_n(control, &state, in_progress, false, __ATOMIC_ACQUIRE,
                                             __ATOMIC_RELAXED))
            return corun_call_guarded(run_raw_routine, control, f);
    }
}

using once_function = int (*)(pthread_once_t *, routine);

int once_outside(once_function native, pthread_once_t *control, routine f) {
    if (CO_LIKELY(is_done(state_of(control))))
        return 0;
    int r = corun_call_guarded(native, control, f);
    calls::wake_at(control, INT_MAX);
    return r;
}

} // namespace

CORUN_NATIVE(int, pthread_once, (pthread_once_t * control, routine f), raw_once(control, f));
int hook_pthread_once(pthread_once_t *control, routine f) {
    if (CO_LIKELY(!hooks_are_on(family)))
        return once_outside(native_pthread_once, control, f);
    return once_in_coroutine(control, f);
}
CORUN_HOOK_ALIAS(int, __pthread_once, pthread_once, (pthread_once_t *, routine));
CORUN_WEAK_HOOK(__pthread_once);

static_assert(sizeof(once_flag) == sizeof(pthread_once_t)); // libc has one function for both
CORUN_NATIVE(void, call_once, (once_flag * flag, routine f),
             (void)raw_once(reinterpret_cast<pthread_once_t *>(flag), f));
void hook_call_once(once_flag *flag, routine f) {
    hook_pthread_once(reinterpret_cast<pthread_once_t *>(flag), f);
}

namespace {

constinit thread_local pthread_once_t probe;
constinit thread_local int probed;

void look_at_probe() { probed = state_of(&probe); }

// The state of a once whose routine is under way in this process.
int state_under_way() {
    probe = PTHREAD_ONCE_INIT;
    native_pthread_once(&probe, look_at_probe);
    __atomic_store_n(&done_state, state_of(&probe), __ATOMIC_RELAXED);
    return probed;
}

bool is_under_way(int state, int under_way) {
    if (is_done(sanitizers_done))
        state &= ~sanitizers_waiter;
    return state == under_way;
}

// std::__once_callable and std::__once_call, which are at the same distance from the thread pointer
// in every thread.
void *once_proxy;
intptr_t once_locals[2];

char *thread_pointer() {
    char *p;
#if defined(__x86_64__)
    __asm__("movq %%fs:0, %0" : "=r"(p));
#else
    __asm__("movl %%gs:0, %0" : "=r"(p));
#endif
    return p;
}

__attribute__((constructor)) void find_once_proxy() {
    void *callable = dlsym(RTLD_DEFAULT, "_ZSt15__once_callable");
    void *call = dlsym(RTLD_DEFAULT, "_ZSt11__once_call");
    if (!callable || !call)
        return;
    once_locals[0] = static_cast<char *>(callable) - thread_pointer();
    once_locals[1] = static_cast<char *>(call) - thread_pointer();
    once_proxy = dlsym(RTLD_DEFAULT, "__once_proxy");
}

class kept_callable {
  public:
    explicit kept_callable(routine f) : kept_(f && reinterpret_cast<void *>(f) == once_proxy) {
        for (int i = 0; kept_ && i < 2; ++i)
            values_[i] = *place(i);
    }
    void put_back() {
        for (int i = 0; kept_ && i < 2; ++i)
            *place(i) = values_[i];
    }

  private:
    static void **place(int i) {
        return reinterpret_cast<void **>(thread_pointer() + once_locals[i]);
    }
    bool kept_;
    void *values_[2];
};

int once_in_coroutine(pthread_once_t *control, routine f) {
    int state = state_of(control);
    if (CO_LIKELY(is_done(state)))
        return 0;
    int under_way = state_under_way();
    while (!is_done(state = state_of(control))) {
        if (is_under_way(state, under_way)) {
            kept_callable callable(f);
            int r = calls::wait_at(once_kind, control, is_changed, static_cast<uintptr_t>(state),
                                   no_deadline);
            if (r != 0 && r != -EAGAIN)
                return leave_wait(-r);
            callable.put_back();
        } else if (__atomic_compare_exchange_n(control, &state, under_way, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_RELAXED)) {
            return corun_call_guarded(run_routine, control, f);
        }
    }
    return 0;
}

const hook_entry entries[] = {
    CORUN_ENTRY(pthread_once, P),
    CORUN_WEAK_ALIAS_ENTRY(__pthread_once, P),
    CORUN_ENTRY(call_once, P),
};

} // namespace

CORUN_TABLE(once_table, entries);

} // namespace corun::symbols
