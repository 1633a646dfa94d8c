// SPDX-License-Identifier: Apache-2.0
// Credentials, capabilities, namespaces: libc's own calls, once the helper threads have ended.
#include "co_hook/calls/credentials.h"
#include "co_hook/symbols/hook.h"

#include <cstdarg>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_DESCRIPTORS;

// A process has a directory for each of its threads.
bool is_single_threaded() {
    struct statx about;
    constexpr unsigned links_of_a_directory = 2;
    word r = sys::call(SYS_statx, AT_FDCWD, "/proc/self/task", 0, STATX_NLINK, &about);
    return r == 0 && about.stx_nlink == links_of_a_directory + 1;
}

// libc's set*id tells every thread; without it (in a -static program it cannot be found beside ours)
// the kernel would change the calling one alone.
template <class... Args> word alone(long nr, Args... args) {
    if (is_single_threaded())
        return sys::call(nr, args...);
    warn("credentials cannot be changed for all threads of a -static program with threads");
    return -ENOTSUP;
}

word no_initgroups(const char *, gid_t) { return -ENOTSUP; } // it reads the group database

#if defined(__i386__)
#define CORUN_NR(name) SYS_##name##32
#else
#define CORUN_NR(name) SYS_##name
#endif

} // namespace

#define CORUN_CREDENTIALS(name, parameters, arguments, of_thread, raw)                             \
    CORUN_NATIVE(int, name, parameters, plain_result<int>(raw));                                   \
    int hook_##name parameters {                                                                   \
        if (int error_ = calls::before_credentials_change(of_thread))                              \
            return plain_result<int>(error_);                                                      \
        return native_##name arguments;                                                            \
    }

constexpr bool all = false, thread = true;

CORUN_CREDENTIALS(setuid, (uid_t u), (u), all, alone(CORUN_NR(setuid), u))
CORUN_CREDENTIALS(seteuid, (uid_t u), (u), all, alone(CORUN_NR(setresuid), -1, u, -1))
CORUN_CREDENTIALS(setreuid, (uid_t r, uid_t e), (r, e), all, alone(CORUN_NR(setreuid), r, e))
CORUN_CREDENTIALS(setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s), all,
                  alone(CORUN_NR(setresuid), r, e, s))
CORUN_CREDENTIALS(setgid, (gid_t g), (g), all, alone(CORUN_NR(setgid), g))
CORUN_CREDENTIALS(setegid, (gid_t g), (g), all, alone(CORUN_NR(setresgid), -1, g, -1))
CORUN_CREDENTIALS(setregid, (gid_t r, gid_t e), (r, e), all, alone(CORUN_NR(setregid), r, e))
CORUN_CREDENTIALS(setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s), all,
                  alone(CORUN_NR(setresgid), r, e, s))
CORUN_CREDENTIALS(setgroups, (size_t n, const gid_t *groups), (n, groups), all,
                  alone(CORUN_NR(setgroups), n, groups))
CORUN_CREDENTIALS(initgroups, (const char *user, gid_t g), (user, g), all, no_initgroups(user, g))
CORUN_CREDENTIALS(capset, (cap_user_header_t header, cap_user_data_t data), (header, data), thread,
                  sys::call(SYS_capset, header, data))
CORUN_CREDENTIALS(unshare, (int flags), (flags), thread, sys::call(SYS_unshare, flags))
CORUN_CREDENTIALS(setns, (int fd, int kind), (fd, kind), thread, sys::call(SYS_setns, fd, kind))

// These two have no error: they give the former id.
CORUN_NATIVE(int, setfsuid, (uid_t u), static_cast<int>(sys::call(CORUN_NR(setfsuid), u)));
int hook_setfsuid(uid_t u) {
    bool refused = u != static_cast<uid_t>(-1) && calls::before_credentials_change(thread) != 0;
    return native_setfsuid(refused ? static_cast<uid_t>(-1) : u);
}
CORUN_NATIVE(int, setfsgid, (gid_t g), static_cast<int>(sys::call(CORUN_NR(setfsgid), g)));
int hook_setfsgid(gid_t g) {
    bool refused = g != static_cast<gid_t>(-1) && calls::before_credentials_change(thread) != 0;
    return native_setfsgid(refused ? static_cast<gid_t>(-1) : g);
}

namespace {

int fallback_prctl(int option, ...) {
    va_list list;
    va_start(list, option);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long),
         d = va_arg(list, long);
    va_end(list);
    return plain_result<int>(sys::call(SYS_prctl, option, a, b, c, d));
}

} // namespace

#define CORUN_PRCTL(name)                                                                          \
    static int (*native_##name)(int, ...) = fallback_prctl;                                        \
    CORUN_EXPORTED int hook_##name(int option, ...) __asm__(#name);                                \
    int hook_##name(int option, ...) {                                                             \
        va_list list;                                                                              \
        va_start(list, option);                                                                    \
        long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long),               \
             d = va_arg(list, long);                                                               \
        va_end(list);                                                                              \
        if (calls::prctl_changes_credentials(option))                                              \
            if (int e = calls::before_credentials_change(thread))                                  \
                return plain_result<int>(e);                                                       \
        return native_##name(option, a, b, c, d);                                                  \
    }
CORUN_PRCTL(prctl)
#if defined(__i386__)
CORUN_PRCTL(__prctl_time64)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(setuid, B),         CORUN_ENTRY(seteuid, B),   CORUN_ENTRY(setreuid, B),
    CORUN_ENTRY(setresuid, B),      CORUN_ENTRY(setgid, B),    CORUN_ENTRY(setegid, B),
    CORUN_ENTRY(setregid, B),       CORUN_ENTRY(setresgid, B), CORUN_ENTRY(setgroups, B),
    CORUN_ENTRY(initgroups, B),     CORUN_ENTRY(capset, B),    CORUN_ENTRY(unshare, B),
    CORUN_ENTRY(setns, B),          CORUN_ENTRY(setfsuid, B),  CORUN_ENTRY(setfsgid, B),
    CORUN_ENTRY(prctl, B),
#if defined(__i386__)
    CORUN_ENTRY(__prctl_time64, B),
#endif
};

} // namespace

CORUN_TABLE(credential_table, entries);

} // namespace corun::symbols
