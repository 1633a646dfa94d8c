// SPDX-License-Identifier: Apache-2.0
// libnative_waist.so: preloaded, it leads all system calls through the slots and makes them natively.
// NATIVE_WAIST_REPORT=FILE: a line with the counts is written there at the start, and with the calls
// at the end. NATIVE_WAIST_DEBUG=sites lists the sites.
#include "co_hook/waist/patch.h"
#include "co_routine/base/check.h"
#include "co_routine/base/raw_sys.h"

#include <cstring>
#include <ctime>
#include <fcntl.h>

extern "C" {
extern unsigned long waist_calls __attribute__((visibility("hidden")));

// For the programs of the tests.
__attribute__((visibility("default"))) unsigned long native_waist_calls() { return waist_calls; }
__attribute__((visibility("default"))) int native_waist_is_slot(const void *pc) {
    return corun::waist::is_slot(reinterpret_cast<unsigned long>(pc));
}
__attribute__((visibility("default"))) int native_waist_patch(const void *elf_header,
                                                              unsigned *out) {
    corun::waist::patch_summary summary = {};
    int r = corun::waist::patch_image_at(elf_header, "a late one", &summary, false);
    *out = summary.patched;
    return r;
}
}

namespace {

// libc's own constructor sets environ, after this one: -z initfirst.
const char *report;
const char *value_of(char **environment, const char *name) {
    size_t n = strlen(name);
    for (; *environment; ++environment)
        if (!strncmp(*environment, name, n) && (*environment)[n] == '=')
            return *environment + n + 1;
    return nullptr;
}

void say(const char *line, unsigned n) {
    if (!report)
        return;
    corun::sys::word fd = corun::sys::call(SYS_openat, AT_FDCWD, report,
                                           O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    corun::sys::write(static_cast<int>(fd), line, n);
    corun::sys::close(static_cast<int>(fd));
}

// The time of the processor: other programs' is not ours to report.
int64_t used_us() {
    corun::sys::kernel_timespec t = {};
    corun::sys::call(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

__attribute__((constructor)) void start(int, char **, char **environment) {
    report = value_of(environment, "NATIVE_WAIST_REPORT");
    corun::waist::patch_summary s;
    const char *step = nullptr;
    const char *debug = value_of(environment, "NATIVE_WAIST_DEBUG");
    int64_t begun = used_us();
    int r = corun::waist::patch_loaded_objects(&s, &step, debug != nullptr);
    CO_CHECK(!r, "%s: %d", step, r);
    char line[200];
    say(line, corun::format_line(
                  line, sizeof line,
                  "start objects=%u sites=%u patched=%u native=%u unseen=%u us=%ld\n", s.objects,
                  s.sites, s.patched, s.native, s.unseen, static_cast<long>(used_us() - begun)));
}

__attribute__((destructor)) void end() {
    char line[80];
    say(line, corun::format_line(line, sizeof line, "end calls=%lu\n", waist_calls));
}

} // namespace
