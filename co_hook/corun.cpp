// SPDX-License-Identifier: Apache-2.0
/*
 * corun - runs a program whose threads block with its threads as coroutines of one kernel thread.
 *
 *     corun [OPTION]... [--] COMMAND [ARGUMENT]...        man/corun.1 has the options
 *     corun --check COMMAND
 *     corun dump|ps|stack|top PID                         a process that runs so, looked at (launcher/inspect.h)
 *
 * It looks whether that can work, puts libcorun_waist.so in front of LD_PRELOAD and becomes the
 * program; all that follows is the library's (waist/start.cpp). What cannot work is refused here, with
 * one line and 125, because a program that is covered in part would hang in the part that is not.
 */
#include "co_hook/launcher/check.h"
#include "co_hook/launcher/environment.h"
#include "co_hook/launcher/inspect.h"
#include "co_hook/launcher/options.h"
#include "co_hook/launcher/text.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <sys/auxv.h>
#include <sys/time.h>
#include <unistd.h>

using namespace corun::launcher;

namespace {

// A profiler in LD_PRELOAD is in this process, too. Its timer outlives the exec and its handler does not:
// the program would be ended before the profiler is there again.
void stop_timers_of_preloaded() {
    const struct {
        int signal;
        decltype(ITIMER_PROF) timer;
    } all[] = {{SIGPROF, ITIMER_PROF}, {SIGVTALRM, ITIMER_VIRTUAL}, {SIGALRM, ITIMER_REAL}};
    for (const auto &each : all) {
        struct sigaction a;
        bool is_handled =
            sigaction(each.signal, nullptr, &a) == 0 && a.sa_handler != SIG_DFL &&
            a.sa_handler != SIG_IGN; // else the timer is our parent's, and the program's
        const itimerval never{};
        if (is_handled)
            setitimer(each.timer, &never, nullptr);
    }
}

[[noreturn]] void become(const char *path, char **arguments) {
    stop_timers_of_preloaded();
    execv(path, arguments);
    int error = errno;
    fail(error == ENOENT ? exit_not_found : exit_not_executable, "%s: %s", path, strerror(error));
}

// One line for the finding; ends here, unless the program may be run without corun.
void refuse_or_warn(const char *command, const finding &f, bool or_native) {
    const char *line = text("%s: %s%s%s", command, f.what, f.advice == nullptr ? "" : "; ",
                            f.advice == nullptr ? "" : f.advice);
    if (f.is == weight::never || !or_native)
        fail(exit_cannot, "%s%s", line,
             f.is == weight::never ? "" : " (--or-native runs it without corun)");
    warn("%s; it is run without corun", line);
}

// A program that is there to start another one is seldom what was meant.
void warn_of_children(const char *name, const program &p) {
    if (p.script != nullptr && is_shell(p.file))
        warn("%s is a script for %s, and what it starts runs natively; name the program itself, or "
             "use "
             "--inherit",
             name, base_name(p.file));
    else if (is_wrapper(p.file) && p.arguments[1] != nullptr)
        warn("%s starts another program, and that one runs natively; put corun behind it, or use "
             "--inherit",
             name);
}

} // namespace

int main(int, char **argv) {
    if (getauxval(AT_SECURE) != 0)
        fail(exit_cannot, "corun itself must not be setuid or have capabilities");
    if (asks_for_inspection(argv))
        return inspect(argv);
    options o = parse_options(argv);
    char *name = o.command[0];
    subject s = look_at(o.command);
    if (o.check)
        return report(s);
    findings found;
    judge(s, &found);
    const finding *reason = found.reason();
    if (reason == nullptr) {
        const char *problem = hand_over(o, s.waist);
        finding unusable = {weight::cannot, problem, nullptr};
        if (problem != nullptr)
            refuse_or_warn(name, unusable, o.or_native);
        else if (!o.inherit)
            warn_of_children(name, s.what);
    } else {
        refuse_or_warn(name, *reason, o.or_native);
    }
    become(s.what.path, s.what.arguments);
}
