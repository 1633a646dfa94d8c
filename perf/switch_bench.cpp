// SPDX-License-Identifier: Apache-2.0
/*
 * switch_bench.cpp - what one switch costs, beside a plain call and the others' switches.
 *
 *     switch_bench [rounds]        four tables: ping-pong, unequal control words, 1,000 contexts in
 *                                  order, 10,000 shuffled
 *     switch_bench --check         the same, and exit 1 when coctx_swap is slower than jump_fcontext
 *     switch_bench --callgrind N   N ping-pong switches and nothing else, for an instruction count
 *                                  by valgrind where perf_event_open has none (it says how)
 *
 * One operation is one one-way switch: from a running context into another one that goes on. Each
 * way of switching is driven by the same loop, written once as a template.
 */
#include "perf/bench.h"

#include "co_ctx/coctx.h"

#include <memory>
#include <random>

#include <sys/mman.h>
#include <ucontext.h>

#if defined(HAVE_BOOST_CONTEXT)
#include <boost/context/detail/fcontext.hpp>
#endif

namespace {

constexpr size_t stack_size_bytes = 16 * 1024;

// Stacks in one mapping, each starting at another cache line: equal distances of a power of two
// would put the tops of all stacks into the same few cache sets, and that would be measured.
class stack_area {
  public:
    explicit stack_area(size_t count) : size_(count * pitch) {
        void *p = mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            perror("switch_bench: mmap");
            exit(2);
        }
        base_ = static_cast<char *>(p);
    }
    ~stack_area() { munmap(base_, size_); }
    stack_area(const stack_area &) = delete;
    stack_area &operator=(const stack_area &) = delete;

    char *low(size_t i) const { return base_ + i * pitch + i % 61 * 64; }

  private:
    static constexpr size_t pitch = stack_size_bytes + 4096;
    size_t size_;
    char *base_;
};

/* ---- Four ways to switch, in one shape ----------------------------------------------------------
 * A way has: peer (one context), make(peer), go(peer) from the main loop into the peer, and a body
 * that switches back for ever. Where the main loop itself is kept is one place for all peers. */

struct way_call { // the floor: no switch at all
    static constexpr const char *name = "plain call";
    struct peer {
        void (*fn)();
    };
    [[gnu::noinline]] static void nothing() { bench::clobber_memory(); }
    static void make(peer &p, char *) { p.fn = nothing; }
    static void go(peer &p) { p.fn(), p.fn(); }
};

struct way_coctx { // as libco's users see it: 128 bytes a context
    static constexpr const char *name = "coctx_swap";
    struct alignas(64) peer {
        coctx_t self;
    };
    alignas(64) static inline coctx_t back;
    static void *body(void *arg, void *) {
        peer *p = static_cast<peer *>(arg);
        for (;;)
            coctx_swap(&p->self, &back);
    }
    static void make(peer &p, char *low) {
        coctx_init(&p.self);
        p.self.ss_sp = low;
        p.self.ss_size = stack_size_bytes;
        if (coctx_make(&p.self, body, &p, nullptr) != 0)
            abort();
    }
    static void go(peer &p) { coctx_swap(&back, &p.self); }
};

struct way_regs { // as corun's control block holds them: 72 bytes
    static constexpr const char *name = "coctx_swap_regs";
    struct alignas(64) peer {
        void *self[COCTX_LIVE_REGS];
    };
    alignas(64) static inline void *back[COCTX_LIVE_REGS];
    static void *body(void *arg, void *) {
        peer *p = static_cast<peer *>(arg);
        for (;;)
            coctx_swap_regs(p->self, back);
    }
    static void make(peer &p, char *low) {
        if (coctx_make_regs(p.self, low, stack_size_bytes, body, &p, nullptr) != 0)
            abort();
    }
    static void go(peer &p) { coctx_swap_regs(back, p.self); }
};

#if defined(HAVE_BOOST_CONTEXT)
struct way_boost {
    static constexpr const char *name = "jump_fcontext (Boost.Context)";
    struct peer {
        boost::context::detail::fcontext_t self;
    };
    static void body(boost::context::detail::transfer_t t) {
        for (;;)
            t = boost::context::detail::jump_fcontext(t.fctx, nullptr);
    }
    static void make(peer &p, char *low) {
        p.self =
            boost::context::detail::make_fcontext(low + stack_size_bytes, stack_size_bytes, body);
    }
    static void go(peer &p) {
        p.self = boost::context::detail::jump_fcontext(p.self, nullptr).fctx;
    }
};
#endif

struct way_ucontext { // two system calls a switch, for the signal mask
    static constexpr const char *name = "swapcontext (libc)";
    struct peer {
        ucontext_t self;
    };
    static inline ucontext_t back;
    static void body(unsigned low, unsigned high) {
        const uint64_t bits = static_cast<uint64_t>(high) << 32 | low;
        peer *p = reinterpret_cast<peer *>(static_cast<uintptr_t>(bits));
        for (;;)
            swapcontext(&p->self, &back);
    }
    static void make(peer &p, char *low) {
        getcontext(&p.self);
        p.self.uc_stack.ss_sp = low;
        p.self.uc_stack.ss_size = stack_size_bytes;
        p.self.uc_link = nullptr;
        const uint64_t bits = reinterpret_cast<uintptr_t>(&p);
        makecontext(&p.self, reinterpret_cast<void (*)()>(body), 2, static_cast<unsigned>(bits),
                    static_cast<unsigned>(bits >> 32));
    }
    static void go(peer &p) { swapcontext(&back, &p.self); }
};

/* ---- The loop and the tables -------------------------------------------------------------------- */

