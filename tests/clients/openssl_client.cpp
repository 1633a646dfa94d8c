// SPDX-License-Identifier: Apache-2.0
// needs: openssl
// OpenSSL as it is: all coroutines, of one thread or of several, share one SSL_CTX, with it both sides of
// each handshake, and its session cache. Every other client resumes its session. Clients and servers
// are coroutines of the same thread over TCP: a call that blocked the thread would never return.
// Arguments: certificate, key, handshakes for each coroutine, threads, milliseconds after which a
// client gives up (0: never). Says also how many handshakes were made, and how many of them resumed.
#include "tests/clients/crowd.h"
#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <cstring>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

static SSL_CTX *context;
static int rounds, patience_ms;
static std::atomic<int> made, resumed;

static std::string why(const char *what) {
    unsigned long code = ERR_get_error();
    return std::string(what) + ": " + (code ? ERR_error_string(code, nullptr) : strerror(errno));
}

struct connection {
    SSL *ssl = SSL_new(context);
    int fd;
    explicit connection(int f) : fd(f) { SSL_set_fd(ssl, fd); }
    ~connection() {
        SSL_free(ssl);
        close(fd);
    }
    connection(const connection &) = delete;
};

struct client {
    static inline thread_local int listener = -1;
    static inline thread_local sockaddr_in address;
    bool resumes;
    SSL_SESSION *session = nullptr;

    client(int index, char **) : resumes(index % 2 == 1) {}
    ~client() { SSL_SESSION_free(session); }

    static void listen_on_loopback() {
        address = {};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(bind(listener, reinterpret_cast<sockaddr *>(&address), size) == 0 &&
                 listen(listener, 512) == 0 &&
                 getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size) == 0,
             why("listen"));
    }
    void connect() {}

    void work() {
        for (int i = 0; i < rounds; ++i)
            handshake();
    }
    void handshake() {
        connection c(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        timeval limit = {patience_ms / 1000, patience_ms % 1000 * 1000};
        setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        must(::connect(c.fd, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0,
             why("connect"));
        SSL_set_verify(c.ssl, SSL_VERIFY_PEER, nullptr);
        if (session)
            SSL_set_session(c.ssl, session);
        must(SSL_connect(c.ssl) == 1, why("SSL_connect"));
        ++made;
        resumed += SSL_session_reused(c.ssl);
        char answer[5] = "";
        must(SSL_write(c.ssl, "ping", 4) == 4 && SSL_read(c.ssl, answer, 4) == 4, why("echo"));
        must(strcmp(answer, "ping") == 0, "another one's bytes");
        if (resumes) {
            SSL_SESSION_free(session);
            session = SSL_get1_session(c.ssl);
        }
        SSL_shutdown(c.ssl);
    }

    static void *serve(void *fd) {
        co_enable_hook_sys();
        connection c(static_cast<int>(reinterpret_cast<intptr_t>(fd)));
        char bytes[4];
        if (SSL_accept(c.ssl) != 1 || SSL_read(c.ssl, bytes, 4) != 4 ||
            SSL_write(c.ssl, bytes, 4) != 4)
            fprintf(stderr, "%s\n", why("server").c_str());
        SSL_shutdown(c.ssl);
        return nullptr;
    }
    static void conduct(crowd &c) {
        for (int i = 0; i < c.count * rounds; ++i) {
            int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
            must(fd >= 0, why("accept"));
            co_go(nullptr, nullptr, serve, reinterpret_cast<void *>(static_cast<intptr_t>(fd)));
        }
    }
};

int main(int argc, char **argv) {
    if (argc < 8)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    rounds = atoi(argv[5]);
    patience_ms = atoi(argv[7]);
    context = SSL_CTX_new(TLS_method());
    SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char *>("corun"), 5);
    if (SSL_CTX_use_certificate_file(context, argv[3], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[4], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(context, argv[3], nullptr) != 1)
        return fprintf(stderr, "%s\n", why("certificate").c_str()), 2;
    std::atomic<int> status = 0;
    std::vector<std::thread> threads;
    auto run = [&] {
        client::listen_on_loopback();
        status |= crowd_main<client>(argc, argv);
        close(client::listener);
    };
    for (int i = 1; i < atoi(argv[6]); ++i)
        threads.emplace_back(run);
    run();
    for (std::thread &t : threads)
        t.join();
    printf("handshakes=%d resumed=%d\n", made.load(), resumed.load());
    SSL_CTX_free(context);
    return status;
}
