// SPDX-License-Identifier: Apache-2.0
// The databases' functions that return libc's memory (getpwnam ...) hold a lock of libc's while they
// ask the modules of nsswitch.conf. A module (systemd, sss, ldap) talks to its server by names that
// are hooked; a coroutine that parked there would leave the lock taken, and the next one to ask on
// this thread would stop it for ever. So they are libc's own, and hooks are off until they return.
#include "co_hook/symbols/without_hooks.h"

#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <shadow.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_USERS;

template <class R> R not_found() {
    errno = ENOSYS;
    return R();
}

} // namespace

#define CORUN_LOCKED(result, name, parameters, arguments)                                          \
    CORUN_NATIVE(result, name, parameters, not_found<result>());                                   \
    CORUN_WEAK_HOOK(name);                                                                         \
    result hook_##name parameters {                                                                \
        without_hooks scope;                                                                       \
        return native_##name arguments;                                                            \
    }

#define CORUN_LOCKED_LIST(set, get, end, entry)                                                    \
    CORUN_LOCKED(void, set, (), ())                                                                \
    CORUN_LOCKED(entry *, get, (), ())                                                             \
    CORUN_LOCKED(void, end, (), ())

// In a -static program by the reentrant form, which has no lock around the modules.
#define CORUN_ROOM &space, buffer, sizeof buffer, &found
#define CORUN_LOCKED_AS(entry, name, parameters, arguments, reentrant)                             \
    static entry *static_##name parameters {                                                       \
        static entry space;                                                                        \
        static char buffer[8192];                                                                  \
        entry *found = nullptr;                                                                    \
        [[maybe_unused]] int e = 0;                                                                \
        errno = name##_r reentrant;                                                                \
        return found;                                                                              \
    }                                                                                              \
    CORUN_NATIVE(entry *, name, parameters, static_##name arguments);                              \
    entry *hook_##name parameters {                                                                \
        without_hooks scope;                                                                       \
        return native_##name arguments;                                                            \
    }

// The parameters' names in the first argument list of the fallbacks are not used.
#pragma GCC diagnostic ignored "-Wunused-parameter"

CORUN_LOCKED_AS(passwd, getpwnam, (const char *name), (name), (name, CORUN_ROOM))
CORUN_LOCKED_AS(passwd, getpwuid, (uid_t id), (id), (id, CORUN_ROOM))
CORUN_LOCKED_LIST(setpwent, getpwent, endpwent, passwd)
CORUN_LOCKED_AS(group, getgrnam, (const char *name), (name), (name, CORUN_ROOM))
CORUN_LOCKED_AS(group, getgrgid, (gid_t id), (id), (id, CORUN_ROOM))
CORUN_LOCKED_LIST(setgrent, getgrent, endgrent, group)
CORUN_LOCKED_AS(spwd, getspnam, (const char *name), (name), (name, CORUN_ROOM))
CORUN_LOCKED_LIST(setspent, getspent, endspent, spwd)
CORUN_LOCKED_AS(netent, getnetbyname, (const char *name), (name), (name, CORUN_ROOM, &e))
CORUN_LOCKED_AS(netent, getnetbyaddr, (uint32_t net, int type), (net, type),
                (net, type, CORUN_ROOM, &e))
CORUN_LOCKED_AS(protoent, getprotobyname, (const char *name), (name), (name, CORUN_ROOM))
CORUN_LOCKED_AS(protoent, getprotobynumber, (int number), (number), (number, CORUN_ROOM))
CORUN_LOCKED_AS(servent, getservbyname, (const char *name, const char *protocol), (name, protocol),
                (name, protocol, CORUN_ROOM))
CORUN_LOCKED_AS(servent, getservbyport, (int port, const char *protocol), (port, protocol),
                (port, protocol, CORUN_ROOM))
CORUN_LOCKED(int, innetgr,
             (const char *group, const char *host, const char *user, const char *domain),
             (group, host, user, domain))
CORUN_LOCKED(int, setnetgrent, (const char *group), (group))
CORUN_LOCKED(int, getnetgrent, (char **host, char **user, char **domain), (host, user, domain))
CORUN_LOCKED(void, endnetgrent, (), ())

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(getpwnam, B),         CORUN_ENTRY(getpwuid, B),
    CORUN_WEAK_ENTRY(setpwent, B),    CORUN_WEAK_ENTRY(getpwent, B),
    CORUN_WEAK_ENTRY(endpwent, B),    CORUN_ENTRY(getgrnam, B),
    CORUN_ENTRY(getgrgid, B),         CORUN_WEAK_ENTRY(setgrent, B),
    CORUN_WEAK_ENTRY(getgrent, B),    CORUN_WEAK_ENTRY(endgrent, B),
    CORUN_ENTRY(getspnam, B),         CORUN_WEAK_ENTRY(setspent, B),
    CORUN_WEAK_ENTRY(getspent, B),    CORUN_WEAK_ENTRY(endspent, B),
    CORUN_ENTRY(getnetbyname, B),     CORUN_ENTRY(getnetbyaddr, B),
    CORUN_ENTRY(getprotobyname, B),   CORUN_ENTRY(getprotobynumber, B),
    CORUN_ENTRY(getservbyname, B),    CORUN_ENTRY(getservbyport, B),
    CORUN_WEAK_ENTRY(innetgr, B),     CORUN_WEAK_ENTRY(setnetgrent, B),
    CORUN_WEAK_ENTRY(getnetgrent, B), CORUN_WEAK_ENTRY(endnetgrent, B),
};

} // namespace

CORUN_TABLE(users_locked_table, entries);

} // namespace corun::symbols
