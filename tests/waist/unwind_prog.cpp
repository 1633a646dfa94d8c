// SPDX-License-Identifier: Apache-2.0
// Makes system calls while a profiler's timer interrupts it; each time, the whole stack must be seen.
// Ends with the line "N samples, N truncated, N in slots".
//
//     unwind_prog [UNWINDER [SAMPLES]]   UNWINDER: libgcc (backtrace, the default) or libunwind
//     unwind_prog UNWINDER SAMPLES thread  the same in a thread
//     unwind_prog UNWINDER step          interrupted by the processor, behind every instruction
//
// Exit status 77: no such unwinder, or machine.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <ucontext.h>
#include <unistd.h>

namespace {

using unwinder = int (*)(void **frames, int most);

unwinder unwind;
int (*is_slot)(const void *pc); // nullptr: no slots here
constexpr int most_frames = 64;
constexpr int outermost = 2; // libc's start code, and _start
void *bottom[outermost];     // as seen without a signal

volatile sig_atomic_t active; // what follows is to be looked at
volatile sig_atomic_t samples, truncated, in_slots;

// Nothing here makes a system call.
void sample(int, siginfo_t *, void *context) {
    if (!active)
        return;
    void *frames[most_frames];
    int n = unwind(frames, most_frames);
    const auto *u = static_cast<const ucontext_t *>(context);
#if defined(__x86_64__)
    const void *pc = reinterpret_cast<const void *>(u->uc_mcontext.gregs[REG_RIP]);
#else
    const void *pc = nullptr;
    (void)u;
#endif
    samples = samples + 1;
    in_slots = in_slots + (is_slot && is_slot(pc));
    if (n < outermost || memcmp(frames + n - outermost, bottom, sizeof bottom) != 0) {
        truncated = truncated + 1;
        if (truncated <= 3) {
            fprintf(stderr, "at %p, %d frames:", pc, n);
            for (int i = 0; i < n; ++i)
                fprintf(stderr, " %p", frames[i]);
            fprintf(stderr, "\n");
        }
    }
}

__attribute__((noinline)) void make_calls(int zero, int null) {
    char byte = 0;
    for (int i = 0; i < 20; ++i) {
        getppid();
        if (read(zero, &byte, 1) != 1 || write(null, &byte, 1) != 1)
            abort();
        lseek(zero, 0, SEEK_CUR);
        sigset_t set;
        sigemptyset(&set);
        sigprocmask(SIG_BLOCK, &set, nullptr);
        timespec none = {0, 1};
        if (i == 0)
            nanosleep(&none, nullptr);
    }
}

// The trap flag: SIGTRAP behind each instruction. It is in the flags that a signal frame keeps, so it
// is off in the handler and on again behind it.
bool trap_each_instruction(bool on) {
#if defined(__x86_64__)
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\t"
                     "pushf\n\t"
                     "andl $~0x100, (%%rsp)\n\t"
                     "orl %0, (%%rsp)\n\t"
                     "popf\n\t"
                     "lea 128(%%rsp), %%rsp"
                     :
                     : "r"(on ? 0x100 : 0)
                     : "memory", "cc");
    return true;
#else
    return !on;
#endif
}

// A profiler's timer. Not ITIMER_PROF, which ticks with the scheduler's clock: this one interrupts
// anywhere, every 100 us.
bool start_timer(timer_t *timer) {
    sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGPROF;
    itimerspec every = {{0, 100000}, {0, 100000}};
    return timer_create(CLOCK_MONOTONIC, &event, timer) == 0 &&
           timer_settime(*timer, 0, &every, nullptr) == 0;
}

int wanted = 1000;
bool stepping;

void let_profiler(bool interrupt) {
    sigset_t profiler;
    sigemptyset(&profiler);
    sigaddset(&profiler, SIGPROF);
    pthread_sigmask(interrupt ? SIG_UNBLOCK : SIG_BLOCK, &profiler, nullptr);
}

// Records where a stack of this thread ends, then has it looked at.
void *measure(void *) {
    void *frames[most_frames];
    int n = unwind(frames, most_frames); // loads what it needs, too
    if (n < outermost)
        return nullptr;
    memcpy(bottom, frames + n - outermost, sizeof bottom);
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_WRONLY);
    make_calls(zero, null); // binds the symbols
    if (stepping) {
        if (!trap_each_instruction(true))
            exit(77);
        active = 1;
        make_calls(zero, null);
        active = 0;
        trap_each_instruction(false);
        return nullptr;
    }
    let_profiler(true);
    timer_t timer;
    active = 1;
    if (!start_timer(&timer))
        return nullptr;
    time_t begun = time(nullptr);
    while (samples < wanted && time(nullptr) < begun + 30)
        make_calls(zero, null);
    timer_delete(timer);
    active = 0;
    return nullptr;
}

} // namespace

int main(int argc, char **argv) {
    const char *which = argc > 1 ? argv[1] : "libgcc";
    stepping = argc > 2 && !strcmp(argv[2], "step");
    wanted = stepping ? 1 : argc > 2 ? atoi(argv[2]) : wanted;
    unwind = backtrace;
    if (!strcmp(which, "libunwind")) {
        void *library = dlopen("libunwind.so.8", RTLD_NOW);
        unwind = library ? reinterpret_cast<unwinder>(dlsym(library, "unw_backtrace")) : nullptr;
        if (!unwind)
            return 77;
    }
    is_slot = reinterpret_cast<int (*)(const void *)>(dlsym(RTLD_DEFAULT, "native_waist_is_slot"));
    struct sigaction action = {};
    action.sa_sigaction = sample;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(stepping ? SIGTRAP : SIGPROF, &action, nullptr);
    if (argc > 3 && !strcmp(argv[3], "thread")) {
        pthread_t thread; // the timer's signal is for it, from the first on
        let_profiler(false);
        pthread_create(&thread, nullptr, measure, nullptr);
        pthread_join(thread, nullptr);
    } else {
        measure(nullptr);
    }
    printf("%d samples, %d truncated, %d in slots\n", static_cast<int>(samples),
           static_cast<int>(truncated), static_cast<int>(in_slots));
    return samples < wanted || truncated != 0;
}
