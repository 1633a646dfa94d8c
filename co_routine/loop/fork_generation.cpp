// SPDX-License-Identifier: Apache-2.0
#include "co_routine/loop/fork_generation.h"

#include "co_routine/base/raw_sys.h"

#include <sys/mman.h>

namespace corun {
namespace {

constexpr int wipe_on_fork = 18; // MADV_WIPEONFORK

// On a page of its own that the kernel clears for a forked child. Linux before 4.14 does not know
// how: there the mark changes with the process id.
uint32_t *mark;
uint32_t never_wiped;
uint32_t generation; // counts the clearings seen

uint32_t expected_mark(const uint32_t *page) {
    return page == &never_wiped ? static_cast<uint32_t>(sys::getpid()) : 1;
}

// Two threads may come here at once: the first one's page stays.
uint32_t *make_mark() {
    sys::word r = sys::mmap_anonymous(page_size, PROT_READ | PROT_WRITE, 0);
    uint32_t *page = &never_wiped, *expected = nullptr;
    if (!sys::failed(r)) {
        page = reinterpret_cast<uint32_t *>(r);
        if (sys::failed(sys::madvise(page, page_size, wipe_on_fork))) {
            sys::munmap(page, page_size);
            page = &never_wiped;
        }
    }
    __atomic_store_n(page, expected_mark(page), __ATOMIC_RELAXED);
    if (__atomic_compare_exchange_n(&mark, &expected, page, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return page;
    if (page != &never_wiped && page != expected)
        sys::munmap(page, page_size);
    return expected;
}

} // namespace

uint32_t fork_generation() {
    uint32_t *page = __atomic_load_n(&mark, __ATOMIC_ACQUIRE);
    if (!page)
        page = make_mark();
    uint32_t expected = expected_mark(page);
    if (__atomic_load_n(page, __ATOMIC_RELAXED) != expected) { // a child is born with one thread
        __atomic_store_n(page, expected, __ATOMIC_RELAXED);
        __atomic_add_fetch(&generation, 1U, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&generation, __ATOMIC_RELAXED);
}

} // namespace corun
