// SPDX-License-Identifier: Apache-2.0
/*
 * legacy_server - a small key-value service, written the way one did when a thread was how to serve
 * a client: pthreads, blocking reads and writes, one mutex around the table. C99 and POSIX.
 *
 *     legacy_server [--port N] [--stack KILOBYTES] [--log FILE]
 *
 * Listens on 127.0.0.1, port 7777 or N (0: the system chooses), and prints "listening on
 * 127.0.0.1:PORT". Each line is a command, each answer a line:
 *
 *     put KEY TEXT     ok
 *     get KEY          ok TEXT, or: no such key
 *     del KEY          ok, or: no such key
 *     wait KEY MS      like get, but waits so long for somebody to put it
 *     echo TEXT        TEXT
 *     count            ok NUMBER                  of keys
 *     time             ok 1998-04-01 12:00:00     local time
 *     quit             bye                        and the connection ends
 *
 * SIGTERM and SIGINT end it: it stops accepting, ends the connections, waits for their threads,
 * writes the rest of the log, and says on stderr how much it has done.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 1536, BUCKETS = 4096, LOG_LINES = 64, LOG_BYTES = 120 };

static void die(const char *what, int error) {
    fprintf(stderr, "legacy_server: %s: %s\n", what, strerror(error));
    exit(1);
}

/* ---- The log: who has something to say puts it into a ring, one thread writes it ------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t has_lines, has_room;
    char lines[LOG_LINES][LOG_BYTES];
    unsigned written, said; /* how many, ever */
    int ended;
    FILE *file;
} journal = {.lock = PTHREAD_MUTEX_INITIALIZER,
             .has_lines = PTHREAD_COND_INITIALIZER,
             .has_room = PTHREAD_COND_INITIALIZER};

static void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&journal.lock);
    while (journal.said - journal.written == LOG_LINES)
        pthread_cond_wait(&journal.has_room, &journal.lock);
    vsnprintf(journal.lines[journal.said++ % LOG_LINES], LOG_BYTES, format, arguments);
    pthread_cond_signal(&journal.has_lines);
    pthread_mutex_unlock(&journal.lock);
    va_end(arguments);
}

static void *write_journal(void *unused) {
    char line[LOG_BYTES];
    pthread_mutex_lock(&journal.lock);
    for (;;) {
        while (journal.written == journal.said && !journal.ended)
            pthread_cond_wait(&journal.has_lines, &journal.lock);
        if (journal.written == journal.said)
            break;
        memcpy(line, journal.lines[journal.written++ % LOG_LINES], sizeof line);
        pthread_cond_signal(&journal.has_room);
        if (journal.file == NULL)
            continue;
        pthread_mutex_unlock(&journal.lock);
        fprintf(journal.file, "%ld %s\n", (long)time(NULL), line);
        fflush(journal.file);
        pthread_mutex_lock(&journal.lock);
    }
    pthread_mutex_unlock(&journal.lock);
    return unused;
}

/* ---- The table -------------------------------------------------------------------------------- */

struct entry {
    struct entry *next;
    char *key, *text;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* somebody has put something */
    struct entry *buckets[BUCKETS];
    unsigned long keys;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* Where the entry of that key hangs, or would hang. With the lock held. */
static struct entry **place_of(const char *key) {
    unsigned long hash = 5381;
    for (const char *c = key; *c != '\0'; c++)
        hash = hash * 33 + (unsigned char)*c;
    struct entry **place = &table.buckets[hash % BUCKETS];
    while (*place != NULL && strcmp((*place)->key, key) != 0)
        place = &(*place)->next;
    return place;
}

static const char *put(const char *key, const char *text) {
    char *copy = strdup(text);
    if (copy == NULL)
        return "error: out of memory";
    pthread_mutex_lock(&table.lock);
    struct entry **place = place_of(key), *entry = *place;
    if (entry == NULL) {
        entry = calloc(1, sizeof *entry);
        if (entry == NULL || (entry->key = strdup(key)) == NULL) {
            pthread_mutex_unlock(&table.lock);
            free(entry);
            free(copy);
            return "error: out of memory";
        }
        *place = entry;
        table.keys++;
    }
    char *old = entry->text;
    entry->text = copy;
    pthread_cond_broadcast(&table.changed);
    pthread_mutex_unlock(&table.lock);
    free(old);
    return "ok";
}

/* Waits `patience` milliseconds for a key that is not there. */
static void get(const char *key, long patience, char *answer) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += patience / 1000;
    end.tv_nsec += patience % 1000 * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_nsec -= 1000000000;
        end.tv_sec++;
    }
    pthread_mutex_lock(&table.lock);
    struct entry *entry = *place_of(key);
    while (entry == NULL && patience > 0 &&
           pthread_cond_timedwait(&table.changed, &table.lock, &end) == 0)
        entry = *place_of(key);
    if (entry != NULL)
        snprintf(answer, LINE_BYTES, "ok %s", entry->text);
    else
        strcpy(answer, "no such key");
    pthread_mutex_unlock(&table.lock);
}

