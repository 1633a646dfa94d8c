// SPDX-License-Identifier: Apache-2.0
#include "co_hook/calls/credentials.h"

#include "co_routine/core/native.h"
#include "co_routine/loop/offload.h"

#include <cerrno>
#include <initializer_list>
#include <sys/prctl.h>

namespace corun::calls {
namespace {

void count_loops(co_env *env, void *n) {
    if (__atomic_load_n(&env->event_loop, __ATOMIC_ACQUIRE))
        ++*static_cast<unsigned *>(n);
}

} // namespace

int before_credentials_change(bool of_thread) {
    // A vfork child, and a helper, change their own.
    if (memory_is_borrowed() || offload_on_helper())
        return 0;
    if (of_thread) {
        unsigned loops = 0;
        for_each_env(count_loops, &loops);
        if (loops > 1) {
            warn("a change of credentials for one thread is refused: %u threads run coroutines and "
                 "share their helper threads",
                 loops);
            return -EPERM;
        }
    }
    offload_end_helpers();
    return 0;
}

bool prctl_changes_credentials(int option) {
    for (int changing : {PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_CAP_AMBIENT,
                         PR_SET_SECUREBITS, PR_SET_KEEPCAPS})
        if (option == changing)
            return true;
    return false;
}

bool changes_credentials(long nr, long option) {
    if (nr == SYS_prctl)
        return prctl_changes_credentials(static_cast<int>(option));
    for (long changing : {
             SYS_setuid, SYS_setgid, SYS_setreuid, SYS_setregid, SYS_setresuid, SYS_setresgid,
                 SYS_setfsuid, SYS_setfsgid, SYS_setgroups, SYS_capset, SYS_unshare, SYS_setns,
                 SYS_seccomp,
#if defined(__i386__)
                 SYS_setuid32, SYS_setgid32, SYS_setreuid32, SYS_setregid32, SYS_setresuid32,
                 SYS_setresgid32, SYS_setfsuid32, SYS_setfsgid32, SYS_setgroups32,
#endif
                 SYS_landlock_restrict_self
         })
        if (nr == changing)
            return true;
    return false;
}

} // namespace corun::calls
