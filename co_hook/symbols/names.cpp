// SPDX-License-Identifier: Apache-2.0
// getaddrinfo and getnameinfo: libc's own, with everything nsswitch.conf says, on a helper; up to 128
// at once. What is only numbers is answered at once.
#include "co_hook/symbols/helper_call.h"

#include "co_hook/calls/back_off.h"
#include "co_hook/symbols/time_types.h"

#include <arpa/inet.h>
#include <netdb.h>

// Weak: in a -static program it would bring libc's getaddrinfo along, which we define.
extern "C" void freeaddrinfo(addrinfo *) noexcept __attribute__((weak));

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_NAMES;
constexpr wait_kind getaddrinfo_kind{"getaddrinfo", false, nullptr};
constexpr wait_kind getnameinfo_kind{"getnameinfo", false, nullptr};

int no_libc() {
    errno = ENOSYS;
    return EAI_SYSTEM;
}

// Of a call that was not made.
int not_made(int error) {
    if (error == -ENOMEM)
        return EAI_MEMORY;
    errno = leave_wait(-error);
    return EAI_SYSTEM;
}

// ---- Numbers, for which nobody is asked

bool all_digits(const char *s) {
    while (*s >= '0' && *s <= '9')
        ++s;
    return *s == '\0';
}

bool is_address(const char *name) {
    in_addr v4;
    if (!strpbrk(name, " \t\n\v\f\r") && inet_aton(name, &v4) != 0)
        return true;
    char bare[INET6_ADDRSTRLEN];
    in6_addr v6;
    const char *scope = strchr(name, '%');
    size_t n = scope ? static_cast<size_t>(scope - name) : strlen(name);
    if (n >= sizeof bare)
        return false;
    memcpy(bare, name, n);
    bare[n] = '\0';
    return inet_pton(AF_INET6, bare, &v6) == 1;
}

bool asks_nobody(const char *node, const char *service, const addrinfo *hints) {
    int flags = hints ? hints->ai_flags : 0;
    bool node_is_number = !node || (flags & AI_NUMERICHOST) || is_address(node);
    bool service_is_number = !service || (flags & AI_NUMERICSERV) || all_digits(service);
    return node_is_number && service_is_number;
}

// getnameinfo where libc's cannot be found (-static): as if no name were known.
int numbers_of(const sockaddr *address, socklen_t length, char *host, socklen_t host_room,
               char *service, socklen_t service_room, int flags) {
    const void *bytes;
    in_port_t port;
    if (length >= sizeof(sockaddr_in) && address->sa_family == AF_INET) {
        auto *v4 = reinterpret_cast<const sockaddr_in *>(address);
        bytes = &v4->sin_addr, port = v4->sin_port;
    } else if (length >= sizeof(sockaddr_in6) && address->sa_family == AF_INET6) {
        auto *v6 = reinterpret_cast<const sockaddr_in6 *>(address);
        bytes = &v6->sin6_addr, port = v6->sin6_port;
    } else {
        return EAI_FAMILY;
    }
    if ((flags & NI_NAMEREQD) || ((!host || host_room == 0) && (!service || service_room == 0)))
        return EAI_NONAME;
    if (host && host_room > 0 && !inet_ntop(address->sa_family, bytes, host, host_room))
        return EAI_OVERFLOW;
    if (service && service_room > 0 && !put_decimal(service, service_room, ntohs(port)))
        return EAI_OVERFLOW;
    return 0;
}

// ---- getaddrinfo

struct address_request : helper_request {
    size_t node, service;
    bool has_hints;
    addrinfo hints;
    addrinfo *found;
    int code;
};

} // namespace

CORUN_NATIVE(int, getaddrinfo,
             (const char *node, const char *service, const addrinfo *hints, addrinfo **found),
             ((void)node, (void)service, (void)hints, (void)found, no_libc()));
CORUN_NATIVE(int, getnameinfo,
             (const sockaddr *address, socklen_t length, char *host, socklen_t host_room,
              char *service, socklen_t service_room, int flags),
             numbers_of(address, length, host, host_room, service, service_room, flags));

namespace {

void get_addresses(helper_request *r) {
    auto *a = static_cast<address_request *>(r);
    a->code = native_getaddrinfo(at_offset<char>(r, a->node), at_offset<char>(r, a->service),
                                 a->has_hints ? &a->hints : nullptr, &a->found);
}

// Nobody will take the list.
void free_addresses(int64_t, const long *args) {
    auto *a = reinterpret_cast<address_request *>(args[0]);
    if (a->found && a->made_at)
        freeaddrinfo(a->found);
}

int get_addresses_on_helper(const char *node, const char *service, const addrinfo *hints,
                            addrinfo **found) {
    request_memory memory(sizeof(address_request) + text_room(node) + text_room(service) + slack);
    auto *a = memory.make<address_request>();
    if (!a)
        return EAI_MEMORY;
    a->node = memory.put_text(node);
    a->service = memory.put_text(service);
    a->has_hints = hints != nullptr;
    if (hints)
        a->hints = *hints;
    if (int e =
            call_on_helper(getaddrinfo_kind, offload_lookup, get_addresses, memory, free_addresses))
        return not_made(e);
    if (a->errno_of_call != 0)
        errno = a->errno_of_call;
    set_h_errno(a->h_errno_of_call);
    if (a->code == 0)
        *found = a->found;
    return a->code;
}

} // namespace

