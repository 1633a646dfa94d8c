// SPDX-License-Identifier: Apache-2.0
// syslog: the message is made by the caller, sent by a helper: the daemon may be slow, and libc holds
// one lock for all while it waits for it.
#include "co_hook/symbols/helper_call.h"

#include <cstdarg>
#include <cstdio>

extern "C" int __vsnprintf_chk(char *, size_t, int, size_t, const char *, va_list) noexcept;

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_USERS;
constexpr wait_kind syslog_kind{"syslog", false, nullptr};
constexpr size_t usual_message = 512;

} // namespace

CORUN_NATIVE(void, vsyslog, (int priority, const char *format, va_list list),
             ((void)priority, (void)format, (void)list));
CORUN_NATIVE(void, __vsyslog_chk, (int priority, int flag, const char *format, va_list list),
             native_vsyslog(priority, ((void)flag, format), list));
CORUN_NATIVE(void, openlog, (const char *ident, int option, int facility),
             ((void)ident, (void)option, (void)facility));
CORUN_NATIVE(void, closelog, (), (void)0);
CORUN_WEAK_HOOK(__vsyslog_chk);
CORUN_WEAK_HOOK(openlog);
CORUN_WEAK_HOOK(closelog);

namespace {

struct log_request : helper_request {
    enum { message, open, close } what;
    size_t text;
    const char *ident; // libc keeps the pointer: it is the program's promise
    int priority, option;
};

[[gnu::format(printf, 2, 3)]] void native_syslog_text(int priority, const char *format, ...) {
    va_list list;
    va_start(list, format);
    native_vsyslog(priority, format, list);
    va_end(list);
}

void log_on_helper(helper_request *r) {
    auto *l = static_cast<log_request *>(r);
    if (l->what == log_request::message)
        native_syslog_text(l->priority, "%s", at_offset<char>(r, l->text));
    else if (l->what == log_request::open)
        native_openlog(l->ident, l->option, l->priority);
    else
        native_closelog();
}

void hand_over(const request_memory &memory) {
    int before = errno; // none of these functions tells of an error
    int e = call_on_helper(syslog_kind, offload_own, log_on_helper, memory);
    leave_wait(-e);
    errno = before;
}

// The text takes the place of format and arguments; %m is the caller's errno.
void log_text(int priority, int flag, const char *format, va_list list) {
    int before = errno;
    size_t room = usual_message;
    for (int tries = 0; tries < 2; ++tries) {
        request_memory memory(sizeof(log_request) + room + 2 * slack);
        auto *l = memory.make<log_request>();
        if (!l)
            return;
        l->what = log_request::message;
        l->priority = priority;
        l->text = memory.put(nullptr, room);
        va_list again;
        va_copy(again, list);
        errno = before;
        int n = __vsnprintf_chk(at_offset<char>(l, l->text), room, flag, SIZE_MAX, format, again);
        va_end(again);
        errno = before;
        if (n < 0)
            return;
        if (static_cast<size_t>(n) < room)
            return hand_over(memory);
        room = static_cast<size_t>(n) + 1;
    }
}

void log_list(int priority, int flag, const char *format, va_list list) {
    if (hooks_are_on(family))
        log_text(priority, flag, format, list);
    else if (flag != 0)
        native___vsyslog_chk(priority, flag, format, list);
    else
        native_vsyslog(priority, format, list);
}

} // namespace

void hook_vsyslog(int priority, const char *format, va_list list) {
    log_list(priority, 0, format, list);
}
void hook___vsyslog_chk(int priority, int flag, const char *format, va_list list) {
    log_list(priority, flag, format, list);
}

CORUN_EXPORTED void hook_syslog(int priority, const char *format, ...) __asm__("syslog");
CORUN_WEAK_HOOK(syslog);
void hook_syslog(int priority, const char *format, ...) {
    va_list list;
    va_start(list, format);
    log_list(priority, 0, format, list);
    va_end(list);
}
CORUN_EXPORTED void hook___syslog_chk(int priority, int flag, const char *format,
                                      ...) __asm__("__syslog_chk");
CORUN_WEAK_HOOK(__syslog_chk);
void hook___syslog_chk(int priority, int flag, const char *format, ...) {
    va_list list;
    va_start(list, format);
    log_list(priority, flag, format, list);
    va_end(list);
}

// These two may wait for the lock that a helper holds while it sends.
void hook_openlog(const char *ident, int option, int facility) {
    if (!hooks_are_on(family))
        return native_openlog(ident, option, facility);
    request_memory memory(sizeof(log_request) + slack);
    if (auto *l = memory.make<log_request>()) {
        l->what = log_request::open;
        l->ident = ident;
        l->option = option;
        l->priority = facility;
        hand_over(memory);
    }
}
void hook_closelog() {
    if (!hooks_are_on(family))
        return native_closelog();
    request_memory memory(sizeof(log_request) + slack);
    if (auto *l = memory.make<log_request>()) {
        l->what = log_request::close;
        hand_over(memory);
    }
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(vsyslog, O),           CORUN_WEAK_ENTRY(__vsyslog_chk, O),
    CORUN_WEAK_ALIAS_ENTRY(syslog, O), CORUN_WEAK_ALIAS_ENTRY(__syslog_chk, O),
    CORUN_WEAK_ENTRY(openlog, O),      CORUN_WEAK_ENTRY(closelog, O),
};

} // namespace

CORUN_TABLE(syslog_table, entries);

} // namespace corun::symbols
