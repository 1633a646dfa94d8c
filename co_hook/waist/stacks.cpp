// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/stacks.h"

#include "co_routine/base/raw_vector.h"
#include "co_routine/base/spinlock.h"
#include "co_routine/stack/private_stack.h"

#include <cerrno>
#include <climits>
#include <cstring>
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>

namespace corun::waist {
namespace {

constexpr int guard_install = 102, guard_remove = 103; // MADV_GUARD_...

// Beyond these sizes a mapping is left to the kernel: a slab of them would be too much of the address
// space at once.
constexpr size_t largest_stack = size_t{64} << 20, largest_slab = size_t{512} << 20;
constexpr unsigned first_stacks = 16, most_stacks = 1024;

// The top of a stack stays with it, wiped, when it is used again soon; the rest goes back at once.
constexpr size_t kept_bytes = 8192;
constexpr size_t most_kept = 256;

// Below each stack, and nobody's: a frame that is larger than libc's guard (a page, mostly) faults there instead of
// meeting the stack of another thread. Pages of MADV_GUARD_INSTALL cost no mapping; where there are none, mprotect
// would cost two for each stack, and there is no such gap.
constexpr size_t widest_gap = size_t{64} << 10;
size_t gap_bytes() { return kernel_guard_kind() == guard_kind::guard_install ? widest_gap : 0; }

struct stack {
    uint32_t guard_pages;
    bool in_use : 1;
    bool opened : 1;  // by libc: what is below is the guard
    bool kept : 1;    // its top was used and is still there
    bool altered : 1; // the program has changed its protection, or more
    bool lost : 1;    // the program has unmapped or moved a part of it
};

struct slab {
    char *low;
    size_t stack_bytes, gap;
    unsigned count, handed_out; // those behind were never used
    stack *stacks;

