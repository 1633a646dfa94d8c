// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/loaded.h"

#include "co_hook/waist/patch.h"

#include "co_routine/base/check.h"

#include <climits>
#include <fcntl.h>
#include <sys/mman.h>

namespace corun::waist {
namespace {

// The file that is being mapped. One: the dynamic linker holds a lock, and maps one after another.
struct {
    int fd = -1;
    uintptr_t first = 0; // its first mapping, which has the ELF header if it is an object
    bool executable = false;
} mapping;
bool report, tolerant;

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
        mapping = {fd, static_cast<uintptr_t>(address), false};
    if (fd == mapping.fd && (a[2] & PROT_EXEC))
        mapping.executable = true;
}

void note_closing(int fd) {
    if (fd != mapping.fd)
        return;
    bool object = mapping.executable;
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