// n one-way switches: into a peer and back is two; walk wants a multiple of that for all peers. Two
// functions, so that each keeps its few values in registers: one that is spilled to the stack puts
// a second store-to-load chain, through the stack pointer, into every switch, and then that is what
// is measured.
template <class Way> [[gnu::noinline]] void ping_pong(typename Way::peer &p, uint64_t n) {
    for (uint64_t done = 0; done < n; done += 2)
        Way::go(p);
}

template <class Way>
[[gnu::noinline]] void walk(typename Way::peer *peers, const std::vector<uint32_t> &order,
                            uint64_t n) {
    for (uint64_t passes = n / (2 * order.size()); passes; passes--) {
        for (uint32_t i : order)
            Way::go(peers[i]);
    }
}

template <class Way> struct population {
    explicit population(size_t count)
        : stacks(count), peers(std::make_unique<typename Way::peer[]>(count)) {
        for (size_t i = 0; i < count; i++)
            Way::make(peers[i], stacks.low(i));
    }
    stack_area stacks;
    std::unique_ptr<typename Way::peer[]> peers;
};

// MXCSR as the main loop has it while a row runs; the peers are made with default_mxcsr.
constexpr unsigned default_mxcsr = 0x1f80;
constexpr unsigned inexact_flag = 0x20; // what nearly any float operation leaves behind

template <class Way>
void add_row(bench::table &t, const std::string &name, const std::vector<uint32_t> &order,
             uint64_t n, unsigned main_mxcsr = default_mxcsr) {
    _mm_setcsr(default_mxcsr);
    auto all = std::make_shared<population<Way>>(order.size());
    t.add(name, n, [all, &order, main_mxcsr](uint64_t k) {
        _mm_setcsr(main_mxcsr);
        if (order.size() == 1)
            ping_pong<Way>(all->peers[0], k);
        else
            walk<Way>(all->peers.get(), order, k);
        _mm_setcsr(default_mxcsr);
    });
}

// Returns coctx_swap's median in relation to jump_fcontext's, 0 where there is none.
double run_table(const char *title, const std::vector<uint32_t> &order, int rounds, uint64_t n) {
    bench::table t(title);
    add_row<way_call>(t, way_call::name, order, n);
    add_row<way_coctx>(t, way_coctx::name, order, n);
    add_row<way_regs>(t, way_regs::name, order, n);
#if defined(HAVE_BOOST_CONTEXT)
    add_row<way_boost>(t, way_boost::name, order, n);
    t.baseline();
#endif
    add_row<way_ucontext>(t, way_ucontext::name, order, n / 20);
    t.run(rounds);
#if defined(HAVE_BOOST_CONTEXT)
    return t.median(way_coctx::name) / t.median(way_boost::name);
#else
    return 0;
#endif
}

// The price of unequal control words. Above they were equal bit by bit, which is the best case of
// those that reload always.
void run_control_words_table(const std::vector<uint32_t> &one, int rounds, uint64_t n) {
    const unsigned round_up = default_mxcsr | 0x4000;
    bench::table t("ping-pong when MXCSR differs: ns per one-way switch");
    add_row<way_coctx>(t, "coctx_swap, equal", one, n);
    add_row<way_coctx>(t, "coctx_swap, inexact flag", one, n, default_mxcsr | inexact_flag);
    add_row<way_coctx>(t, "coctx_swap, rounding mode", one, n / 10, round_up);
#if defined(HAVE_BOOST_CONTEXT)
    add_row<way_boost>(t, "jump_fcontext, equal", one, n);
    add_row<way_boost>(t, "jump_fcontext, inexact flag", one, n / 10, default_mxcsr | inexact_flag);
    add_row<way_boost>(t, "jump_fcontext, rounding mode", one, n / 10, round_up);
#endif
    t.run(rounds);
}

int callgrind(uint64_t n) {
    population<way_coctx> all(1);
    ping_pong<way_coctx>(all.peers[0], n);
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--callgrind") == 0)
        return callgrind(strtoull(argv[2], nullptr, 10));
    const bool check = argc == 2 && strcmp(argv[1], "--check") == 0;
    const int rounds = argc == 2 && !check ? atoi(argv[1]) : 31;
    if (argc > 2 || rounds < 1) {
        fprintf(stderr, "usage: %s [rounds | --check | --callgrind N]\n", argv[0]);
        return 2;
    }

    const int cpu = bench::pin_to_cpu();
    bench::print_environment();
    printf("pinned    %s %d\n", cpu < 0 ? "no:" : "to cpu", cpu);

    std::vector<uint32_t> one{0}, ordered(1000), shuffled(10000);
    for (uint32_t i = 0; i < ordered.size(); i++)
        ordered[i] = i;
    for (uint32_t i = 0; i < shuffled.size(); i++)
        shuffled[i] = i;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(1));

    const double ratio = run_table("ping-pong: ns per one-way switch", one, rounds, 400000);
    run_control_words_table(one, rounds, 400000);
    run_table("1,000 contexts in order: ns per one-way switch", ordered, rounds, 400000);
    run_table("10,000 contexts, shuffled: ns per one-way switch", shuffled, rounds, 400000);

    if (!bench::instruction_counter().available()) {
        printf("\ninstructions per switch (two lines; the difference, divided by 1000000):\n");
        for (const char *n : {"1000000", "2000000"})
            printf("  valgrind --tool=callgrind --callgrind-out-file=/dev/null %s --callgrind %s\n",
                   argv[0], n);
    }
    if (check && ratio > 1.0) {
        printf("\nFAIL: coctx_swap takes %.2fx the time of jump_fcontext; the limit is 1.0\n",
               ratio);
        return 1;
    }
    return 0;
}
