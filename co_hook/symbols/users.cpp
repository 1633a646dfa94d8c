// SPDX-License-Identifier: Apache-2.0
// Users and groups, as nsswitch.conf has them (files, LDAP, sssd): libc's own functions on a helper.
// The ones that are not reentrant (getpwnam ...) return memory of libc's and stay as they are.
#include "co_hook/symbols/helper_call.h"
#include "co_hook/symbols/without_hooks.h"

#include <grp.h>
#include <pwd.h>
#include <shadow.h>

namespace corun::symbols {
namespace {

constexpr unsigned family = CO_HOOK_USERS;
constexpr wait_kind user_kind{"getpwnam", false, nullptr};
constexpr size_t largest_buffer = 1024 * 1024;

// Entry: passwd, group or spwd; f: libc's function with the entry, the buffer and where the result goes.
template <class Entry> struct entry_request : helper_request {
    int (*f)(const entry_request *, Entry *, char *, size_t, Entry **);
    size_t name, buffer, room;
    id_t id;
    int code;
    Entry entry;
    Entry *found;
};

template <class Entry> void get_entry(helper_request *r) {
    auto *q = static_cast<entry_request<Entry> *>(r);
    q->code = q->f(q, &q->entry, at_offset<char>(r, q->buffer), q->room, &q->found);
}

struct mover {
    const helper_request *request;
    size_t from, room;
    char *to;
    void operator()(char *&pointer) const { moved(pointer, request, from, room, to); }
};

void move_pointers(passwd *p, const mover &move) {
    move(p->pw_name);
    move(p->pw_passwd);
    move(p->pw_gecos);
    move(p->pw_dir);
    move(p->pw_shell);
}
void move_pointers(group *g, const mover &move) {
    move(g->gr_name);
    move(g->gr_passwd);
    moved(g->gr_mem, move.request, move.from, move.room, move.to);
    moved_array(g->gr_mem, move.request, move.from, move.room, move.to);
}
void move_pointers(spwd *s, const mover &move) {
    move(s->sp_namp);
    move(s->sp_pwdp);
}

template <class Entry>
int ask(int (*f)(const entry_request<Entry> *, Entry *, char *, size_t, Entry **), const char *name,
        id_t id, Entry *space, char *buffer, size_t room, Entry **result) {
    *result = nullptr;
    if (room > largest_buffer)
        room = largest_buffer;
    size_t shift = reinterpret_cast<uintptr_t>(buffer) % 16; // libc aligns its pointers in there
    request_memory memory(sizeof(entry_request<Entry>) + text_room(name) + room + shift +
                          3 * slack);
    auto *q = memory.make<entry_request<Entry>>();
    if (!q)
        return ENOMEM;
    q->f = f;
    q->name = memory.put_text(name);
    q->id = id;
    q->buffer = memory.put(nullptr, room + shift) + shift;
    q->room = room;
    if (int e = call_on_helper(user_kind, offload_lookup, get_entry<Entry>, memory)) {
        errno = leave_wait(-e);
        return errno;
    }
    if (q->errno_of_call != 0)
        errno = q->errno_of_call;
    if (q->code != 0 || !q->found)
        return q->code;
    memcpy(buffer, at_offset<char>(q, q->buffer), room);
    *space = q->entry;
    move_pointers(space, {q, q->buffer, room, buffer});
    *result = space;
    return 0;
}

} // namespace

#define CORUN_ENTRY_OF(name, Entry, Key, key)                                                      \
    CORUN_NATIVE(int, name, (Key key, Entry * space, char *buffer, size_t room, Entry **result),   \
                 ((void)key, (void)space, (void)buffer, (void)room, (void)result, ENOSYS));
#define CORUN_BY_NAME(name_, Entry)                                                                \
    CORUN_ENTRY_OF(name_, Entry, const char *, name)                                               \
    int hook_##name_(const char *name, Entry *space, char *buffer, size_t room, Entry **result) {  \
        if (!hooks_are_on(family))                                                                 \
            return native_##name_(name, space, buffer, room, result);                              \
        return ask<Entry>(                                                                         \
            [](const entry_request<Entry> *q, Entry *e, char *b, size_t n, Entry **found) {        \
                return native_##name_(                                                             \
                    at_offset<char>(const_cast<entry_request<Entry> *>(q), q->name), e, b, n,      \
                    found);                                                                        \
            },                                                                                     \
            name, 0, space, buffer, room, result);                                                 \
    }
