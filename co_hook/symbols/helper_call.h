// SPDX-License-Identifier: Apache-2.0
// libc's functions that ask a name service, made on a helper thread: DNS, /etc/passwd, LDAP, whatever
// nsswitch.conf says.
//
//     struct wanted : helper_request { int type; size_t name; char bytes[]; };
//     request_memory memory(sizeof(wanted) + room);         // of the pool: goes with the coroutine
//     wanted *w = memory.make<wanted>();
//     w->name = put_text(memory, name);
//     int e = call_on_helper(kind, offload_lookup, look_up, memory);   // -errno: it was not made
//     ... w->errno_of_call, w->h_errno_of_call; place(*w, pointer, users) ...
//
// Rules
//  - The helper works on a copy: what a request points to is named by offsets into its own bytes.
//    What libc left there as pointers is moved to the caller's memory by moved().
//  - The resolver's settings of the calling thread (_res, where the program has set it) go with it.
//  - The caller's memory is touched by the caller alone, while it runs.
#pragma once

#include "co_hook/calls/wait.h"
#include "co_hook/symbols/hook.h"
#include "co_routine/loop/offload.h"

#include <cstring>
#include <netinet/in.h>
#include <resolv.h>

namespace corun::symbols {

// What a program may have set in _res, and what a lookup depends on.
struct resolver_settings {
    bool set; // else what resolv.conf says
    int retrans, retry, server_count;
    unsigned long options;
    unsigned ndots;
    sockaddr_in servers[MAXNS];
};

struct helper_request {
    char *made_at;     // where it was while the call was made
    int errno_of_call; // 0: it did not touch errno
    int h_errno_of_call;
    size_t used; // bytes, with this header
    resolver_settings settings;
};

class request_memory {
  public:
    explicit request_memory(size_t bytes) : block_(bytes), bytes_(bytes) {}
    char *data() const { return block_.data(); }
    size_t bytes() const { return bytes_; }
    helper_request *request() const { return reinterpret_cast<helper_request *>(data()); }
    // nullptr: no memory. All zero.
    template <class T> T *make() const {
        if (!data())
            return nullptr;
        memset(data(), 0, bytes_);
        request()->used = (sizeof(T) + 15) & ~size_t{15};
        return reinterpret_cast<T *>(data());
    }
    // Offset of a copy of n bytes (or of room, where from is null). The room was counted before.
    size_t put(const void *from, size_t n) const {
        size_t at = request()->used;
        if (from)
            memcpy(data() + at, from, n);
        request()->used += (n + 15) & ~size_t{15};
        return at;
    }
    // 0: there is no such text.
    size_t put_text(const char *text) const { return text ? put(text, strlen(text) + 1) : 0; }

  private:
    calls::pool_block block_;
    size_t bytes_;
};

inline constexpr size_t slack = 16; // put rounds up
inline size_t text_room(const char *text) { return text ? strlen(text) + 1 + slack : slack; }

template <class T> T *at_offset(helper_request *r, size_t offset) {
    return offset ? reinterpret_cast<T *>(reinterpret_cast<char *>(r) + offset) : nullptr;
}

// The call: 0 when it was made; else -ENOMEM, -EAGAIN, -ECANCELED.
int call_on_helper(const wait_kind &kind, offload_kind how, void (*call)(helper_request *),
                   const request_memory &memory, offload_late on_late = nullptr);

// A pointer that libc left in the bytes [from, from + n) of a request, as it is in to.
template <class T>
void moved(T *&pointer, const helper_request *r, size_t from, size_t n, char *to) {
    uintptr_t base = reinterpret_cast<uintptr_t>(r->made_at) + from;
    uintptr_t p = reinterpret_cast<uintptr_t>(pointer);
    if (p >= base && p <= base + n)
        pointer = reinterpret_cast<T *>(to + (p - base));
}
// The same for an array of pointers that ends with a null one, already at its place in to.
inline void moved_array(char **array, const helper_request *r, size_t from, size_t n, char *to) {
    for (; array && *array; ++array)
        moved(*array, r, from, n, to);
}

// The _res of the calling thread is brought up to these settings, or back to its own.
void adopt_resolver_settings(const resolver_settings &settings);

// h_errno of the running coroutine, as the program sees it.
void set_h_errno(int value);
int native_h_errno(); // libc's, of the thread
void set_native_h_errno(int value);

// What gethostbyname and kin return belongs to the coroutine: a buffer of its own, at least so large;
// nullptr: no memory.
char *own_result_buffer(size_t bytes);

} // namespace corun::symbols
