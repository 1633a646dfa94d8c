#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Functions of the user and host databases that keep a lock of libc's while a module of
# nsswitch.conf works, in a coroutine: whichever families are on, nobody parks in the module, or the
# next one who asks would stop the thread for ever.
. "${SRC_DIR:-.}/tests/hooks/lib.sh"

# A module that waits. Its name is found because it is loaded already.
cat >"$scratch/module.c" <<'END'
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <nss.h>
#include <pwd.h>
#include <shadow.h>
#include <unistd.h>
#define SAYS_NO usleep(2000); *errnop = ENOENT; return NSS_STATUS_NOTFOUND
#define LIST(set, get, end, type)                                                                  \
    enum nss_status _nss_coruntest_##set(int stay) { (void)stay; return NSS_STATUS_SUCCESS; }      \
    enum nss_status _nss_coruntest_##end(void) { return NSS_STATUS_SUCCESS; }                      \
    enum nss_status _nss_coruntest_##get(struct type *e, char *b, size_t n, int *errnop) {         \
        (void)e, (void)b, (void)n;                                                                 \
        SAYS_NO;                                                                                   \
    }
LIST(setpwent, getpwent_r, endpwent, passwd)
LIST(setgrent, getgrent_r, endgrent, group)
LIST(setspent, getspent_r, endspent, spwd)
enum nss_status _nss_coruntest_gethostbyname2_r(const char *name, int type, struct hostent *e, char *b,
                                                size_t n, int *errnop, int *h_errnop) {
    (void)name, (void)type, (void)e, (void)b, (void)n;
    *h_errnop = HOST_NOT_FOUND;
    SAYS_NO;
}
enum nss_status _nss_coruntest_gethostbyname_r(const char *name, struct hostent *e, char *b, size_t n,
                                               int *errnop, int *h_errnop) {
    return _nss_coruntest_gethostbyname2_r(name, 2, e, b, n, errnop, h_errnop);
}
enum nss_status _nss_coruntest_gethostbyaddr_r(const void *a, socklen_t size, int type, struct hostent *e,
                                               char *b, size_t n, int *errnop, int *h_errnop) {
    (void)a, (void)size;
    return _nss_coruntest_gethostbyname2_r("", type, e, b, n, errnop, h_errnop);
}
END
cat >"$scratch/prog.c" <<'END'
#define _GNU_SOURCE
#include <co_hook.h>
#include <co_routine.h>
#include <dlfcn.h>
#include <grp.h>
#include <netdb.h>
#include <nss.h>
#include <pwd.h>
#include <shadow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
static unsigned families;
static const char *what;
static int ended;
static void *ask(void *unused) {
    char buffer[1024], address[4] = {127, 0, 0, 9};
    struct passwd p, *user;
    struct group g, *group;
    struct spwd s, *secret;
    co_enable_hook_sys();
    co_hook_set_families(families);
    for (int i = 0; i < 3; i++) {
        if (!strcmp(what, "getpwent_r"))
            getpwent_r(&p, buffer, sizeof buffer, &user);
        else if (!strcmp(what, "getgrent_r"))
            getgrent_r(&g, buffer, sizeof buffer, &group);
        else if (!strcmp(what, "getspent_r"))
            getspent_r(&s, buffer, sizeof buffer, &secret);
        else if (!strcmp(what, "gethostbyname"))
            gethostbyname("no-such-host");
        else if (!strcmp(what, "gethostbyname2"))
            gethostbyname2("no-such-host", AF_INET);
        else if (!strcmp(what, "gethostbyaddr"))
            gethostbyaddr(address, 4, AF_INET);
        else
            abort();
    }
    ended++;
    return unused;
}
int main(int count, char **words) {
    static const char *const databases[] = {"passwd", "group", "shadow", "hosts"};
    if (count < 4 || !dlopen(words[1], RTLD_NOW))
        return 3;
    what = words[2];
    families = words[3][0] == 'n' ? CO_HOOK_DEFAULT & ~(CO_HOOK_USERS | CO_HOOK_NAMES) : CO_HOOK_DEFAULT;
    for (int i = 0; i < 4; i++)
        if (__nss_configure_lookup(databases[i], "coruntest") != 0)
            return 4;
    for (int i = 0; i < 4; i++)
        co_go(NULL, NULL, ask, NULL);
    co_run();
    return ended == 4 ? 0 : 5;
}
END
$CC $flags -shared -fPIC -Wl,-soname,libnss_coruntest.so.2 "$scratch/module.c" -o "$scratch/module.so" || exit 1
$CC $flags -Ico_routine -Ico_hook "$scratch/prog.c" "$B/libcorun.so" -Wl,-rpath,"$B" -pthread -ldl -o "$scratch/prog" || exit 1

for name in getpwent_r getgrent_r getspent_r gethostbyname gethostbyname2 gethostbyaddr; do
    for mode in names-off all; do
        timeout 10 "$scratch/prog" "$scratch/module.so" $name $mode >"$scratch/out" 2>&1
        code=$?
        verdict "$name, $mode: four coroutines ask" '[ $code = 0 ]'
    done
done
exit $status
