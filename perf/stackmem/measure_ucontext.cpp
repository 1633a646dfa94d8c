// SPDX-License-Identifier: Apache-2.0
/*
 * makecontext and swapcontext as a program uses them by itself: each stack a mapping of its own, its
 * lowest page protected, and a ucontext_t by malloc.
 */
#include "perf/stackmem/measure.h"

#include "perf/stackmem/drive.h"
#include "perf/stackmem/live_bytes.h"

#include <sys/mman.h>
#include <ucontext.h>

namespace stackmem {
namespace {

constexpr size_t guard = 4096;

struct context {
    ucontext_t state;
    char *mapping;
};

context **all;
ucontext_t main_state;
long running;
bool may_end;
long damage;

void suspended() {
    damage += with_live_bytes(static_cast<uintptr_t>(running), [](uintptr_t n) {
        do
            swapcontext(&all[n]->state, &main_state);
        while (!may_end);
    });
}

class contexts {
  public:
    contexts(const plan &p, long count) : bytes_(static_cast<size_t>(p.stack_bytes) + guard) {
        all = prepared_array<context *>(count);
    }
    int make(long i) {
        auto *one = static_cast<context *>(all == nullptr ? nullptr : malloc(sizeof(context)));
        if (one == nullptr)
            return ENOMEM;
        void *low = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (low == MAP_FAILED || mprotect(low, guard, PROT_NONE) != 0) {
            int error = errno;
            if (low != MAP_FAILED)
                munmap(low, bytes_);
            free(one);
            return error;
        }
        one->mapping = static_cast<char *>(low);
        getcontext(&one->state);
        one->state.uc_stack.ss_sp = one->mapping + guard;
        one->state.uc_stack.ss_size = bytes_ - guard;
        one->state.uc_link = &main_state;
        makecontext(&one->state, suspended, 0);
        all[i] = one;
        activate(i);
        return 0;
    }
    void made_until(long) {}
    void activate(long i) {
        running = i;
        swapcontext(&main_state, &all[i]->state);
    }
    void end(long from, long to) {
        may_end = true;
        for (long i = from; i < to; i++) {
            activate(i);
            munmap(all[i]->mapping, bytes_);
            free(all[i]);
        }
    }
    long damaged() const { return damage; }
    void read(measurement *m) { m->control_block = static_cast<int64_t>(sizeof(context)); }

  private:
    size_t bytes_;
};

} // namespace

void measure_ucontext(const plan &p, const ceiling &c, measurement *m) {
    contexts s(p, c.count);
    drive(s, p, c, m);
}

} // namespace stackmem
