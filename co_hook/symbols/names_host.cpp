// SPDX-License-Identifier: Apache-2.0
// gethostbyname and its kin: libc's reentrant functions on a helper. What the others return belongs
// to the coroutine, until its next call of the kind or its end.
#include "co_hook/symbols/helper_call.h"
#include "co_hook/symbols/without_hooks.h"

#include <netdb.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_NAMES;
constexpr wait_kind host_kind{"gethostbyname", false, nullptr};
constexpr size_t first_buffer = 8 * 1024, largest_buffer = 1024 * 1024;

enum class by : uint8_t { name, name2, address };

// What is asked for, by whichever of the functions.
struct question {
    by how;
    const void *key; // a name or an address
    size_t key_bytes;
    int type; // address family
};

struct host_request : helper_request {
    by how;
    size_t key, buffer, buffer_bytes;
    socklen_t key_bytes;
    int type, code, h_error;
    hostent found;
    hostent *result;
};

} // namespace

CORUN_NATIVE(int, gethostbyname_r,
             (const char *name, hostent *space, char *buffer, size_t room, hostent **result,
              int *h_error),
             ((void)name, (void)space, (void)buffer, (void)room, (void)result, (void)h_error,
              ENOSYS));
CORUN_NATIVE(int, gethostbyname2_r,
             (const char *name, int type, hostent *space, char *buffer, size_t room,
              hostent **result, int *h_error),
             ((void)name, (void)type, (void)space, (void)buffer, (void)room, (void)result,
              (void)h_error, ENOSYS));
CORUN_NATIVE(int, gethostbyaddr_r,
             (const void *address, socklen_t length, int type, hostent *space, char *buffer,
              size_t room, hostent **result, int *h_error),
             ((void)address, (void)length, (void)type, (void)space, (void)buffer, (void)room,
              (void)result, (void)h_error, ENOSYS));

namespace {
// The process's, as libc's own: for a -static program, where those cannot be found.
alignas(hostent) char static_buffer[first_buffer];
hostent static_space;
template <class... Question, class F> hostent *ask_reentrant_one(F f, Question... question) {
    hostent *result = nullptr;
    int h_error = NETDB_INTERNAL;
    if (int e =
            f(question..., &static_space, static_buffer, sizeof static_buffer, &result, &h_error))
        errno = e;
    set_native_h_errno(h_error);
    return result;
}
} // namespace
CORUN_NATIVE(hostent *, gethostbyname, (const char *name),
             ask_reentrant_one(native_gethostbyname_r, name));
CORUN_NATIVE(hostent *, gethostbyname2, (const char *name, int type),
             ask_reentrant_one(native_gethostbyname2_r, name, type));
CORUN_NATIVE(hostent *, gethostbyaddr, (const void *address, socklen_t length, int type),
             ask_reentrant_one(native_gethostbyaddr_r, address, length, type));

