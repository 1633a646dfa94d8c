// SPDX-License-Identifier: Apache-2.0
// libc's functions in a -static program, where dlsym finds nothing and libc's own name is ours: libc.a
// has most of them a second time under an internal name. A weak reference to that finds it where it
// is linked already; static_program.cpp has strong ones, which bring all of them along:
//
//     cc -static program.c libcorun.a -Wl,-u,co_static -pthread
//
// What has no other name there is libc's own, unless the linker is told to lead calls to our
// __wrap_name (hook.h), which finds libc's function as __real_name:
//
//     ... -Wl,--wrap=getaddrinfo,--wrap=syslog
#pragma once

namespace corun::symbols {

// libc's function, or nullptr: there is none, or it is not linked (or the program is not static).
void *static_native(const char *name);

// Where the program's calls of this name lead if libc's object has it besides others that the program
// (or co_static) needs: to libc's, or with -Wl,--wrap=name to our hook. nullptr: another name.
void *static_wrapped(const char *name);

// Is this a -static program without them?
bool lacks_static_names();
bool is_static_program();

} // namespace corun::symbols

#define CORUN_STATIC_WRAPPED(X)                                                                    \
    X(getaddrinfo)                                                                                 \
    X(syslog)                                                                                      \
    X(__syslog_chk)                                                                                \
    X(__vsyslog_chk)                                                                               \
    X(openlog)                                                                                     \
    X(closelog)

// Hooked name, libc.a's internal one (never one that libc.so.6 exports).
#define CORUN_STATIC_NAMES_BOTH(X)                                                                 \
    X(opendir, __opendir)                                                                          \
    X(fdopendir, __fdopendir)                                                                      \
    X(closedir, __closedir)                                                                        \
    X(readdir, __readdir)                                                                          \
    X(readdir_r, __readdir_r)                                                                      \
    X(rewinddir, __rewinddir)                                                                      \
    X(realpath, __realpath)                                                                        \
    X(vsyslog, __vsyslog)                                                                          \
    X(aio_suspend, __aio_suspend)                                                                  \
    X(lio_listio, __lio_listio_24)                                                                 \
    X(fsetpos, _IO_new_fsetpos)                                                                    \
    X(fsetpos64, _IO_new_fsetpos64)                                                                \
    X(setuid, __setuid)                                                                            \
    X(setgid, __setgid)                                                                            \
    X(setreuid, __setreuid)                                                                        \
    X(setregid, __setregid)                                                                        \
    X(setresuid, __setresuid)                                                                      \
    X(setresgid, __setresgid)                                                                      \
    X(getpwnam_r, __getpwnam_r)                                                                    \
    X(getpwuid_r, __getpwuid_r)                                                                    \
    X(getpwent_r, __getpwent_r)                                                                    \
    X(getgrnam_r, __getgrnam_r)                                                                    \
    X(getgrgid_r, __getgrgid_r)                                                                    \
    X(getgrent_r, __getgrent_r)                                                                    \
    X(getspnam_r, __getspnam_r)                                                                    \
    X(getspent_r, __getspent_r)                                                                    \
    X(gethostbyname_r, __gethostbyname_r)                                                          \
    X(gethostbyname2_r, __gethostbyname2_r)                                                        \
    X(gethostbyaddr_r, __gethostbyaddr_r)                                                          \
    X(res_query, ___res_query)                                                                     \
    X(res_search, ___res_search)                                                                   \
    X(res_querydomain, ___res_querydomain)                                                         \
    X(res_send, ___res_send)                                                                       \
    X(res_nquery, ___res_nquery)                                                                   \
    X(res_nsearch, ___res_nsearch)                                                                 \
    X(res_nquerydomain, ___res_nquerydomain)                                                       \
    X(res_nsend, ___res_nsend)
#if defined(__i386__)
#define CORUN_STATIC_NAMES(X)                                                                      \
    CORUN_STATIC_NAMES_BOTH(X)                                                                     \
    X(readdir64, __readdir64)                                                                      \
    X(readdir64_r, __readdir64_r)                                                                  \
    X(lio_listio64, __lio_listio64_24)                                                             \
    X(gai_suspend, ___gai_suspend)                                                                 \
    X(__aio_suspend_time64, ___aio_suspend_time64)                                                 \
    X(__gai_suspend_time64, ___gai_suspend_time64)
#else
#define CORUN_STATIC_NAMES(X)                                                                      \
    CORUN_STATIC_NAMES_BOTH(X)                                                                     \
    X(gai_suspend, ___gai_suspend_time64)
#endif