static const char *del(const char *key) {
    pthread_mutex_lock(&table.lock);
    struct entry **place = place_of(key), *entry = *place;
    if (entry != NULL) {
        *place = entry->next;
        table.keys--;
    }
    pthread_mutex_unlock(&table.lock);
    if (entry == NULL)
        return "no such key";
    free(entry->key);
    free(entry->text);
    free(entry);
    return "ok";
}

/* ---- The clients: a thread each --------------------------------------------------------------- */

struct client {
    struct client *next, **link;
    int fd;
    unsigned long requests;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t none_left;
    struct client *first;
    unsigned long connections, requests;
} clients = {.lock = PTHREAD_MUTEX_INITIALIZER, .none_left = PTHREAD_COND_INITIALIZER};

static void enlist(struct client *c) {
    pthread_mutex_lock(&clients.lock);
    clients.connections++;
    c->next = clients.first;
    c->link = &clients.first;
    if (c->next != NULL)
        c->next->link = &c->next;
    clients.first = c;
    pthread_mutex_unlock(&clients.lock);
}

/* Off the list first: who ends all connections must not meet a descriptor that is closed. */
static void leave(struct client *c) {
    pthread_mutex_lock(&clients.lock);
    clients.requests += c->requests;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    if (clients.first == NULL)
        pthread_cond_signal(&clients.none_left);
    pthread_mutex_unlock(&clients.lock);
    close(c->fd);
    free(c);
}

static int is_command(char *line, const char *command, char **rest) {
    size_t length = strlen(command);
    if (strncmp(line, command, length) != 0 || (line[length] != ' ' && line[length] != '\0'))
        return 0;
    *rest = line + length + (line[length] == ' ');
    return 1;
}

static void tell_time(char *answer) {
    time_t now = time(NULL);
    struct tm parts;
    localtime_r(&now, &parts);
    strftime(answer, LINE_BYTES, "ok %Y-%m-%d %H:%M:%S", &parts);
}

/* One command; answer has room for LINE_BYTES. False: the client wants to go. */
static int execute(char *line, char *answer) {
    char *key, *text;
    int with_text = is_command(line, "put", &key) || is_command(line, "wait", &key);
    if (with_text || is_command(line, "get", &key) || is_command(line, "del", &key)) {
        text = strchr(key, ' ');
        if (text != NULL)
            *text++ = '\0';
        if (*key == '\0' || (text != NULL) != with_text)
            strcpy(answer, with_text ? "error: a key and a text" : "error: a key and no more");
        else if (line[0] == 'p')
            strcpy(answer, put(key, text));
        else if (line[0] == 'd')
            strcpy(answer, del(key));
        else
            get(key, with_text ? strtol(text, NULL, 10) : 0, answer);
    } else if (is_command(line, "echo", &text)) {
        strcpy(answer, text);
    } else if (is_command(line, "count", &text)) {
        pthread_mutex_lock(&table.lock);
        sprintf(answer, "ok %lu", table.keys);
        pthread_mutex_unlock(&table.lock);
    } else if (is_command(line, "time", &text)) {
        tell_time(answer);
    } else if (is_command(line, "quit", &text)) {
        strcpy(answer, "bye");
        return 0;
    } else {
        strcpy(answer, "error: put, get, del, wait, echo, count, time or quit");
    }
    return 1;
}

static int write_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        bytes += n;
        length -= (size_t)n;
    }
    return 1;
}

/* Answers the whole lines among the *have bytes and keeps the rest. False: the end. */
static int answer_lines(struct client *c, char *buffer, size_t *have) {
    char answer[LINE_BYTES + 1], *line = buffer, *end;
    int stays = 1;
    while (stays && (end = memchr(line, '\n', *have - (size_t)(line - buffer))) != NULL) {
        *end = '\0';
        if (end > line && end[-1] == '\r')
            end[-1] = '\0';
        stays = execute(line, answer);
        c->requests++;
        size_t length = strlen(answer);
        answer[length++] = '\n';
        if (!write_all(c->fd, answer, length))
            return 0;
        line = end + 1;
    }
    *have -= (size_t)(line - buffer);
    memmove(buffer, line, *have);
    return stays;
}

