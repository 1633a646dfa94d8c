// SPDX-License-Identifier: Apache-2.0
// A -static program: what libc's functions do on the main thread, on another one, in a coroutine with
// hooks on, and on the main thread afterwards. Prints what was wrong, then "N wrong". See static_test.sh.
#include "co_routine.h"

#include <aio.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <syslog.h>
#include <threads.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <thread>

namespace {

using namespace std::chrono_literals;

int wrong;
const char *where;

void check(bool good, const char *what) {
    int error = errno;
    if (!good) {
        printf("%s: %s (errno %d)\n", where, what, error);
        ++wrong;
    }
    errno = 0;
}
#define CHECK(x) check(x, #x)

timespec in(long ms) {
    timespec at{};
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

void directories() {
    DIR *d = opendir("/etc");
    CHECK(d != nullptr);
    if (!d)
        return;
    int count = 0;
    while (readdir(d))
        ++count;
    CHECK(count > 3);
    rewinddir(d);
    CHECK(readdir(d) != nullptr);
    long at = telldir(d);
    dirent *e = readdir(d);
    char name[sizeof e->d_name];
    strcpy(name, e ? e->d_name : "?");
    seekdir(d, at);
    e = readdir(d);
    CHECK(e && strcmp(e->d_name, name) == 0);
    CHECK(closedir(d) == 0);
    char real[PATH_MAX];
    CHECK(realpath("/etc/../etc/passwd", real) && strcmp(real, "/etc/passwd") == 0);
}

void aio() {
    static char buffer[16];
    static aiocb one;
    static aiocb *list[] = {&one};
    one = {};
    one.aio_fildes = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    one.aio_buf = buffer;
    one.aio_nbytes = 10;
    CHECK(aio_read(&one) == 0);
    bool waited = true;
    while (waited && aio_error(&one) == EINPROGRESS)
        waited = aio_suspend(list, 1, nullptr) == 0;
    CHECK(waited);
    CHECK(aio_return(&one) == 10);
    one.aio_lio_opcode = LIO_READ;
    CHECK(lio_listio(LIO_WAIT, list, 1, nullptr) == 0);
    CHECK(aio_return(&one) == 10);
    close(one.aio_fildes);
}

void users() {
    static char text[4096];
    passwd user, *found = nullptr;
    CHECK(getpwnam_r("root", &user, text, sizeof text, &found) == 0 && found);
    CHECK(getpwuid_r(0, &user, text, sizeof text, &found) == 0 && found);
    setpwent();
    CHECK(getpwent_r(&user, text, sizeof text, &found) == 0 && found);
    endpwent();
    CHECK(getpwnam("root") != nullptr);
    group space, *g = nullptr;
    CHECK(getgrgid_r(0, &space, text, sizeof text, &g) == 0 && g);
    CHECK(getgrnam_r("root", &space, text, sizeof text, &g) == 0 && g);
    CHECK(setgid(getgid()) == 0);
    CHECK(setuid(getuid()) == 0);
    openlog("static_test", 0, LOG_USER);
    syslog(LOG_DEBUG, "%d", 1);
    closelog();
}

void names() {
    addrinfo hints{}, *list = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    CHECK(getaddrinfo("127.0.0.1", "80", &hints, &list) == 0);
    if (list)
        freeaddrinfo(list);
    list = nullptr;
    CHECK(getaddrinfo("localhost", "80", &hints, &list) == 0);
    if (list)
        freeaddrinfo(list);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(80);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char host[64], port[8];
    CHECK(getnameinfo(reinterpret_cast<sockaddr *>(&address), sizeof address, host, sizeof host,
                      port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0 &&
          strcmp(host, "127.0.0.1") == 0 && strcmp(port, "80") == 0);
    static char text[4096];
    hostent space, *found = nullptr;
    int h_error;
    CHECK(gethostbyname("localhost") != nullptr);
    CHECK(gethostbyname_r("localhost", &space, text, sizeof text, &found, &h_error) == 0 && found);
}

void streams() {
    char path[] = "/tmp/corun-static-XXXXXX", text[128];
    close(mkstemp(path));
    FILE *f = fopen(path, "w+");
    unlink(path);
    CHECK(f != nullptr);
    if (!f)
        return;
    CHECK(fprintf(f, "%d %s\n", 42, "x") == 5);
    CHECK(fputs("ab", f) >= 0);
    CHECK(putc('c', f) == 'c');
    CHECK(fwrite("dd", 1, 2, f) == 2);
    CHECK(fflush(f) == 0);
    CHECK(fseek(f, 0, SEEK_SET) == 0);
    int number = 0;
    CHECK(fscanf(f, "%d %7s", &number, text) == 2 && number == 42);
    CHECK(getc(f) == '\n');
    CHECK(fread(text, 1, 3, f) == 3 && memcmp(text, "abc", 3) == 0);
    rewind(f);
    char *line = nullptr;
    size_t room = 0;
    CHECK(getline(&line, &room, f) == 5);
    free(line);
    fpos_t position;
    CHECK(fgetpos(f, &position) == 0 && fsetpos(f, &position) == 0);
    int number_before = fileno(f);
    f = freopen("/etc/passwd", "r", f);
    CHECK(f && fileno(f) == number_before && fgets(text, sizeof text, f) && fclose(f) == 0);
    FILE *p = popen("echo hi", "r");
    CHECK(p && fgets(text, sizeof text, p) && strcmp(text, "hi\n") == 0 && pclose(p) == 0);
    f = fopen("/dev/null", "w");
    CHECK(f && putc('x', f) == 'x' && fclose(f) == 0); // the first byte makes the buffer
}

void children() {
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3);
    CHECK(system("exit 0") == 0);
}

void threads() {
    static std::mutex m;
    static std::condition_variable changed;
    static bool go;
    go = false;
    std::thread other([] {
        usleep(5000);
        std::lock_guard lock(m);
        go = true;
        changed.notify_all();
    });
    {
        std::unique_lock lock(m);
        changed.wait(lock, [] { return go; });
        CHECK(changed.wait_for(lock, 2ms) == std::cv_status::timeout);
    }
    other.join();
    CHECK(std::async(std::launch::async, [] { return 9; }).get() == 9);

    pthread_t thread;
    auto slow = [](void *) -> void * {
        usleep(5000);
        return &m;
    };
    void *result = nullptr;
    CHECK(pthread_create(&thread, nullptr, slow, nullptr) == 0);
    CHECK(pthread_tryjoin_np(thread, &result) == EBUSY);
    timespec at = in(5000);
    CHECK(pthread_timedjoin_np(thread, &result, &at) == 0 && result == &m);

    static std::shared_timed_mutex shared;
    {
        std::shared_lock lock(shared);
        CHECK(!shared.try_lock_for(2ms));
    }
    {
        std::unique_lock lock(shared);
        CHECK(!shared.try_lock_shared_for(2ms));
    }
    static std::timed_mutex timed;
    CHECK(timed.try_lock_for(2ms));
    timed.unlock();
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static int count;
    pthread_once(&once, [] { ++count; });
    CHECK(count == 1);
    pthread_key_t key;
    CHECK(pthread_key_create(&key, nullptr) == 0 && pthread_setspecific(key, &key) == 0 &&
          pthread_getspecific(key) == &key && pthread_key_delete(key) == 0);
    sem_t semaphore;
    sem_init(&semaphore, 0, 1);
    CHECK(sem_wait(&semaphore) == 0);
    at = in(2);
    CHECK(sem_timedwait(&semaphore, &at) == -1 && errno == ETIMEDOUT);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, nullptr, 1);
    CHECK(pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD);
    CHECK(pthread_barrier_destroy(&barrier) == 0);
}

void c11() {
    mtx_t m;
    cnd_t c;
    mtx_init(&m, mtx_timed);
    cnd_init(&c);
    CHECK(mtx_lock(&m) == thrd_success && mtx_trylock(&m) == thrd_busy);
    timespec at = in(2);
    CHECK(cnd_timedwait(&c, &m, &at) == thrd_timedout);
    CHECK(mtx_unlock(&m) == thrd_success);
    at = in(1000);
    CHECK(mtx_timedlock(&m, &at) == thrd_success && mtx_unlock(&m) == thrd_success);
    thrd_t thread;
    int result = 0;
    CHECK(thrd_create(
              &thread, [](void *) { return 5; }, nullptr) == thrd_success);
    CHECK(thrd_join(thread, &result) == thrd_success && result == 5);
}

void everything(const char *place) {
    where = place;
    errno = 0;
    directories();
    aio();
    users();
    names();
    streams();
    children();
    threads();
    c11();
}

void *in_coroutine(void *) {
    co_enable_hook_sys();
    everything("in a coroutine");
    return nullptr;
}

} // namespace

int main() {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    everything("main thread");
    std::thread(everything, "another thread").join();
    stCoRoutine_t *co;
    co_go(&co, nullptr, in_coroutine, nullptr);
    co_run();
    co_release(co);
    everything("main thread, afterwards");
    printf("%d wrong\n", wrong);
    return wrong != 0;
}