CORUN_WEAK_HOOK(getaddrinfo);
int hook_getaddrinfo(const char *node, const char *service, const addrinfo *hints,
                     addrinfo **found) {
    if (!hooks_are_on(family) || asks_nobody(node, service, hints))
        return native_getaddrinfo(node, service, hints, found);
    return get_addresses_on_helper(node, service, hints, found);
}

// ---- getnameinfo

namespace {

struct name_request : helper_request {
    size_t address, host, service;
    socklen_t length, host_room, service_room;
    int flags, code;
};

void get_names(helper_request *r) {
    auto *n = static_cast<name_request *>(r);
    n->code = native_getnameinfo(at_offset<sockaddr>(r, n->address), n->length,
                                 at_offset<char>(r, n->host), n->host_room,
                                 at_offset<char>(r, n->service), n->service_room, n->flags);
}

int get_names_on_helper(const sockaddr *address, socklen_t length, char *host, socklen_t host_room,
                        char *service, socklen_t service_room, int flags) {
    constexpr socklen_t longest = 4096; // of a name, and of an address
    if (length > longest)
        return EAI_FAMILY;
    host_room = host ? host_room < longest ? host_room : longest : 0;
    service_room = service ? service_room < longest ? service_room : longest : 0;
    request_memory memory(sizeof(name_request) + length + host_room + service_room + 4 * slack);
    auto *n = memory.make<name_request>();
    if (!n)
        return EAI_MEMORY;
    n->address = address ? memory.put(address, length) : 0;
    n->host = host ? memory.put(nullptr, host_room) : 0;
    n->service = service ? memory.put(nullptr, service_room) : 0;
    n->length = length;
    n->host_room = host_room;
    n->service_room = service_room;
    n->flags = flags;
    if (int e = call_on_helper(getnameinfo_kind, offload_lookup, get_names, memory))
        return not_made(e);
    if (n->errno_of_call != 0)
        errno = n->errno_of_call;
    set_h_errno(n->h_errno_of_call);
    // What was written ends with a null byte; the rest of the user's memory is not touched.
    if (n->code == 0 && host_room > 0)
        memcpy(host, at_offset<char>(n, n->host),
               strnlen(at_offset<char>(n, n->host), host_room - 1) + 1);
    if (n->code == 0 && service_room > 0)
        memcpy(service, at_offset<char>(n, n->service),
               strnlen(at_offset<char>(n, n->service), service_room - 1) + 1);
    return n->code;
}

} // namespace

int hook_getnameinfo(const sockaddr *address, socklen_t length, char *host, socklen_t host_room,
                     char *service, socklen_t service_room, int flags) {
    bool host_is_number = !host || host_room == 0 || (flags & NI_NUMERICHOST);
    bool service_is_number = !service || service_room == 0 || (flags & NI_NUMERICSERV);
    if (!hooks_are_on(family) || (host_is_number && service_is_number))
        return native_getnameinfo(address, length, host, host_room, service, service_room, flags);
    return get_names_on_helper(address, length, host, host_room, service, service_room, flags);
}

// ---- getaddrinfo_a. libc has threads of its own for it; only the waits are ours: libc tells nobody
// of a request's end, so they look again after 1 ms, then less and less often.

namespace {

constexpr wait_kind gai_kind{"gai_suspend", false, nullptr};

bool in_progress(gaicb *request) { return request && gai_error(request) == EAI_INPROGRESS; }

int suspend(const gaicb *const list[], int count, int64_t deadline_ns) {
    calls::back_off pauses;
    for (;;) {
        bool any = false;
        for (int i = 0; i < count; ++i) {
            if (!list[i])
                continue;
            any = true;
            if (!in_progress(const_cast<gaicb *>(list[i])))
                return 0;
        }
        if (!any)
            return EAI_ALLDONE;
        if (now_ns() >= deadline_ns)
            return EAI_AGAIN;
        int e = pauses.wait(gai_kind, {}, deadline_ns);
        if (e != 0 && e != -ETIMEDOUT)
            return not_made(e);
    }
}

} // namespace

#define CORUN_GAI_SUSPEND(name, T)                                                                 \
    CORUN_NATIVE(int, name, (const gaicb *const list[], int count, const T *timeout),              \
                 ((void)list, (void)count, (void)timeout, no_libc()));                             \
    int hook_##name(const gaicb *const list[], int count, const T *timeout) {                      \
        int64_t ns;                                                                                \
        if (!hooks_are_on(family) || (timeout && !to_ns(timeout, &ns)))                            \
            return native_##name(list, count, timeout);                                            \
        return suspend(list, count, timeout ? deadline_in(ns) : no_deadline);                      \
    }
CORUN_GAI_SUSPEND(gai_suspend, timespec)
#if defined(__i386__)
CORUN_GAI_SUSPEND(__gai_suspend_time64, timespec64)
#endif

namespace {

const hook_entry entries[] = {
    CORUN_WEAK_ENTRY(getaddrinfo, O),
    CORUN_ENTRY(getnameinfo, O),
    CORUN_ENTRY(gai_suspend, T),
#if defined(__i386__)
    CORUN_ENTRY(__gai_suspend_time64, T),
#endif
};

} // namespace

CORUN_TABLE(names_table, entries);

} // namespace corun::symbols