static void *serve(void *argument) {
    static const char too_long[] = "error: a line is at most 1500 bytes\n";
    struct client *c = argument;
    char buffer[LINE_BYTES - 32]; /* so that an answer that repeats it fits a line */
    size_t have = 0;
    for (;;) {
        ssize_t n = read(c->fd, buffer + have, sizeof buffer - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
        if (!answer_lines(c, buffer, &have))
            break;
        if (have == sizeof buffer) {
            write_all(c->fd, too_long, sizeof too_long - 1);
            break;
        }
    }
    say("a client leaves after %lu requests", c->requests);
    leave(c);
    return NULL;
}

/* ---- The server ------------------------------------------------------------------------------- */

static int listener;
static volatile sig_atomic_t stopping;

/* The signals are blocked in every thread; this one waits for them. */
static void *await_signal(void *signals) {
    int number;
    sigwait(signals, &number);
    say("signal %d", number);
    stopping = 1;
    shutdown(listener, SHUT_RDWR); /* ends the accept that main stands in */
    return NULL;
}

static void accept_clients(const pthread_attr_t *attributes) {
    while (!stopping) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        int fd = accept(listener, (struct sockaddr *)&from, &length);
        if (fd < 0) {
            const struct timespec moment = {0, 50000000};
            if (!stopping && errno != EINTR && errno != ECONNABORTED) {
                say("accept: error %d", errno);
                nanosleep(&moment, NULL); /* out of descriptors: some clients may leave */
            }
            continue;
        }
        struct client *c = calloc(1, sizeof *c);
        pthread_t thread;
        if (c == NULL) {
            close(fd);
            continue;
        }
        c->fd = fd;
        say("a client from port %d", ntohs(from.sin_port));
        enlist(c);
        int error = pthread_create(&thread, attributes, serve, c);
        if (error != 0) {
            say("no thread: error %d", error);
            leave(c);
        }
    }
}

static void end_clients(void) {
    pthread_mutex_lock(&clients.lock);
    for (struct client *c = clients.first; c != NULL; c = c->next)
        shutdown(c->fd, SHUT_RDWR);
    while (clients.first != NULL)
        pthread_cond_wait(&clients.none_left, &clients.lock);
    pthread_mutex_unlock(&clients.lock);
}

static int listen_on(long port) {
    struct sockaddr_in at;
    socklen_t length = sizeof at;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_port = htons((in_port_t)port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, length) != 0 || listen(fd, SOMAXCONN) != 0)
        die("127.0.0.1", errno);
    getsockname(fd, (struct sockaddr *)&at, &length);
    printf("listening on 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static long number_of(const char *text, long low, long high) {
    char *end;
    long value = text == NULL ? low - 1 : strtol(text, &end, 10);
    if (text == NULL || end == text || *end != '\0' || value < low || value > high) {
        fprintf(stderr, "usage: legacy_server [--port N] [--stack KILOBYTES] [--log FILE]\n");
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    long port = 7777;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0)
            port = number_of(argv[i + 1], 0, 65535);
        else if (strcmp(argv[i], "--stack") == 0)
            pthread_attr_setstacksize(&attributes,
                                      (size_t)number_of(argv[i + 1], 16, 1 << 20) * 1024);
        else if (strcmp(argv[i], "--log") != 0 || argv[i + 1] == NULL)
            number_of(NULL, 0, 0);
        else if ((journal.file = fopen(argv[i + 1], "a")) == NULL)
            die(argv[i + 1], errno);
    }

    static sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN); /* a client that is gone is an error of write */

    listener = listen_on(port);
    pthread_t journal_thread, signal_thread;
    int error = pthread_create(&journal_thread, NULL, write_journal, NULL);
    if (error == 0)
        error = pthread_create(&signal_thread, NULL, await_signal, &signals);
    if (error != 0)
        die("pthread_create", error);

    accept_clients(&attributes);
    end_clients();
    pthread_join(signal_thread, NULL);
    close(listener);
    say("the end");
    pthread_mutex_lock(&journal.lock);
    journal.ended = 1;
    pthread_cond_signal(&journal.has_lines);
    pthread_mutex_unlock(&journal.lock);
    pthread_join(journal_thread, NULL);
    fprintf(stderr, "legacy_server: %lu connections, %lu requests\n", clients.connections,
            clients.requests);
    return 0;
}
