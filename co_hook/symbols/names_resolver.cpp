// SPDX-License-Identifier: Apache-2.0
// res_query and its kin, with the thread's resolver state or (n forms) the caller's: on a helper.
#include "co_hook/symbols/helper_call.h"

#include <netdb.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_NAMES;
constexpr wait_kind resolver_kind{"res_query", false, nullptr};
constexpr int largest_message = 65536; // DNS has no larger ones

int no_libc() {
    errno = ENOSYS;
    return -1;
}

using bytes = unsigned char;

} // namespace

#define CORUN_RESOLVER(name, parameters, arguments)                                                \
    static int fallback_##name parameters { return ((void)sizeof arguments, no_libc()); }          \
    static int(*native_##name) parameters = fallback_##name;                                       \
    CORUN_EXPORTED int hook_##name parameters __asm__(#name)

#define QUERY_PARAMETERS const char *name, int klass, int type, bytes *answer, int room
#define DOMAIN_PARAMETERS                                                                          \
    const char *name, const char *domain, int klass, int type, bytes *answer, int room
#define SEND_PARAMETERS const bytes *message, int length, bytes *answer, int room

CORUN_RESOLVER(res_query, (QUERY_PARAMETERS), (name, klass, type, answer, room));
CORUN_RESOLVER(res_search, (QUERY_PARAMETERS), (name, klass, type, answer, room));
CORUN_RESOLVER(res_querydomain, (DOMAIN_PARAMETERS), (name, domain, klass, type, answer, room));
CORUN_RESOLVER(res_send, (SEND_PARAMETERS), (message, length, answer, room));
CORUN_RESOLVER(res_nquery, (res_state state, QUERY_PARAMETERS),
               (state, name, klass, type, answer, room));
CORUN_RESOLVER(res_nsearch, (res_state state, QUERY_PARAMETERS),
               (state, name, klass, type, answer, room));
CORUN_RESOLVER(res_nquerydomain, (res_state state, DOMAIN_PARAMETERS),
               (state, name, domain, klass, type, answer, room));
CORUN_RESOLVER(res_nsend, (res_state state, SEND_PARAMETERS),
               (state, message, length, answer, room));

namespace {

enum class what : uint8_t { query, search, querydomain, send };

struct resolver_question {
    what how;
    res_state state; // the caller's own; nullptr: the thread's
    const void *message;
    size_t message_bytes;
    const char *domain;
    int klass, type;
};

struct resolver_request : helper_request {
    what how;
    bool has_state;
    struct __res_state state;
    uintptr_t state_was_at;
    size_t message, domain, answer;
    int message_bytes, klass, type, room, code;
};

// The state's search list points into the state itself.
void move_search_list(struct __res_state *s, uintptr_t from, uintptr_t to) {
    for (char *&d : s->dnsrch) {
        uintptr_t p = reinterpret_cast<uintptr_t>(d);
        if (p >= from && p < from + sizeof *s)
            d = reinterpret_cast<char *>(p - from + to);
    }
}

int ask_with_state(resolver_request *q, const char *text, const char *domain, bytes *answer) {
    res_state s = &q->state;
    switch (q->how) {
    case what::query:
        return native_res_nquery(s, text, q->klass, q->type, answer, q->room);
    case what::search:
        return native_res_nsearch(s, text, q->klass, q->type, answer, q->room);
    case what::querydomain:
        return native_res_nquerydomain(s, text, domain, q->klass, q->type, answer, q->room);
    default:
        return native_res_nsend(s, reinterpret_cast<const bytes *>(text), q->message_bytes, answer,
                                q->room);
    }
}

int ask_with_threads_own(resolver_request *q, const char *text, const char *domain, bytes *answer) {
    switch (q->how) {
    case what::query:
        return native_res_query(text, q->klass, q->type, answer, q->room);
    case what::search:
        return native_res_search(text, q->klass, q->type, answer, q->room);
    case what::querydomain:
        return native_res_querydomain(text, domain, q->klass, q->type, answer, q->room);
    default:
        return native_res_send(reinterpret_cast<const bytes *>(text), q->message_bytes, answer,
                               q->room);
    }
}

void ask_resolver(helper_request *r) {
    auto *q = static_cast<resolver_request *>(r);
    const char *text = at_offset<char>(r, q->message), *domain = at_offset<char>(r, q->domain);
    bytes *answer = at_offset<bytes>(r, q->answer);
    uintptr_t here = reinterpret_cast<uintptr_t>(&q->state);
    if (q->has_state)
        move_search_list(&q->state, q->state_was_at, here);
    q->code = q->has_state ? ask_with_state(q, text, domain, answer)
                           : ask_with_threads_own(q, text, domain, answer);
    if (q->has_state)
        move_search_list(&q->state, here, q->state_was_at);
}

int ask(const resolver_question &q, bytes *answer, int room) {
    int most = room < 0 ? 0 : room < largest_message ? room : largest_message;
    request_memory memory(sizeof(resolver_request) + q.message_bytes + text_room(q.domain) +
                          static_cast<size_t>(most) + 4 * slack);
    auto *r = memory.make<resolver_request>();
    if (!r)
        return plain_result<int>(-ENOMEM);
    r->how = q.how;
    r->has_state = q.state != nullptr;
    if (q.state)
        r->state = *q.state;
    r->state_was_at = reinterpret_cast<uintptr_t>(q.state);
    r->message = q.message ? memory.put(q.message, q.message_bytes) : 0;
    r->domain = memory.put_text(q.domain);
    r->answer = memory.put(nullptr, static_cast<size_t>(most));
    r->message_bytes = static_cast<int>(q.message_bytes);
    r->klass = q.klass;
    r->type = q.type;
    r->room = most;
    if (int e = call_on_helper(resolver_kind, offload_lookup, ask_resolver, memory))
        return to_libc<int>(e);
    if (r->errno_of_call != 0)
        errno = r->errno_of_call;
    set_h_errno(r->h_errno_of_call);
    if (q.state)
        *q.state = r->state;
    // An answer that was longer than the room is told by its length.
    if (r->code > 0)
        memcpy(answer, at_offset<bytes>(r, r->answer),
               static_cast<size_t>(r->code < most ? r->code : most));
    return r->code;
}

resolver_question about(what how, res_state state, const char *name, const char *domain, int klass,
                        int type) {
    return {how, state, name, name ? strlen(name) + 1 : 0, domain, klass, type};
}
resolver_question about(res_state state, const bytes *message, int length) {
    return {what::send, state, message, length > 0 ? static_cast<size_t>(length) : 0U,
            nullptr,    0,     0};
}

} // namespace

#define CORUN_QUERY(name_, how)                                                                    \
    int hook_res_##name_(QUERY_PARAMETERS) {                                                       \
        return hooks_are_on(family)                                                                \
                   ? ask(about(how, nullptr, name, nullptr, klass, type), answer, room)            \
                   : native_res_##name_(name, klass, type, answer, room);                          \
    }                                                                                              \
    int hook_res_n##name_(res_state state, QUERY_PARAMETERS) {                                     \
        return hooks_are_on(family)                                                                \
                   ? ask(about(how, state, name, nullptr, klass, type), answer, room)              \
                   : native_res_n##name_(state, name, klass, type, answer, room);                  \
    }
