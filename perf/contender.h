// SPDX-License-Identifier: Apache-2.0
/*
 * contender.h - one echo server with one echo_load against it, for demo and echo_compare.
 *
 *     perf::contender c;
 *     if (!c.start_server({"./echo_server", "0"}, 0)) puts(c.problem().c_str());
 *     c.start_load({"--connections", "1000"}, 1);
 *     while (c.next_line(&line)) ...            // "progress ...", "ready", "result ..."
 *     c.finish();
 *
 * Rules
 *  - The server's first line is "listening on 127.0.0.1:PORT". One that says nothing within 10 s, or
 *    ends, has not started.
 *  - After finish(), problem() is empty only if both programs did what they should: the load ended
 *    with 0, and the server was still there to be stopped.
 */
#ifndef CORUN_PERF_CONTENDER_H
#define CORUN_PERF_CONTENDER_H

#include "perf/process.h"

#include <string>
#include <vector>

namespace perf {

inline std::string describe_status(int status) {
    if (status == -1)
        return "had to be killed";
    if (WIFSIGNALED(status))
        return std::string("was ended by ") + strsignal(WTERMSIG(status));
    return "ended with " + std::to_string(WEXITSTATUS(status));
}

class contender {
  public:
    bool start_server(const std::vector<std::string> &command, int cpu) {
        if (!server_.start(command, cpu))
            return fail(command[0] + ": " + strerror(errno));
        std::string line;
        auto got = server_.read_line(&line, 10000);
        const std::string greeting = "listening on 127.0.0.1:";
        if (got == child::read_result::line && line.rfind(greeting, 0) == 0) {
            port_ = line.substr(greeting.size());
            return true;
        }
        if (got == child::read_result::end)
            return fail(command[0] + " " + describe_status(server_.wait_end(1000)) +
                        " before it listened");
        server_.stop();
        return fail(command[0] + " did not say that it listens");
    }

    bool start_load(std::vector<std::string> options, int cpu) {
        std::vector<std::string> command = {own_directory() + "/echo_load", "--kv", "--port",
                                            port_};
        command.insert(command.end(), options.begin(), options.end());
        if (!load_.start(command, cpu))
            return fail(command[0] + ": " + strerror(errno));
        return true;
    }

    pid_t server_pid() const { return server_.pid(); }

    // The load's next line, or an empty one when none came within a second; false when the load has
    // nothing more to say.
    bool next_line(std::string *line) {
        line->clear();
        return load_.read_line(line, 1000) != child::read_result::end;
    }

    void finish() {
        int load_status = 0, server_status = 0;
        if (load_.started())
            load_status = load_.wait_end(10000);
        // The load's connections are closed now: a server that cannot stand that ends here. One that
        // took the load down with it is given a moment to be found dead: it is the cause.
        bool server_ended = server_.ended(&server_status);
        for (int i = 0; i < 20 && load_status != 0 && !server_ended; i++) {
            poll(nullptr, 0, 10);
            server_ended = server_.ended(&server_status);
        }
        if (server_ended)
            fail("the server " + describe_status(server_status));
        else if (load_status != 0)
            fail("echo_load " + describe_status(load_status));
        server_.stop();
    }

    void stop() {
        load_.stop();
        server_.stop();
    }

    const std::string &problem() const { return problem_; }

  private:
    bool fail(const std::string &what) {
        if (problem_.empty())
            problem_ = what;
        return false;
    }

    child server_, load_;
    std::string port_, problem_;
};

} // namespace perf

#endif
