// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/loaded.h"

#include "co_hook/waist/patch.h"

#include "co_routine/base/check.h"

#include <cerrno>
#include <climits>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>

namespace corun::waist {
namespace {

// The file that is being mapped. One: the dynamic linker holds a lock, and maps one after another.
struct {
    int fd = -1;
    uintptr_t first =
        0; // its first mapping, which has the ELF header and spans all if it is an object
    size_t bytes = 0;
    bool executable = false;
} mapping;
bool report, tolerant;

// The kernel reads 8 bytes there before it finds that there is no such operation.
bool can_be_read(uintptr_t at) {
    constexpr long no_operation = -1;
    return sys::call(SYS_rt_sigprocmask, no_operation, at, nullptr, sys::sigset_bytes) != -EFAULT;
}

// A piece of what was mapped, by its distance from the start.
bool is_there(uintptr_t from, size_t bytes) {
    constexpr size_t least = sys::sigset_bytes;
    if (bytes < least || from > mapping.bytes || bytes > mapping.bytes - from)
        return false;
    uintptr_t start = mapping.first + from, low = start & ~(page_size - 1);
    return can_be_read(start) && can_be_read(start + bytes - least) &&
           !sys::failed(sys::call(SYS_msync, low, start + bytes - low, MS_ASYNC)); // no hole
}

// An object's headers, and each segment. Programs map files for themselves, too: a part of one, or beyond
// its end, and unmap it before they close it.
bool is_whole_object() {
    if (!is_there(0, sizeof(Elf64_Ehdr)))
        return false;
    const auto &elf = *reinterpret_cast<const Elf64_Ehdr *>(mapping.first);
    const auto *headers = reinterpret_cast<const Elf64_Phdr *>(mapping.first + elf.e_phoff);
    size_t count = elf.e_phnum;
    if (__builtin_memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
        !is_there(elf.e_phoff, count * sizeof *headers))
        return false;
    uintptr_t first = UINTPTR_MAX;
    for (size_t i = 0; i < count; ++i)
        if (headers[i].p_type == PT_LOAD && headers[i].p_vaddr < first)
            first = headers[i].p_vaddr;
    first &= ~(page_size - 1);
    for (size_t i = 0; i < count; ++i) {
        const Elf64_Phdr &h = headers[i];
        if (h.p_type == PT_LOAD && h.p_filesz >= sys::sigset_bytes &&
            !is_there(h.p_vaddr - first, h.p_filesz))
            return false;
    }
    return true;
}

void name_of(int fd, char (&name)[PATH_MAX]) {
    char link[32];
    format_line(link, sizeof link, "/proc/self/fd/%d", fd);
    word n = sys::call(SYS_readlink, link, name, sizeof name - 1);
    name[n > 0 ? n : 0] = '\0';
}

} // namespace

void watch_loading(bool with_report, bool with_tolerance) {
    report = with_report;
    tolerant = with_tolerance;
}

void note_mapping(const word (&a)[6], word address) {
    auto fd = static_cast<int>(a[4]);
    if (fd < 0 || (a[3] & MAP_ANONYMOUS) || sys::failed(address))
        return;
    if (!(a[3] & MAP_FIXED))
        mapping = {fd, static_cast<uintptr_t>(address), static_cast<size_t>(a[1]), false};
    if (fd == mapping.fd && (a[2] & PROT_EXEC))
        mapping.executable = true;
}

void note_closing(int fd) {
    if (fd != mapping.fd)
        return;
    bool object = mapping.executable && is_whole_object();
    auto *header = reinterpret_cast<const void *>(mapping.first);
    mapping = {};
    if (!object)
        return;
    static char name[PATH_MAX]; // under the dynamic linker's lock
    name_of(fd, name);
    patch_summary summary{};
    patch_image_at(header, name, &summary, report);
    patched_so_far.add(summary);
    if (summary.unseen == 0)
        return;
    constexpr char what[] =
        "%s: %u system calls in it cannot be led to corun, and would stop every "
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