CORUN_QUERY(query, what::query)
CORUN_QUERY(search, what::search)

int hook_res_querydomain(DOMAIN_PARAMETERS) {
    return hooks_are_on(family)
               ? ask(about(what::querydomain, nullptr, name, domain, klass, type), answer, room)
               : native_res_querydomain(name, domain, klass, type, answer, room);
}
int hook_res_nquerydomain(res_state state, DOMAIN_PARAMETERS) {
    return hooks_are_on(family)
               ? ask(about(what::querydomain, state, name, domain, klass, type), answer, room)
               : native_res_nquerydomain(state, name, domain, klass, type, answer, room);
}
int hook_res_send(SEND_PARAMETERS) {
    return hooks_are_on(family) ? ask(about(nullptr, message, length), answer, room)
                                : native_res_send(message, length, answer, room);
}
int hook_res_nsend(res_state state, SEND_PARAMETERS) {
    return hooks_are_on(family) ? ask(about(state, message, length), answer, room)
                                : native_res_nsend(state, message, length, answer, room);
}

// What programs built with glibc before 2.34 call.
CORUN_HOOK_ALIAS(int, __res_query, res_query, (QUERY_PARAMETERS));
CORUN_HOOK_ALIAS(int, __res_search, res_search, (QUERY_PARAMETERS));
CORUN_HOOK_ALIAS(int, __res_querydomain, res_querydomain, (DOMAIN_PARAMETERS));
CORUN_HOOK_ALIAS(int, __res_send, res_send, (SEND_PARAMETERS));
CORUN_HOOK_ALIAS(int, __res_nquery, res_nquery, (res_state state, QUERY_PARAMETERS));
CORUN_HOOK_ALIAS(int, __res_nsearch, res_nsearch, (res_state state, QUERY_PARAMETERS));
CORUN_HOOK_ALIAS(int, __res_nquerydomain, res_nquerydomain, (res_state state, DOMAIN_PARAMETERS));
CORUN_HOOK_ALIAS(int, __res_nsend, res_nsend, (res_state state, SEND_PARAMETERS));

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(res_query, O),          CORUN_ENTRY(res_search, O),
    CORUN_ENTRY(res_querydomain, O),    CORUN_ENTRY(res_send, O),
    CORUN_ENTRY(res_nquery, O),         CORUN_ENTRY(res_nsearch, O),
    CORUN_ENTRY(res_nquerydomain, O),   CORUN_ENTRY(res_nsend, O),
    CORUN_ALIAS_ENTRY(__res_query, O),  CORUN_ALIAS_ENTRY(__res_search, O),
    CORUN_ALIAS_ENTRY(__res_send, O),   CORUN_ALIAS_ENTRY(__res_querydomain, O),
    CORUN_ALIAS_ENTRY(__res_nquery, O), CORUN_ALIAS_ENTRY(__res_nsearch, O),
    CORUN_ALIAS_ENTRY(__res_nsend, O),  CORUN_ALIAS_ENTRY(__res_nquerydomain, O),
};

} // namespace

CORUN_TABLE(names_resolver_table, entries);

} // namespace corun::symbols
