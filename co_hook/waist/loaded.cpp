// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/loaded.h"

#include "co_hook/calls/fd_state.h"
#include "co_hook/waist/patch.h"

#include "co_routine/base/check.h"

#include <cerrno>
#include <climits>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>

namespace corun::waist {
namespace {

// Of the descriptors, the code that was mapped last. Several: a thread that was preempted, or a signal
// handler, may map another file before the dynamic linker closes its own. Who maps code by hand and
// keeps the descriptor stays here until its place is the oldest.
struct mapped_code {
    uint64_t order;
    int fd;
    uintptr_t start;
    word offset; // in the file
};
mapped_code mapped[64];
uint64_t in_use; // bit i: mapped[i]. Every close looks here
uint64_t mapped_so_far;

struct object {
    uintptr_t first; // what its first segment begins with: the ELF header
    size_t bytes;
};

bool report, tolerant;

// The kernel reads 8 bytes there before it finds that there is no such operation. (copy_from_user would
// fault where a filter forbids process_vm_readv and the process has one thread.)
bool can_be_read(uintptr_t at) {
    constexpr long no_operation = -1;
    return sys::call(SYS_rt_sigprocmask, no_operation, at, nullptr, sys::sigset_bytes) != -EFAULT;
}

// A piece of what was mapped, by its distance from the start.
bool is_there(const object &o, uintptr_t from, size_t bytes) {
    constexpr size_t least = sys::sigset_bytes;
    if (bytes < least || from > o.bytes || bytes > o.bytes - from)
        return false;
    uintptr_t start = o.first + from, low = start & ~(page_size - 1);
    return can_be_read(start) && can_be_read(start + bytes - least) &&
           !sys::failed(sys::call(SYS_msync, low, start + bytes - low, MS_ASYNC)); // no hole
}

template <class T> bool read_at(int fd, uint64_t offset, T *out) {
    return sys::call(SYS_pread64, fd, out, sizeof *out, offset) == word{sizeof *out};
}

// By the file's own headers: which of its segments the code is, and so where the first one must be.
bool object_of(const mapped_code &code, object *out) {
    Elf64_Ehdr elf;
    if (!read_at(code.fd, 0, &elf) || __builtin_memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    uintptr_t low = UINTPTR_MAX, high = 0, bias = 0;
    bool found = false;
    for (unsigned i = 0; i < elf.e_phnum; ++i) {
        Elf64_Phdr h;
        if (!read_at(code.fd, elf.e_phoff + i * sizeof h, &h))
            return false;
        if (h.p_type != PT_LOAD)
            continue;
        if (h.p_vaddr < low)
            low = h.p_vaddr;
        if (h.p_vaddr + h.p_memsz > high)
            high = h.p_vaddr + h.p_memsz;
        if (!(h.p_flags & PF_X) ||
            (h.p_offset & ~(page_size - 1)) != static_cast<size_t>(code.offset))
            continue;
        bias = code.start - (h.p_vaddr & ~(page_size - 1));
        found = true;
    }
    low &= ~(page_size - 1);
    *out = {bias + low, high - low};
    return found;
}

// An object's headers, and each segment. Programs map files for themselves, too: a part of one, or beyond
// its end, and unmap it before they close it.
bool is_whole(const object &o) {
    if (!is_there(o, 0, sizeof(Elf64_Ehdr)))
        return false;
    const auto &elf = *reinterpret_cast<const Elf64_Ehdr *>(o.first);
    const auto *headers = reinterpret_cast<const Elf64_Phdr *>(o.first + elf.e_phoff);
    size_t count = elf.e_phnum;
    if (__builtin_memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
        !is_there(o, elf.e_phoff, count * sizeof *headers))
        return false;
    uintptr_t first = UINTPTR_MAX;
    for (size_t i = 0; i < count; ++i)
        if (headers[i].p_type == PT_LOAD && headers[i].p_vaddr < first)
            first = headers[i].p_vaddr;
    first &= ~(page_size - 1);
    for (size_t i = 0; i < count; ++i) {
        const Elf64_Phdr &h = headers[i];
        if (h.p_type == PT_LOAD && h.p_filesz >= sys::sigset_bytes &&
            !is_there(o, h.p_vaddr - first, h.p_filesz))
            return false;
    }
    return true;
}

constexpr unsigned nowhere = 64;
unsigned place_of(int fd) {
    for (uint64_t left = in_use; left != 0; left &= left - 1) {
        auto i = static_cast<unsigned>(__builtin_ctzll(left));
        if (mapped[i].fd == fd)
            return i;
    }
    return nowhere;
}

unsigned free_place() {
    if (~in_use != 0)
        return static_cast<unsigned>(__builtin_ctzll(~in_use));
    unsigned oldest = 0;
    for (unsigned i = 1; i < 64; ++i)
        if (mapped[i].order < mapped[oldest].order)
            oldest = i;
    return oldest;
}

} // namespace

void watch_loading(bool with_report, bool with_tolerance) {
    report = with_report;
    tolerant = with_tolerance;
}

void note_mapping(const word (&a)[6], word address) {
    auto fd = static_cast<int>(a[4]);
    if (fd < 0 || !(a[2] & PROT_EXEC) || (a[3] & MAP_ANONYMOUS) || sys::failed(address))
        return;
    unsigned i = place_of(fd);
    if (i == nowhere)
        i = free_place();
    mapped[i] = {++mapped_so_far, fd, static_cast<uintptr_t>(address), a[5]};
    in_use |= uint64_t{1} << i;
}

void note_closing(int fd) {
    unsigned i = place_of(fd);
    if (i == nowhere)
        return;
    in_use &= ~(uint64_t{1} << i);
    object o;
    if (!object_of(mapped[i], &o) || !is_whole(o))
        return;
    static char name[PATH_MAX]; // nobody else gets a turn before the end
    calls::name_of_descriptor(fd, name, sizeof name);
    patch_summary summary{};
    patch_image_at(reinterpret_cast<const void *>(o.first), name, &summary, report);
    patched_so_far.add(summary);
    if (summary.unseen == 0)
        return;
    constexpr char what[] = "%s: %u system calls in it cannot be covered, and would stop every "
                            "thread while they wait; --debug=sites lists them";
    if (!tolerant)
        fatal(what, name, summary.unseen);
    char line[PATH_MAX + 200];
    unsigned n = format_line(line, sizeof line, "corun: ");
    n += format_line(line + n, sizeof line - n - 1, what, name, summary.unseen);
    line[n++] = '\n';
    sys::write(2, line, n);
}

} // namespace corun::waist
