// SPDX-License-Identifier: Apache-2.0
// Children on their parent's memory that close what they were born with, while threads of the parent wait
// for it (contract 40). children_test.sh compares with native threads.
#include "tests/waist/signals.h"

#include <spawn.h>

enum { connections = 8 };
static int here[connections], there[connections];
static pid_t parent;

// Says each byte again, one higher, and only in the process that it belongs to.
static void *echo(void *fd) {
    char c;
    while (read(*(int *)fd, &c, 1) == 1) {
        c = getpid() == parent ? (char)(c + 1) : '?';
        if (write(*(int *)fd, &c, 1) != 1)
            abort();
    }
    return NULL;
}
static void ask(void) {
    for (int i = 0; i < connections; ++i) {
        char c = (char)('a' + i);
        if (write(there[i], &c, 1) != 1)
            abort();
    }
}
static int answers(void) {
    int right = 0;
    for (int i = 0; i < connections; ++i) {
        char c;
        right += read(there[i], &c, 1) == 1 && c == 'b' + i;
    }
    return right;
}

static void close_one_by_one(void) {
    for (int fd = 3; fd < 100; ++fd)
        close(fd);
}
static void close_in_one(void) { syscall(SYS_close_range, 3, ~0U, 0); }
static void replace(void) {
    for (int i = 0; i < connections; ++i)
        dup2(0, here[i]);
}
static pid_t with_vfork(void (*closing)(void)) {
    pid_t child = vfork();
    if (child != 0)
        return child;
    poll(NULL, 0, 1); // nobody else may run here, on its parent's memory
    closing();
    _exit(3);
}
static pid_t with_spawn(void) {
    char *program[] = {"true", NULL};
    posix_spawn_file_actions_t actions;
    pid_t child = -1;
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < connections; ++i)
        posix_spawn_file_actions_addclose(&actions, here[i]);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnp(&child, program[0], &actions, NULL, program, environ);
    posix_spawn_file_actions_destroy(&actions);
    return child;
}

int main(void) {
    static void (*const ways[])(void) = {close_one_by_one, close_in_one, replace, NULL};
    static const char *const names[] = {"close", "close_range", "dup2", "posix_spawn"};
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_t threads[connections];
    parent = getpid();
    for (int i = 0; i < connections; ++i) {
        int both[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, both) != 0)
            return 1;
        here[i] = both[0];
        there[i] = both[1];
        pthread_create(&threads[i], NULL, echo, &here[i]);
    }
    ask();
    printf("before: %d of %d answer\n", answers(), connections);
    for (int way = 0; way < 4; ++way)
        for (int n = 0; n < 3; ++n) {
            int status;
            ask(); // now its parent's threads could run
            pid_t child = ways[way] ? with_vfork(ways[way]) : with_spawn();
            printf("%s: %d of %d answer\n", names[way], answers(), connections);
            ask(); // and what was asked before the child is gone is no edge any more
            printf("... and again: %d\n", answers());
            waitpid(child, &status, 0);
            printf("the child's status: %d\n", WEXITSTATUS(status));
        }
    for (int i = 0; i < connections; ++i) {
        close(there[i]);
        pthread_join(threads[i], NULL);
    }
    return 0;
}
