// SPDX-License-Identifier: Apache-2.0
#include "co_hook/waist/rights.h"

#include "co_hook/calls/credentials.h"
#include "co_hook/waist/worker.h"

#include "co_routine/base/check.h"
#include "co_routine/loop/uring.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <linux/seccomp.h>
#include <sys/prctl.h>

namespace corun::waist {
namespace {

constexpr word any_option = -1;
constexpr const char *early = "make it before the first thread";
constexpr const char *apart = "make it before the first thread, or in a child process";
constexpr const char *by_libc = "libc's function makes it for all of them";
constexpr const char *with_sync =
    "set it before the first thread, or for all of them (seccomp with SECCOMP_FILTER_FLAG_TSYNC)";

// Changes that the kernel makes for one thread.
struct change {
    long nr;
    word option; // the first argument
    const char *name, *advice;
};
constexpr change changes_of_one[] = {
    {SYS_setuid, any_option, "setuid", by_libc},
    {SYS_setgid, any_option, "setgid", by_libc},
    {SYS_setreuid, any_option, "setreuid", by_libc},
    {SYS_setregid, any_option, "setregid", by_libc},
    {SYS_setresuid, any_option, "setresuid", by_libc},
    {SYS_setresgid, any_option, "setresgid", by_libc},
    {SYS_setgroups, any_option, "setgroups", by_libc},
    {SYS_setfsuid, any_option, "setfsuid", early},
    {SYS_setfsgid, any_option, "setfsgid", early},
    {SYS_capset, any_option, "capset", early},
    {SYS_unshare, any_option, "unshare", apart},
    {SYS_setns, any_option, "setns", apart},
    {SYS_landlock_restrict_self, any_option, "landlock_restrict_self", early},
    {SYS_seccomp, SECCOMP_SET_MODE_FILTER, "seccomp", with_sync},
    {SYS_prctl, PR_SET_SECCOMP, "prctl(PR_SET_SECCOMP)", with_sync},
    {SYS_prctl, PR_CAPBSET_DROP, "prctl(PR_CAPBSET_DROP)", early},
    {SYS_prctl, PR_CAP_AMBIENT, "prctl(PR_CAP_AMBIENT)", early},
    {SYS_prctl, PR_SET_SECUREBITS, "prctl(PR_SET_SECUREBITS)", early},
    {SYS_prctl, PR_SET_KEEPCAPS, "prctl(PR_SET_KEEPCAPS)", early}};

// Most calls are none, and pass here.
constexpr auto is_known = [] {
    std::array<bool, 512> known{};
    for (const change &c : changes_of_one)
        known[static_cast<size_t>(c.nr)] = true;
    return known;
}();
bool may_be_one(long nr) {
    auto i = static_cast<size_t>(nr);
    return i < is_known.size() && is_known[i];
}

const change *change_of_one(long nr, const word (&a)[6]) {
    bool for_all = nr == SYS_seccomp && (a[1] & SECCOMP_FILTER_FLAG_TSYNC) != 0;
    bool asks = nr == SYS_prctl && a[0] == PR_CAP_AMBIENT && a[1] == PR_CAP_AMBIENT_IS_SET;
    if (for_all || asks)
        return nullptr;
    for (const change &c : changes_of_one)
        if (c.nr == nr && (c.option == any_option || c.option == a[0]))
            return &c;
    return nullptr;
}

// It allows four system calls, and the runtime needs more.
bool is_strict_mode(long nr, const word (&a)[6]) {
    return nr == SYS_seccomp
               ? a[0] == SECCOMP_SET_MODE_STRICT
               : nr == SYS_prctl && a[0] == PR_SET_SECCOMP && a[1] == SECCOMP_MODE_STRICT;
}

word refuse(const change &c, const word (&a)[6]) {
    static bool said[sizeof changes_of_one / sizeof changes_of_one[0]];
    if (bool &once = said[&c - changes_of_one]; !once) {
        once = true;
        warn("%s for one thread is refused: the threads of a program under corun have the same "
             "rights; %s",
             c.name, c.advice);
    }
    bool knows_no_errors = c.nr == SYS_setfsuid || c.nr == SYS_setfsgid;
    return knows_no_errors ? native(c.nr, {-1, a[1], a[2], a[3], a[4], a[5]}) : -EPERM;
}

word make(long nr, const word (&a)[6]) {
    if (int e = calls::before_credentials_change(true))
        return e;
    word r = native(nr, a);
    if (sets_filter(nr, a) && !sys::failed(r))
        filter_is_set();
    return r;
}

// ---- The broadcast of set*id
//
// libc signals every thread; each makes the system call in its handler, the one that asked for it
// comes last, and if their results differ libc aborts. The kernel has one set of credentials for all
// of them here: the first call of the round is made, the others get its result.

struct {
    const thread *caller; // nullptr: no round is under way
    bool made;
    long nr;
    word a[3];
    word result;
} round_of_ids;

// False: it is not part of one.
bool in_round(thread *self, const change &c, const word (&a)[6], word *result) {
    auto &round = round_of_ids;
    if (c.advice != by_libc)
        return false;
    bool takes_part = round.caller && (self->signals.sets_ids || self == round.caller);
    self->signals.sets_ids = false;
    if (!takes_part)
        return false;
    bool last = self == round.caller;
    bool known = round.made && round.nr == c.nr && memcmp(round.a, a, sizeof round.a) == 0;
    if (!known)
        round = {round.caller, true, c.nr, {a[0], a[1], a[2]}, make(c.nr, a)};
    *result = round.result;
    if (last)
        round.caller = nullptr;
    return true;
}

} // namespace

void rights_round_begins(const thread *caller) {
    if (!round_of_ids.caller || round_of_ids.made)
        round_of_ids = {caller, false, 0, {}, 0};
}

bool rights_call(thread *self, long nr, const word (&a)[6], word *result) {
    if (CO_LIKELY(!may_be_one(nr)))
        return false;
    if (is_strict_mode(nr, a)) {
        warn("seccomp's strict mode is refused: it would end corun at its next system call; set a "
             "filter");
        return *result = -EPERM, true;
    }
    const change *c = change_of_one(nr, a);
    if (c && in_round(self, *c, a, result))
        return true;
    if (c && self->home->live > 1)
        return *result = refuse(*c, a), true;
    if (!c && !sets_filter(nr, a))
        return false;
    return *result = make(nr, a), true;
}

bool sets_filter(long nr, const word (&a)[6]) {
    return nr == SYS_seccomp ? a[0] == SECCOMP_SET_MODE_FILTER
                             : nr == SYS_prctl && a[0] == PR_SET_SECCOMP;
}

void filter_is_set() { uring_give_up(); }

void look_for_filter() {
    word mode = sys::call(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0);
    bool none = mode == SECCOMP_MODE_DISABLED || mode == -EINVAL; // a kernel without filters
    if (!none)
        filter_is_set();
}

} // namespace corun::waist