namespace {

void get_host(helper_request *r) {
    auto *h = static_cast<host_request *>(r);
    char *buffer = at_offset<char>(r, h->buffer);
    const char *key = at_offset<char>(r, h->key);
    if (h->how == by::name)
        h->code = native_gethostbyname_r(key, &h->found, buffer, h->buffer_bytes, &h->result,
                                         &h->h_error);
    else if (h->how == by::name2)
        h->code = native_gethostbyname2_r(key, h->type, &h->found, buffer, h->buffer_bytes,
                                          &h->result, &h->h_error);
    else
        h->code = native_gethostbyaddr_r(key, h->key_bytes, h->type, &h->found, buffer,
                                         h->buffer_bytes, &h->result, &h->h_error);
}

// As the _r functions: the result's pointers lead into buffer. -errno: the call was not made.
int ask(const question &q, hostent *space, char *buffer, size_t room, hostent **result,
        int *h_error) {
    *result = nullptr;
    if (room > largest_buffer)
        room = largest_buffer;
    // libc lays its pointers out from where the buffer is aligned: let ours stand as the user's does.
    size_t shift = reinterpret_cast<uintptr_t>(buffer) % 16;
    request_memory memory(sizeof(host_request) + q.key_bytes + room + shift + 3 * slack);
    auto *h = memory.make<host_request>();
    if (!h)
        return -ENOMEM;
    h->how = q.how;
    h->type = q.type;
    h->key = memory.put(q.key, q.key_bytes);
    h->key_bytes = static_cast<socklen_t>(q.key_bytes);
    h->buffer = memory.put(nullptr, room + shift) + shift;
    h->buffer_bytes = room;
    if (int e = call_on_helper(host_kind, offload_lookup, get_host, memory))
        return e;
    if (h->errno_of_call != 0)
        errno = h->errno_of_call;
    *h_error = h->h_error;
    if (h->code != 0 || !h->result)
        return h->code;
    memcpy(buffer, at_offset<char>(h, h->buffer), room);
    *space = h->found;
    moved(space->h_name, h, h->buffer, room, buffer);
    moved(space->h_aliases, h, h->buffer, room, buffer);
    moved(space->h_addr_list, h, h->buffer, room, buffer);
    moved_array(space->h_aliases, h, h->buffer, room, buffer);
    moved_array(space->h_addr_list, h, h->buffer, room, buffer);
    *result = space;
    return 0;
}

int ask_reentrant(const question &q, hostent *space, char *buffer, size_t room, hostent **result,
                  int *h_error) {
    int e = ask(q, space, buffer, room, result, h_error);
    if (e >= 0)
        return e;
    *h_error = NETDB_INTERNAL;
    errno = leave_wait(-e);
    return errno;
}

// hostent and buffer stand side by side in the coroutine's own memory.
hostent *ask_for_coroutine(const question &q) {
    for (size_t room = first_buffer;; room *= 4) {
        char *mine = own_result_buffer(sizeof(hostent) + room);
        hostent *result = nullptr;
        int h_error = NETDB_INTERNAL;
        int e = mine ? ask(q, reinterpret_cast<hostent *>(mine), mine + sizeof(hostent), room,
                           &result, &h_error)
                     : -ENOMEM;
        if (e == ERANGE && h_error == NETDB_INTERNAL && room < largest_buffer)
            continue;
        set_h_errno(h_error);
        if (e < 0)
            errno = leave_wait(-e);
        return result;
    }
}

question by_name(const char *name) { return {by::name, name, strlen(name) + 1, 0}; }
question by_name(const char *name, int type) { return {by::name2, name, strlen(name) + 1, type}; }
question by_address(const void *address, socklen_t length, int type) {
    return {by::address, address, length, type};
}

} // namespace

// libc's own hold a lock while they ask.
hostent *hook_gethostbyname(const char *name) {
    if (hooks_are_on(family))
        return ask_for_coroutine(by_name(name));
    without_hooks scope;
    return native_gethostbyname(name);
}
hostent *hook_gethostbyname2(const char *name, int type) {
    if (hooks_are_on(family))
        return ask_for_coroutine(by_name(name, type));
    without_hooks scope;
    return native_gethostbyname2(name, type);
}
hostent *hook_gethostbyaddr(const void *address, socklen_t length, int type) {
    if (hooks_are_on(family) && length <= first_buffer)
        return ask_for_coroutine(by_address(address, length, type));
    without_hooks scope;
    return native_gethostbyaddr(address, length, type);
}
int hook_gethostbyname_r(const char *name, hostent *space, char *buffer, size_t room,
                         hostent **result, int *h_error) {
    return hooks_are_on(family)
               ? ask_reentrant(by_name(name), space, buffer, room, result, h_error)
               : native_gethostbyname_r(name, space, buffer, room, result, h_error);
}
int hook_gethostbyname2_r(const char *name, int type, hostent *space, char *buffer, size_t room,
                          hostent **result, int *h_error) {
    return hooks_are_on(family)
               ? ask_reentrant(by_name(name, type), space, buffer, room, result, h_error)
               : native_gethostbyname2_r(name, type, space, buffer, room, result, h_error);
}
int hook_gethostbyaddr_r(const void *address, socklen_t length, int type, hostent *space,
                         char *buffer, size_t room, hostent **result, int *h_error) {
    return hooks_are_on(family) && length <= first_buffer
               ? ask_reentrant(by_address(address, length, type), space, buffer, room, result,
                               h_error)
               : native_gethostbyaddr_r(address, length, type, space, buffer, room, result,
                                        h_error);
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(gethostbyname, O),    CORUN_ENTRY(gethostbyname2, O),
    CORUN_ENTRY(gethostbyaddr, O),    CORUN_ENTRY(gethostbyname_r, O),
    CORUN_ENTRY(gethostbyname2_r, O), CORUN_ENTRY(gethostbyaddr_r, O),
};

} // namespace

CORUN_TABLE(names_host_table, entries);

} // namespace corun::symbols