    size_t stride() const { return gap + stack_bytes; }
    char *at(size_t i) const { return low + i * stride() + gap; }
};

struct free_stack {
    unsigned slab, index;
};

// Stacks of one size.
struct size_class {
    size_t bytes;
    static_vector<free_stack> free; // last in, first out; entries below clean have no pages
    size_t clean = 0;
    int newest = -1; // slab
};

constexpr unsigned most_classes = 16;

size_class classes[most_classes];
unsigned class_count;
static_vector<slab> slabs;
unsigned lock;

size_class *class_for(size_t bytes, bool make) {
    for (unsigned i = 0; i < class_count; ++i)
        if (classes[i].bytes == bytes)
            return &classes[i];
    if (!make || class_count == most_classes)
        return nullptr;
    classes[class_count].bytes = bytes;
    return &classes[class_count++];
}

int slab_of(uintptr_t address) {
    static unsigned last; // most calls come in pairs
    unsigned n = static_cast<unsigned>(slabs.size());
    for (unsigned i = 0; i < n; ++i) {
        unsigned k = last + i < n ? last + i : last + i - n;
        const slab &s = slabs[k];
        if (address - reinterpret_cast<uintptr_t>(s.low) < s.count * s.stride()) {
            last = k;
            return static_cast<int>(k);
        }
    }
    return -1;
}

// Which stack an address lies in, and how far above its lowest. slab: -1, none.
struct place {
    int slab;
    unsigned index;
    uintptr_t offset;
};
place place_of(uintptr_t address) {
    int which = slab_of(address);
    if (which < 0)
        return {which, 0, 0};
    const slab &s = slabs[static_cast<size_t>(which)];
    uintptr_t above = address - reinterpret_cast<uintptr_t>(s.low), in_stride = above % s.stride();
    if (in_stride < s.gap)
        return {-1, 0, 0};
    return {which, static_cast<unsigned>(above / s.stride()), in_stride - s.gap};
}

bool grow(size_class *c) {
    unsigned count = c->newest < 0 ? first_stacks : slabs[static_cast<size_t>(c->newest)].count * 4;
    if (count > most_stacks)
        count = most_stacks;
    size_t gap = gap_bytes(), stride = gap + c->bytes;
    while (count > 1 && count * stride > largest_slab)
        count /= 2;
    size_t in_class = count; // room to give every one of them back
    for (size_t i = 0; i < slabs.size(); ++i)
        in_class += slabs[i].stack_bytes == c->bytes ? slabs[i].count : 0;
    if (!slabs.reserve(slabs.size() + 1) || !c->free.reserve(in_class))
        return false;
    word notes = sys::mmap_anonymous(count * sizeof(stack), PROT_READ | PROT_WRITE, 0);
    if (sys::failed(notes))
        return false;
    word low =
        sys::mmap_anonymous(count * stride, PROT_READ | PROT_WRITE, MAP_NORESERVE | MAP_STACK);
    if (sys::failed(low)) {
        sys::munmap(reinterpret_cast<void *>(notes), count * sizeof(stack));
        return false;
    }
    auto *start = reinterpret_cast<char *>(low);
    sys::madvise(start, count * stride, MADV_NOHUGEPAGE); // else every stack is resident at once
    c->newest = static_cast<int>(slabs.size());
    slabs.push_back({start, c->bytes, gap, count, 0, reinterpret_cast<stack *>(notes)});
    return true;
}

void wipe(char *low, size_t bytes) {
    void *top = low + bytes - kept_bytes;
    memset(top, 0, kept_bytes);
}

char *acquire(size_t bytes, bool opened) {
    size_class *c = class_for(bytes, true);
    if (!c)
        return nullptr;
    free_stack f;
    if (!c->free.empty()) {
        f = c->free.back();
        c->free.pop_back();
        if (c->clean > c->free.size())
            c->clean = c->free.size();
    } else {
        bool full = c->newest < 0 || slabs[static_cast<size_t>(c->newest)].handed_out ==
                                         slabs[static_cast<size_t>(c->newest)].count;
        if (full && !grow(c))
            return nullptr;
        auto newest = static_cast<unsigned>(c->newest);
        f = {newest, slabs[newest].handed_out++};
        if (const slab &s = slabs[newest]; s.gap != 0)
            sys::madvise(s.at(f.index) - s.gap, s.gap, guard_install);
    }
    slab &s = slabs[f.slab];
    stack &k = s.stacks[f.index];
    if (k.kept)
        wipe(s.at(f.index), bytes);
    k.kept = false;
    k.in_use = true;
    k.opened = opened;
    return s.at(f.index);
}

// The oldest of those that keep their tops give them back.
void trim(size_class *c) {
    for (size_t until = c->clean + most_kept / 2; c->clean < until; ++c->clean) {
        free_stack f = c->free[c->clean];
        slab &s = slabs[f.slab];
        char *top = s.at(f.index) + c->bytes - kept_bytes;
        if (!sys::failed(
                sys::madvise(top, kept_bytes, MADV_DONTNEED))) // else it is locked in memory
            s.stacks[f.index].kept = false;
    }
}

void release(unsigned which, unsigned index) {
    slab &s = slabs[which];
    stack &k = s.stacks[index];
    char *low = s.at(index);
    size_class *c = class_for(s.stack_bytes, false);
    size_t guard = k.guard_pages * page_size;
    bool keeps = s.stack_bytes > guard + kept_bytes;
    size_t given_back = s.stack_bytes - guard - (keeps ? kept_bytes : 0);
    if (!k.altered && !sys::failed(sys::madvise(low + guard, given_back, MADV_DONTNEED))) {
        k.kept = keeps;
    } else { // or it is locked in memory, which keeps what stood there
        sys::munmap(low, s.stack_bytes);
        word again = sys::call(
            SYS_mmap, low, s.stack_bytes, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK | MAP_FIXED_NOREPLACE, -1, 0);
        k.altered = false;
        k.guard_pages = 0;
        if (again != sys::as_word(low)) {
            k.lost = true;
            return;
        }
        sys::madvise(low, s.stack_bytes, MADV_NOHUGEPAGE);
    }
    k.in_use = false;
    if (c->free.size() - c->clean >= most_kept)
        trim(c);
    c->free.push_back({which, index});
}

bool set_guard(const slab &s, unsigned index, size_t bytes) {
    stack &k = s.stacks[index];
    size_t now = k.guard_pages * page_size;
    char *low = s.at(index);
    if (now == bytes)
        return true;
    word r = bytes > now ? sys::madvise(low, bytes, guard_install)
                         : sys::madvise(low + bytes, now - bytes, guard_remove);
    if (sys::failed(r)) // before Linux 6.13
        return false;
    k.guard_pages = static_cast<uint32_t>(bytes / page_size);
    return true;
}

word map(const word (&a)[6], bool *ours) {
    auto bytes = static_cast<size_t>(a[1]);
    constexpr word wanted = MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK;
    constexpr word known = wanted | MAP_NORESERVE;
    bool open = a[2] == PROT_NONE || a[2] == (PROT_READ | PROT_WRITE);
    *ours = a[0] == 0 && open && (a[3] & wanted) == wanted && (a[3] & ~known) == 0 &&
            bytes % page_size == 0 && bytes > kept_bytes && bytes <= largest_stack;
    if (!*ours)
        return 0;
    spin_guard guard(&lock);
    char *low = acquire(bytes, a[2] != PROT_NONE);
    *ours = low != nullptr;
    return sys::as_word(low);
}

word unmap(uintptr_t at, size_t bytes, bool *ours) {
    spin_guard guard(&lock);
    place p = place_of(at);
    *ours = p.slab >= 0;
    if (p.slab < 0)
        return 0;
    slab &s = slabs[static_cast<size_t>(p.slab)];
    stack &k = s.stacks[p.index];
    if (p.offset == 0 && bytes == s.stack_bytes && k.in_use && !k.lost) {
        release(static_cast<unsigned>(p.slab), p.index);
        return 0;
    }
    *ours = false; // by the kernel, and not to be used again
    uintptr_t end = at + bytes;
    for (unsigned i = p.index; i < s.count && end > reinterpret_cast<uintptr_t>(s.at(i)); ++i)
        if (s.stacks[i].in_use)
            s.stacks[i].lost = true;
    return 0;
}

word protect(uintptr_t at, size_t bytes, int protection, bool *ours) {
    spin_guard guard(&lock);
    *ours = false;
    auto [which, index, from] = place_of(at);
    if (which < 0)
        return 0;
    slab &s = slabs[static_cast<size_t>(which)];
    stack &k = s.stacks[index];
    size_t to = from + bytes;
    size_t guard_now = k.guard_pages * page_size;
    if (!k.in_use || k.lost || k.altered)
        return 0;
    bool opens = protection == (PROT_READ | PROT_WRITE), shuts = protection == PROT_NONE;
    if (to <= s.stack_bytes && (from | bytes) % page_size == 0) {
        if (opens && !k.opened && to == s.stack_bytes)
            *ours = set_guard(s, index, from);
        else if (opens && k.opened)
            *ours = from >= guard_now || (to >= guard_now && set_guard(s, index, from));
        else if (shuts && from == 0)
            *ours = to <= guard_now || set_guard(s, index, to);
        k.opened |= opens;
    }
    if (*ours)
        return 0;
    k.altered = true;
    if (opens && to == s.stack_bytes && from != 0) { // no such guards here: libc's own
        sys::mprotect(s.at(index), from, PROT_NONE);
        *ours = true;
    }
    return 0;
}

// What else programs do to what may be a stack. lost: it stands somewhere else then; otherwise the kernel
// is asked for a new one when this is given back.
void note_change(uintptr_t at, size_t bytes, bool lost) {
    spin_guard guard(&lock);
    for (size_t k = 0; k < slabs.size(); ++k) {
        const slab &s = slabs[k];
        auto low = reinterpret_cast<uintptr_t>(s.low);
        if (at >= low + s.handed_out * s.stride() || low >= at + bytes)
            continue;
        size_t i = at > low ? (at - low) / s.stride() : 0;
        for (; i < s.handed_out && reinterpret_cast<uintptr_t>(s.at(i)) < at + bytes; ++i) {
            stack &of = s.stacks[i];
            of.altered = of.altered || of.in_use;
            of.lost = of.lost || (of.in_use && lost);
        }
    }
}

} // namespace

bool stack_call(long nr, const word (&a)[6], word *result) {
    bool ours = false;
    auto at = static_cast<uintptr_t>(a[0]);
    if (nr == SYS_mmap)
        *result = map(a, &ours);
    else if (nr == SYS_munmap)
        *result = unmap(at, static_cast<size_t>(a[1]), &ours);
    else if (nr == SYS_mprotect)
        *result = protect(at, static_cast<size_t>(a[1]), static_cast<int>(a[2]), &ours);
    if (nr == SYS_mremap && (a[3] & MREMAP_FIXED))
        note_change(static_cast<uintptr_t>(a[4]), static_cast<size_t>(a[2]), false);
    bool advice_stays =
        nr == SYS_madvise && a[2] > MADV_FREE; // what was asked before goes with the pages
    bool maps_over = nr == SYS_mmap && (a[3] & MAP_FIXED);
    if (advice_stays || maps_over || nr == SYS_pkey_mprotect || nr == SYS_mremap)
        note_change(at, static_cast<size_t>(a[1]), nr == SYS_mremap);
    return ours;
}

bool is_in_stack(const void *address) {
    spin_guard guard(&lock);
    auto at = reinterpret_cast<uintptr_t>(address);
    place p = place_of(at);
    if (p.slab < 0)
        return false;
    const stack &k = slabs[static_cast<size_t>(p.slab)].stacks[p.index];
    return k.in_use && !k.lost && !k.altered;
}

// A thread that makes a call at the bottom of its stack: what stands there besides libc's own.
constexpr size_t needed_bytes = 16 * 1024;

int set_default_stack(size_t bytes) {
    using get_attributes = int (*)(pthread_attr_t *);
    using set_attributes = int (*)(const pthread_attr_t *);
    auto get = reinterpret_cast<get_attributes>(dlsym(RTLD_DEFAULT, "pthread_getattr_default_np"));
    auto set = reinterpret_cast<set_attributes>(dlsym(RTLD_DEFAULT, "pthread_setattr_default_np"));
    pthread_attr_t attributes;
    if (!get || !set)
        return ENOSYS;
    if (int e = get(&attributes))
        return e;
    size_t least = static_cast<size_t>(PTHREAD_STACK_MIN) + needed_bytes;
    bytes = ((bytes < least ? least : bytes) + page_size - 1) & ~(page_size - 1);
    int e = pthread_attr_setstacksize(&attributes, bytes);
    if (e == 0)
        e = set(&attributes);
    pthread_attr_destroy(&attributes);
    return e;
}

void stacks_after_fork_in_child() { lock = 0; }

} // namespace corun::waist
