// SPDX-License-Identifier: Apache-2.0
#include "co_hook/symbols/helper_call.h"

#include "co_hook/symbols/late_key.h"

#include <new>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_NAMES;

int lone_h_errno; // -static

} // namespace

CORUN_NATIVE(int *, __h_errno_location, (), &lone_h_errno);

namespace {

// ---- What belongs to a coroutine that looks names up

struct own_results {
    int h_error;
    char *buffer;
    size_t buffer_bytes;
};

void drop_results(void *value) {
    own_results *r = static_cast<own_results *>(value);
    slab_pool &slab = tls_env->slab;
    if (r->buffer)
        slab.release(r->buffer, r->buffer_bytes);
    slab.release(r, sizeof *r);
}

constinit late_key results_key{drop_results};

own_results *results_or_null() { return static_cast<own_results *>(results_key.get()); }

own_results *results_of_running() {
    if (!results_key.make())
        return nullptr;
    if (own_results *there = results_or_null())
        return there;
    void *block = tls_env->slab.allocate(sizeof(own_results));
    if (!block)
        return nullptr;
    own_results *r = new (block) own_results{};
    if (results_key.set(r) == 0)
        return r;
    tls_env->slab.release(r, sizeof *r);
    return nullptr;
}

// ---- The thread's resolver

thread_local bool resolver_is_set; // a helper's: it carries somebody's settings

resolver_settings settings_of(const struct __res_state &s) {
    resolver_settings r{};
    if ((s.options & RES_INIT) == 0)
        return r;
    r.set = true;
    r.retrans = s.retrans;
    r.retry = s.retry;
    r.options = s.options;
    r.ndots = s.ndots;
    r.server_count = s.nscount >= 0 && s.nscount <= MAXNS ? s.nscount : 0;
    for (int i = 0; i < r.server_count; ++i)
        r.servers[i] = s.nsaddr_list[i];
    return r;
}

bool same_settings(const resolver_settings &a, const resolver_settings &b) {
    if (a.retrans != b.retrans || a.retry != b.retry || a.options != b.options ||
        a.ndots != b.ndots || a.server_count != b.server_count)
        return false;
    for (int i = 0; i < a.server_count; ++i)
        if (memcmp(&a.servers[i], &b.servers[i], offsetof(sockaddr_in, sin_zero)) != 0)
            return false;
    return true;
}

int64_t run_request(void *memory) {
    helper_request *r = static_cast<helper_request *>(memory);
    r->made_at = static_cast<char *>(memory);
    // The function to call stands where its result will: see call_on_helper.
    auto call = reinterpret_cast<void (*)(helper_request *)>(r->used);
    if (offload_on_helper())
        adopt_resolver_settings(r->settings);
    errno = 0;
    *native___h_errno_location() = 0;
    call(r);
    r->errno_of_call = errno;
    r->h_errno_of_call = native_h_errno();
    return 0;
}

} // namespace

int *hook___h_errno_location() {
    if (hooks_are_on(family))
        if (own_results *r = results_or_null())
            return &r->h_error;
    return native___h_errno_location();
}

int native_h_errno() { return *native___h_errno_location(); }
void set_native_h_errno(int value) { *native___h_errno_location() = value; }

void set_h_errno(int value) {
    *native___h_errno_location() = value; // herror reads this one
    if (own_results *r = results_of_running())
        r->h_error = value;
}

char *own_result_buffer(size_t bytes) {
    own_results *r = results_of_running();
    if (!r)
        return nullptr;
    if (r->buffer_bytes < bytes) {
        char *larger = static_cast<char *>(tls_env->slab.allocate(bytes));
        if (!larger)
            return nullptr;
        if (r->buffer)
            tls_env->slab.release(r->buffer, r->buffer_bytes);
        r->buffer = larger;
        r->buffer_bytes = bytes;
    }
    return r->buffer;
}

// A program that set _res natively finds it used from there, not from resolv.conf.
void adopt_resolver_settings(const resolver_settings &wanted) {
    if (!wanted.set && !resolver_is_set)
        return;
    struct __res_state *mine = __res_state();
    if (mine->options & RES_INIT)
        res_nclose(mine);
    memset(mine, 0, sizeof *mine);
    resolver_is_set = false;
    if (!wanted.set)
        return; // libc reads resolv.conf when it needs it
    res_ninit(mine);
    if (same_settings(settings_of(*mine), wanted))
        return;
    resolver_is_set = true;
    mine->retrans = wanted.retrans;
    mine->retry = wanted.retry;
    mine->options = wanted.options;
    mine->ndots = wanted.ndots & 15;
    bool known = wanted.server_count > 0; // an IPv6 server stands where we cannot see it
    for (int i = 0; i < wanted.server_count; ++i)
        known = known && wanted.servers[i].sin_family == AF_INET;
    if (!known)
        return;
    mine->nscount = wanted.server_count;
    for (int i = 0; i < wanted.server_count; ++i)
        mine->nsaddr_list[i] = wanted.servers[i];
}

int call_on_helper(const wait_kind &kind, offload_kind how, void (*call)(helper_request *),
                   const request_memory &memory, offload_late on_late) {
    helper_request *r = memory.request();
    size_t used = r->used;
    r->settings = settings_of(*__res_state());
    r->used = reinterpret_cast<size_t>(call);
    int64_t result =
        offload_function(kind, how, run_request, r, memory.bytes(), no_deadline, on_late);
    r->used = used;
    return result < 0 ? static_cast<int>(result) : 0;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(__h_errno_location, B),
};

} // namespace

CORUN_TABLE(h_errno_table, entries);

} // namespace corun::symbols
