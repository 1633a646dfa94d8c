// SPDX-License-Identifier: Apache-2.0
#include "co_hook/launcher/environment.h"

#include "co_hook/launcher/text.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace corun::launcher {

namespace {

constexpr char waist_name[] = "libcorun_waist.so";
constexpr char separators[] = ": "; // LD_PRELOAD knows both

void set(const char *name, const char *value) {
    if (setenv(name, value, 1) != 0)
        fail(exit_cannot, "%s: %s", name, strerror(errno));
}

} // namespace

const char *find_waist(const char **looked) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        fail(exit_cannot, "/proc/self/exe: %s; is /proc mounted?",
             strerror(n < 0 ? errno : ENOENT));
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    const char *places[] = {text("%s/%s", self, waist_name),
                            text("%s/../lib/corun/%s", self, waist_name),
                            text("%s/corun/%s", CORUN_LIBDIR, waist_name)};
    for (const char *place : places) {
        char real[PATH_MAX];
        if (realpath(place, real) != nullptr && access(real, R_OK) == 0)
            return text("%s", real);
    }
    *looked = text("%s, %s", places[0], places[2]);
    return nullptr;
}

bool is_rival(const char *name) { return begins(base_name(name), "libcorun.so"); }

const char *rival_in_preload() {
    const char *list = getenv("LD_PRELOAD");
    while (char *name = next_part(&list, separators))
        if (is_rival(name))
            return name;
    return nullptr;
}

const char *hand_over(const options &o, const char *waist) {
    // ld.so cuts the list at these and replaces $LIB and its like; there is no way to quote them.
    if (strpbrk(waist, ": $") != nullptr)
        return text("the path %s holds a blank, a colon or a dollar sign, which LD_PRELOAD cannot; "
                    "install corun elsewhere",
                    waist);
    char *preload = text("%s", waist);
    const char *list = getenv("LD_PRELOAD");
    while (char *name = next_part(&list, separators))
        if (*name != '\0' && !same(name, waist))
            preload = text("%s:%s", preload, name);
    set("LD_PRELOAD", preload);
    set("CORUN_OPTIONS", for_library(o));
    if (o.debug != nullptr)
        set("CORUN_DEBUG", o.debug);
    return nullptr;
}

} // namespace corun::launcher
