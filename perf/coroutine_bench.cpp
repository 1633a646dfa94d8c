// SPDX-License-Identifier: Apache-2.0
/*
 * coroutine_bench.cpp - what a switch costs through the public interface.
 *
 *     coroutine_bench [rounds]      tables
 *     coroutine_bench --check       fails when a target of the README is missed
 *
 * 1. co_resume + co_yield_ct, per one-way switch, beside jump_fcontext and a plain call.
 * 2. Two coroutines that take turns on one shared stack, per activation (one copy out, one copy in,
 *    two switches), beside a memcpy of as many bytes out and in between buffers of the same kind.
 * 3. co_go, run, end.
 */
#include "perf/bench.h"

#include "co_routine.h"

#include <memory>

#if defined(HAVE_BOOST_CONTEXT)
#include <boost/context/detail/fcontext.hpp>
#endif
#include <xmmintrin.h>

namespace {

constexpr double switch_target = 1.6, copy_target = 1.15;
constexpr unsigned default_mxcsr = 0x1f80; // unequal status flags would cost Boost 59 ns a switch
bool missed;

void check(const char *what, double ratio, double target) {
    const bool ok = ratio <= target;
    missed |= !ok;
    printf("  %-34s %.2fx, target %.2fx: %s\n", what, ratio, target, ok ? "met" : "MISSED");
}

[[gnu::noinline]] void plain_call() { asm volatile(""); }

void *yield_for_ever(void *) {
    for (;;)
        co_yield_ct();
}

#if defined(HAVE_BOOST_CONTEXT)
void boost_body(boost::context::detail::transfer_t t) {
    for (;;)
        t = boost::context::detail::jump_fcontext(t.fctx, nullptr);
}
#endif

// A pair of one-way switches is one resume and the yield that answers it.
void switch_table(int rounds) {
    bench::table t("resume and yield: ns per one-way switch");
    constexpr uint64_t n = 1000000;
    t.add("plain call and return", n, [](uint64_t k) {
        for (; k; k--)
            plain_call();
    });
    stCoRoutine_t *co;
    co_create(&co, nullptr, yield_for_ever, nullptr);
    t.add("co_resume + co_yield_ct", n, [co](uint64_t k) {
        for (; k; k -= 2)
            co_resume(co);
    });
#if defined(HAVE_BOOST_CONTEXT)
    using namespace boost::context::detail;
    auto stack = std::make_unique<char[]>(65536);
    _mm_setcsr(default_mxcsr);
    fcontext_t peer = make_fcontext(stack.get() + 65536, 65536, boost_body);
    t.add("jump_fcontext (Boost)", n, [&peer](uint64_t k) {
        _mm_setcsr(default_mxcsr);
        for (; k; k -= 2)
            peer = jump_fcontext(peer, nullptr).fctx;
    });
    t.baseline();
#endif
    t.run(rounds);
#if defined(HAVE_BOOST_CONTEXT)
    check("co_resume + co_yield_ct",
          t.median("co_resume + co_yield_ct") / t.median("jump_fcontext (Boost)"), switch_target);
#endif
    co_release(co);
}

template <size_t Bytes> void *live_for_ever(void *) {
    char frame[Bytes] = {1};
    bench::keep(frame);
    for (;;)
        co_yield_ct();
}

struct copy_case {
    const char *name;
    pfn_co_routine_t body;
};

// Out and in with memcpy, over three buffers as the two coroutines and the stack are three.
void copy_out_and_in(char *stack, char *const *saved, size_t bytes, uint64_t n) {
    for (; n; n--) {
        memcpy(saved[n & 1], stack, bytes);
        bench::clobber_memory();
        memcpy(stack, saved[(n & 1) ^ 1], bytes);
        bench::clobber_memory();
    }
}

double copy_row(const copy_case &c, stShareStack_t *stacks, double ns_per_switch, int rounds) {
    stCoRoutineAttr_t attr;
    attr.share_stack = stacks;
    stCoRoutine_t *pair[2];
    for (auto &co : pair) {
        co_create(&co, &attr, c.body, nullptr);
        co_resume(co);
    }
    co_stats before, after;
    co_get_stats(&before);
    co_resume(pair[0]);
    co_get_stats(&after);
    // One activation copied the one out and the other in: the same number of bytes each.
    const size_t bytes = (after.bytes_copied - before.bytes_copied) / 2;

    char *area = static_cast<char *>(aligned_alloc(4096, 3 * 131072));
    memset(area, 1, 3 * 131072);
    char *saved[2] = {area + 131072, area + 2 * 131072};
    bench::table t(std::string("shared stack, ") + c.name + " live: ns per activation");
    const uint64_t n = bytes < 8192 ? 100000 : 4000;
    t.add("memcpy out and in", n, [=](uint64_t k) { copy_out_and_in(area, saved, bytes, k); });
    t.add("activation", n, [&pair](uint64_t k) {
        for (; k; k--)
            co_resume(pair[k & 1]);
    });
    t.measure(rounds);
    const double plain = t.median("memcpy out and in"), ours = t.median("activation");
    printf("  %-10s %8zu %12.1f %14.1f %14.2fx\n", c.name, bytes, ours, plain,
           ours / (plain + 2 * ns_per_switch));
    for (auto *co : pair)
        co_release(co);
    free(area);
    return ours / (plain + 2 * ns_per_switch);
}

double measured_switch_ns(int rounds) {
    stCoRoutine_t *co;
    co_create(&co, nullptr, yield_for_ever, nullptr);
    bench::table t("");
    t.add("switch", 1000000, [co](uint64_t k) {
        for (; k; k -= 2)
            co_resume(co);
    });
    t.measure(rounds);
    co_release(co);
    return t.median("switch");
}

void copy_table(int rounds) {
    static const copy_case cases[] = {
        {"64 B", live_for_ever<64>},      {"512 B", live_for_ever<512>},
        {"1 KiB", live_for_ever<1024>},   {"4 KiB", live_for_ever<4096>},
        {"16 KiB", live_for_ever<16384>}, {"64 KiB", live_for_ever<65536>},
    };
    stShareStack_t *stacks = co_alloc_sharestack(1, 256 * 1024);
    const double ns = measured_switch_ns(rounds);
    printf("\nshared stack: two coroutines take turns (%d interleaved rounds)\n", rounds);
    printf("  %-10s %8s %12s %14s %15s\n", "live", "copied", "activation", "memcpy, both",
           "of both+2 swaps");
    for (const copy_case &c : cases) {
        const double ratio = copy_row(c, stacks, ns, rounds);
        if (&c != &cases[0])
            check(c.name, ratio, copy_target);
    }
    co_release_sharestack(stacks);
}

void *nothing(void *) { return nullptr; }

void life_table(int rounds) {
    bench::table t("create, run, end: ns each");
    static stShareStack_t *stacks = co_alloc_sharestack(1, 128 * 1024);
    auto life = [](stShareStack_t *shared) {
        return [shared](uint64_t k) {
            stCoRoutineAttr_t attr;
            attr.share_stack = shared;
            for (; k; k--) {
                stCoRoutine_t *co;
                co_create(&co, &attr, nothing, nullptr);
                co_resume(co);
                co_release(co);
            }
        };
    };
    t.add("private stack", 100000, life(nullptr));
    t.add("shared stack", 100000, life(stacks));
    t.run(rounds);
}

} // namespace

int main(int argc, char **argv) {
    const bool checking = argc == 2 && strcmp(argv[1], "--check") == 0;
    const int rounds = argc == 2 && !checking ? atoi(argv[1]) : 21;
    if (argc > 2 || rounds < 1) {
        fprintf(stderr, "usage: %s [rounds | --check]\n", argv[0]);
        return 2;
    }
    bench::pin_to_cpu();
    bench::print_environment();
    switch_table(rounds);
    copy_table(rounds);
    life_table(rounds);
    return checking && missed ? 1 : 0;
}