#define CORUN_BY_ID(name_, Entry)                                                                  \
    CORUN_ENTRY_OF(name_, Entry, id_t, id)                                                         \
    int hook_##name_(id_t id, Entry *space, char *buffer, size_t room, Entry **result) {           \
        if (!hooks_are_on(family))                                                                 \
            return native_##name_(id, space, buffer, room, result);                                \
        return ask<Entry>([](const entry_request<Entry> *q, Entry *e, char *b, size_t n,           \
                             Entry **found) { return native_##name_(q->id, e, b, n, found); },     \
                          nullptr, id, space, buffer, room, result);                               \
    }
// The next entry of the process's one enumeration, under libc's lock.
#define CORUN_NEXT(name_, Entry)                                                                   \
    CORUN_NATIVE(int, name_, (Entry * space, char *buffer, size_t room, Entry **result),           \
                 ((void)space, (void)buffer, (void)room, (void)result, ENOSYS));                   \
    int hook_##name_(Entry *space, char *buffer, size_t room, Entry **result) {                    \
        if (!hooks_are_on(family)) {                                                               \
            without_hooks scope;                                                                   \
            return native_##name_(space, buffer, room, result);                                    \
        }                                                                                          \
        return ask<Entry>([](const entry_request<Entry> *, Entry *e, char *b, size_t n,            \
                             Entry **found) { return native_##name_(e, b, n, found); },            \
                          nullptr, 0, space, buffer, room, result);                                \
    }

CORUN_BY_NAME(getpwnam_r, passwd)
CORUN_BY_ID(getpwuid_r, passwd)
CORUN_NEXT(getpwent_r, passwd)
CORUN_BY_NAME(getgrnam_r, group)
CORUN_BY_ID(getgrgid_r, group)
CORUN_NEXT(getgrent_r, group)
CORUN_BY_NAME(getspnam_r, spwd)
CORUN_NEXT(getspent_r, spwd)

// ---- getgrouplist

CORUN_NATIVE(int, getgrouplist, (const char *user, gid_t group, gid_t *groups, int *count),
             ((void)user, (void)group, (void)groups, (void)count, plain_result<int>(-ENOSYS)));

namespace {

struct groups_request : helper_request {
    size_t user, groups;
    gid_t group;
    int count, code;
};

void get_groups(helper_request *r) {
    auto *g = static_cast<groups_request *>(r);
    g->code = native_getgrouplist(at_offset<char>(r, g->user), g->group,
                                  at_offset<gid_t>(r, g->groups), &g->count);
}

} // namespace

int hook_getgrouplist(const char *user, gid_t group, gid_t *groups, int *count) {
    constexpr int most_groups = 65536; // the kernel's NGROUPS_MAX
    if (!hooks_are_on(family))
        return native_getgrouplist(user, group, groups, count);
    int room = *count < 0 ? 0 : *count < most_groups ? *count : most_groups;
    size_t bytes = static_cast<size_t>(room) * sizeof(gid_t);
    request_memory memory(sizeof(groups_request) + text_room(user) + bytes + 2 * slack);
    auto *g = memory.make<groups_request>();
    if (!g)
        return plain_result<int>(-ENOMEM);
    g->user = memory.put_text(user);
    g->groups = memory.put(nullptr, bytes);
    g->group = group;
    g->count = room;
    if (int e = call_on_helper(user_kind, offload_lookup, get_groups, memory))
        return to_libc<int>(e);
    if (g->errno_of_call != 0)
        errno = g->errno_of_call;
    int filled = g->count < room ? g->count : room;
    if (filled > 0)
        memcpy(groups, at_offset<gid_t>(g, g->groups), static_cast<size_t>(filled) * sizeof(gid_t));
    *count = g->count;
    return g->code;
}

namespace {

const hook_entry entries[] = {
    CORUN_ENTRY(getpwnam_r, O), CORUN_ENTRY(getpwuid_r, O), CORUN_ENTRY(getpwent_r, O),
    CORUN_ENTRY(getgrnam_r, O), CORUN_ENTRY(getgrgid_r, O), CORUN_ENTRY(getgrent_r, O),
    CORUN_ENTRY(getspnam_r, O), CORUN_ENTRY(getspent_r, O), CORUN_ENTRY(getgrouplist, O),
};

} // namespace

CORUN_TABLE(users_table, entries);

} // namespace corun::symbols
