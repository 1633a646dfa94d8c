// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/coverage.h"

#include "co_hook/launcher/text.h"
#include "co_hook/waist/decoder.h"
#include "co_hook/waist/sites.h"

#include <cstring>
#include <sys/syscall.h>

namespace corun::launcher {

namespace {

// "read+0x1d: system call 0, because ..."
const char *described(const waist::image &img, const waist::site &at) {
    uintptr_t distance = 0;
    const char *symbol = waist::symbol_name(img, at.address, &distance);
    char *where = symbol == nullptr
                      ? text("0x%lx", static_cast<unsigned long>(at.address - img.bias))
                      : text("%s+0x%lx", symbol, static_cast<unsigned long>(distance));
    char *which = at.number == waist::site::unknown ? text("which one is not known")
                                                    : text("number %d", at.number);
    return text("%s, %s: %s", where, which, at.reason);
}

struct gaps {
    size_t count;
    const char *first;
    bool rings; // io_uring by its own system calls
};

object_coverage look_at_object(const char *name, const char *path, gaps *native) {
    object_coverage found = {name, 0, 0, 0};
    waist::image img;
    *native = {};
    int error = waist::image_from_file(&img, path);
    if (error != 0) {
        found.problem = -error;
        return found;
    }
    raw_vector<waist::site> sites;
    found.problem = -waist::find_sites(img, &sites);
    for (size_t i = 0; i < sites.size(); i++) {
        const waist::site &at = sites[i];
        found.sites++;
        native->rings = native->rings || at.number == SYS_io_uring_enter;
        if (at.reason == nullptr)
            found.covered++;
        else if (waist::must_be_seen(at.number) && native->count++ == 0)
            native->first = described(img, at);
    }
    waist::image_unmap(&img);
    return found;
}

} // namespace

size_t find_coverage(const subject &s, object_coverage *all, size_t most, findings *out) {
    size_t count = 0;
    if (waist::open_decoder() != 0)
        fail(exit_cannot, "out of memory");
    auto look = [&](const char *name, const char *path) {
        gaps native;
        object_coverage found = look_at_object(name, path, &native);
        if (found.problem != 0)
            out->add(weight::note, text("%s: %s", path, strerror(found.problem)),
                     "its system calls are not known");
        if (native.count > 0)
            out->add(weight::cannot,
                     text("%zu system call%s of %s cannot be covered (%s)", native.count,
                          native.count == 1 ? "" : "s", name, native.first),
                     "--debug=sites lists them as the program starts; --or-native runs it without "
                     "corun");
        if (native.rings && !begins(name, "liburing."))
            out->add(weight::note, text("%s makes io_uring's system calls itself", name),
                     "its waits are covered as libc's are");
        if (count < most && found.sites > 0)
            all[count++] = found;
    };
    look(base_name(s.what.file), s.what.file);
    for (size_t i = 0; i < s.libraries.count; i++)
        if (s.libraries.items[i].path != nullptr)
            look(s.libraries.items[i].name, s.libraries.items[i].path);
    return count;
}

} // namespace corun::launcher
