// SPDX-License-Identifier: Apache-2.0
// Random programs: a few hundred operations on pipes, sockets, eventfds, timerfds and files by
// several partners, made from a seed. The same program runs on threads and in coroutines.
//
//     both_traces t = traces_of([&](side &s) { program(seed).run(s); });
//
// Only what is promised may reach a trace, so that threads alone give the same one each time:
//  - One step is under way at a time. The body tells those who take part in it to begin, over pipes,
//    and goes on when they have said that they are done.
//  - A step of one actor (program_local.h) never blocks for ever: where it cannot know, the object is
//    asked first, or the descriptor does not block, or has a time limit.
//  - A step of several (program_joint.h) has one reader and one writer for each object, and gives the
//    same whoever comes first: bytes of a stream are summed up, messages are told one by one, waits are
//    for what happens once.
//  - Numbers of descriptors are not told, but what they lead to.
//
// Left out, because corun differs on purpose there: close and dup2 of a descriptor that somebody
// waits on (the waiter gets EBADF; the kernel leaves it asleep). See lifetime_test.cpp.
#pragma once

#include "tests/hooks/program_joint.h"
#include "tests/hooks/program_local.h"

namespace random_program {

class program {
  public:
    explicit program(uint64_t seed) : d_(seed), actors_(2 + static_cast<int>(d_.below(3))) {}

    void run(side &body) {
        objects_.resize(10);
        for (object &o : objects_)
            o.open(static_cast<kind>(d_.below(kinds)), d_);
        std::vector<int[2]> go_pipes(static_cast<size_t>(actors_));
        int done[2];
        object::check(pipe(done));
        for (int a = 0; a < actors_; ++a) {
            int *p = go_pipes[static_cast<size_t>(a)];
            object::check(pipe(p));
            body.partner([this, from = p[0], to = done[1]](side &s) { act(s, from, to); });
        }
        int steps = 60 + static_cast<int>(d_.below(60));
        for (int i = 0; i < steps; ++i)
            one_step(body, go_pipes, done[0]);
        order last{};
        last.what = order::stop;
        for (int a = 0; a < actors_; ++a)
            object::check(
                static_cast<int>(write(go_pipes[static_cast<size_t>(a)][1], &last, sizeof last)));
        body.join();
        for (auto &p : go_pipes) {
            close(p[0]);
            close(p[1]);
        }
        close(done[0]);
        close(done[1]);
        for (object &o : objects_)
            o.shut();
    }

  private:
    struct order {
        enum { local, joint, stop } what;
        unsigned kind;
        int role, at[2];
        uint64_t seed;
    };

    void one_step(side &body, std::vector<int[2]> &go_pipes, int done) {
        order o{};
        o.what = d_.below(3) < 2 ? order::local : order::joint;
        o.seed = d_.below(1U << 30);
        o.at[0] = static_cast<int>(d_.below(static_cast<unsigned>(objects_.size())));
        o.at[1] = (o.at[0] + 1) % static_cast<int>(objects_.size());
        unsigned first = d_.below(static_cast<unsigned>(actors_));
        int roles = 1;
        if (o.what == order::joint) {
            do
                o.kind = d_.below(joint_step_count);
            while (joint_steps[o.kind].roles > actors_);
            roles = joint_steps[o.kind].roles;
            dice own(o.seed);
            joint_steps[o.kind].prepare(objects_, o.at, own);
            body.says(joint_steps[o.kind].name, o.at[0]);
        }
        for (int role = 0; role < roles; ++role) {
            o.role = role;
            size_t actor = (first + static_cast<unsigned>(role)) % static_cast<unsigned>(actors_);
            object::check(static_cast<int>(write(go_pipes[actor][1], &o, sizeof o)));
        }
        for (char c; roles > 0; --roles)
            object::check(static_cast<int>(read(done, &c, 1)));
    }

    void act(side &s, int from, int to) {
        order o;
        while (read(from, &o, sizeof o) == sizeof o && o.what != order::stop) {
            dice d(o.seed);
            if (o.what == order::local)
                for (unsigned n = 1 + d.below(4); n > 0; --n)
                    local_step(s, objects_[static_cast<size_t>(o.at[0])], d);
            else
                joint_steps[o.kind].play(s, o.role, objects_, o.at, d);
            object::check(static_cast<int>(write(to, "d", 1)));
        }
    }

    dice d_;
    int actors_;
    std::vector<object> objects_;
};

} // namespace random_program
