// SPDX-License-Identifier: Apache-2.0
// Names: libc's own answers, by nsswitch.conf and the thread's _res, while the others go on.
#include "tests/hooks/both.h"
#include "tests/hooks/stub_resolver.h"

#include "co_routine/loop/offload.h"

#include <netdb.h>

namespace {

std::string text_of(const sockaddr *a) {
    char s[INET6_ADDRSTRLEN] = "?";
    if (a->sa_family == AF_INET)
        inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in *>(a)->sin_addr, s, sizeof s);
    if (a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6 *>(a)->sin6_addr, s, sizeof s);
    return s;
}

std::string look_up(const char *node, const char *service, int family = AF_UNSPEC, int flags = 0,
                    int type = SOCK_STREAM) {
    addrinfo hints{}, *list = nullptr;
    hints.ai_family = family;
    hints.ai_flags = flags;
    hints.ai_socktype = type;
    int e = getaddrinfo(node, service, &hints, &list);
    if (e != 0)
        return gai_strerror(e);
    std::string all;
    for (addrinfo *i = list; i; i = i->ai_next) {
        all += text_of(i->ai_addr) + ":" +
               std::to_string(ntohs(reinterpret_cast<sockaddr_in *>(i->ai_addr)->sin_port)) + "/" +
               std::to_string(i->ai_socktype) + " ";
        if (i->ai_canonname)
            all += std::string("(") + i->ai_canonname + ") ";
    }
    freeaddrinfo(list);
    return all;
}

void says_text(side &s, const char *what, const std::string &t) {
    s.text(what, t.data(), static_cast<long>(t.size()));
}

std::string text_of(const hostent *h) {
    if (!h)
        return "none, h_errno " + std::to_string(h_errno);
    std::string all = std::string(h->h_name) + " " + std::to_string(h->h_addrtype) + " " +
                      std::to_string(h->h_length);
    for (char **a = h->h_aliases; *a; ++a)
        all += std::string(" alias ") + *a;
    for (char **a = h->h_addr_list; *a; ++a) {
        char s[INET6_ADDRSTRLEN];
        all += std::string(" ") + inet_ntop(h->h_addrtype, *a, s, sizeof s);
    }
    return all;
}

int64_t ms_of(const std::function<void()> &f) {
    auto begin = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 begin)
        .count();
}

struct Names : testing::Test {
    ~Names() override { stub_resolver::forget(); }
};

} // namespace

// contract 27
TEST_F(Names, AHundredLookupsOf200MsEndWithinASecond) {
    constexpr int lookups = 100;
    stub_resolver server(200);
    server.use();
    int right = 0;
    std::vector<stCoRoutine_t *> all;
    int64_t ms = ms_of([&] {
        for (int i = 0; i < lookups; ++i)
            all.push_back(go([&right, i] {
                std::string name = "h" + std::to_string(i) + ".test";
                right += look_up(name.c_str(), "80", AF_INET) ==
                         "10.0.0." + std::to_string(i) + ":80/1 ";
            }));
        co_run();
    });
    for (stCoRoutine_t *co : all)
        co_release(co);
    EXPECT_EQ(right, lookups);
    EXPECT_GE(ms, 200);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_LT(ms, 1000);
#endif
}

TEST_F(Names, MoreLookupsThanHelpersTakeTurns) {
    constexpr int lookups = 300;
    stub_resolver server(30);
    server.use();
    int right = 0;
    std::vector<stCoRoutine_t *> all;
    for (int i = 0; i < lookups; ++i)
        all.push_back(go([&right, i] {
            std::string name = "h" + std::to_string(i) + ".test";
            right += look_up(name.c_str(), nullptr, AF_INET) ==
                     "10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ":0/1 ";
        }));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    EXPECT_EQ(right, lookups);
    EXPECT_LE(server.most_at_once(), 128);
    EXPECT_GT(server.most_at_once(), 8);
}

// contract 26
TEST_F(Names, OthersTickWhileOneLooksUp) {
    stub_resolver server(200);
    server.use();
    bool over = false;
    int64_t longest_gap = 0;
    stCoRoutine_t *ticking = go([&] {
        while (!over)
            longest_gap = std::max(longest_gap, ms_of([] { usleep(1000); }));
    });
    std::string found;
    stCoRoutine_t *looking = go([&] {
        found = look_up("h7.test", "443");
        over = true;
    });
    co_run();
    co_release(ticking);
    co_release(looking);
    EXPECT_EQ(found, "10.0.0.7:443/1 ");
    EXPECT_LT(longest_gap, 20);
}

TEST_F(Names, GetaddrinfoAsNative) {
    stub_resolver server(5);
    expect_same([&](side &s) {
        server.use();
        says_text(s, "name", look_up("h1.test", "80"));
        says_text(s, "any type", look_up("h300.test", "80", AF_INET, AI_CANONNAME, 0));
        says_text(s, "v6 of a v4 host", look_up("h1.test", "80", AF_INET6));
        says_text(s, "mapped", look_up("h1.test", "80", AF_INET6, AI_V4MAPPED));
        says_text(s, "missing", look_up("missing.test", "80"));
        says_text(s, "localhost", look_up("localhost", "80", AF_INET));
        says_text(s, "service by name", look_up("127.0.0.1", "http"));
        says_text(s, "no such service", look_up("127.0.0.1", "no-such-service"));
        says_text(s, "number", look_up("127.0.0.1", "80"));
        says_text(s, "short number", look_up("127.1", "80"));
        says_text(s, "v6 number", look_up("::1", "80", AF_UNSPEC, AI_CANONNAME));
        says_text(s, "not a number", look_up("h1.test", "80", AF_UNSPEC, AI_NUMERICHOST));
        says_text(s, "passive", look_up(nullptr, "80", AF_INET, AI_PASSIVE));
        says_text(s, "neither", look_up(nullptr, nullptr));
        says_text(s, "bad flags", look_up("h1.test", "80", AF_UNSPEC, 0x40000000));
        says_text(s, "bad type", look_up("h1.test", "80", AF_UNSPEC, 0, 77));
        says_text(s, "bad family", look_up("h1.test", "80", 77));
        addrinfo *list = nullptr;
        s.says("no hints", getaddrinfo("h2.test", nullptr, nullptr, &list));
        s.says("three kinds", list && list->ai_next && list->ai_next->ai_next ? 3 : 0);
        freeaddrinfo(list);
    });
}

TEST_F(Names, NumbersNeedNoHelper) {
    in_coroutine([] {
        uint64_t before = [] {
            co_stats s;
            co_get_stats(&s);
            return s.offloads;
        }();
        look_up("127.0.0.1", "80");
        look_up("::1", "80");
        look_up("h1.test", "80", AF_UNSPEC, AI_NUMERICHOST);
        sockaddr_in a{};
        a.sin_family = AF_INET;
        char host[64], service[64];
        EXPECT_EQ(getnameinfo(reinterpret_cast<sockaddr *>(&a), sizeof a, host, sizeof host,
                              service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV),
                  0);
        co_stats s;
        co_get_stats(&s);
        EXPECT_EQ(s.offloads, before);
    });
}

TEST_F(Names, GetnameinfoAsNative) {
    stub_resolver server(5);
    expect_same([&](side &s) {
        server.use();
        sockaddr_in a{};
        a.sin_family = AF_INET;
        a.sin_port = htons(80);
        a.sin_addr.s_addr = htonl(0x0A000105); // 10.0.1.5
        auto name = [&](const char *what, size_t room, int flags) {
            char host[256] = "untouched", service[64] = "untouched";
            s.says(what, getnameinfo(reinterpret_cast<sockaddr *>(&a), sizeof a, host,
                                     static_cast<socklen_t>(room), service, sizeof service, flags));
            says_text(s, "host", host);
            says_text(s, "service", service);
        };
        name("both", 256, 0);
        name("host only", 256, NI_NUMERICSERV);
        name("service only", 256, NI_NUMERICHOST);
        name("no room", 3, 0);
        name("no host", 0, 0);
        a.sin_addr.s_addr = htonl(0xC0000201); // 192.0.2.1: not known
        name("unknown", 256, 0);
        name("required", 256, NI_NAMEREQD);
        s.says("bad length", getnameinfo(reinterpret_cast<sockaddr *>(&a), 3, nullptr, 0, nullptr,
                                         0, NI_NAMEREQD));
    });
}

TEST_F(Names, HostFunctionsAsNative) {
    stub_resolver server(5);
    expect_same([&](side &s) {
        server.use();
        in_addr a{htonl(0x0A000105)};
        says_text(s, "by name", text_of(gethostbyname("h5.test")));
        says_text(s, "missing", text_of(gethostbyname("missing.test")));
        says_text(s, "number", text_of(gethostbyname("1.2.3.4")));
        says_text(s, "v6", text_of(gethostbyname2("h5.test", AF_INET6)));
        says_text(s, "v4", text_of(gethostbyname2("h6.test", AF_INET)));
        says_text(s, "by address", text_of(gethostbyaddr(&a, sizeof a, AF_INET)));
        a.s_addr = htonl(0xC0000201);
        says_text(s, "by unknown address", text_of(gethostbyaddr(&a, sizeof a, AF_INET)));
        s.says("h_errno", h_errno);
        for (size_t room : {8192UL, 200UL, 120UL, 80UL, 40UL, 10UL, 0UL}) {
            alignas(16) char buffer[8192];
            hostent space, *result = &space;
            int h_error = 77;
            s.says("room", room);
            s.says("gethostbyname_r",
                   gethostbyname_r("h5.test", &space, buffer, room, &result, &h_error));
            if (result)
                says_text(s, "is", text_of(result));
            else
                s.says("h_error", h_error);
        }
        alignas(16) char buffer[8192];
        hostent space, *result = &space;
        int h_error = 77;
        s.says("gethostbyname2_r",
               gethostbyname2_r("h9.test", AF_INET, &space, buffer + 3, 8000, &result, &h_error));
        says_text(s, "is", text_of(result));
        a.s_addr = htonl(0x0A000105);
        s.says("gethostbyaddr_r", gethostbyaddr_r(&a, sizeof a, AF_INET, &space, buffer,
                                                  sizeof buffer, &result, &h_error));
        says_text(s, "is", text_of(result));
        s.says("missing",
               gethostbyname_r("missing.test", &space, buffer, sizeof buffer, &result, &h_error));
        s.says("none", result ? 1 : 0);
        s.says("h_error", h_error);
    });
}

TEST_F(Names, EachCoroutineHasItsOwnHostentAndHErrno) {
    stub_resolver server(20);
    server.use();
    std::vector<stCoRoutine_t *> all;
    int right = 0;
    for (int i = 0; i < 10; ++i)
        all.push_back(go([&, i] {
            hostent *mine = gethostbyname(("h" + std::to_string(i) + ".test").c_str());
            usleep(1000 * (10 - i));
            right +=
                text_of(mine) == "h" + std::to_string(i) + ".test 2 4 10.0.0." + std::to_string(i);
        }));
    all.push_back(go([&] {
        EXPECT_EQ(gethostbyname("missing.test"), nullptr);
        usleep(30000); // the others succeed meanwhile
        EXPECT_EQ(h_errno, HOST_NOT_FOUND);
    }));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    EXPECT_EQ(right, 10);
}

TEST_F(Names, ResolverFunctionsAsNative) {
    stub_resolver server(5);
    expect_same([&](side &s) {
        server.use();
        unsigned char answer[512];
        auto says = [&](const char *what, int n) {
            s.says(what, n);
            if (n > 2) // but for the id
                s.text("answer", answer + 2, n - 2);
            else
                s.says("h_errno", h_errno);
        };
        says("res_query", res_query("h1.test", 1, 1, answer, sizeof answer));
        says("missing", res_query("missing.test", 1, 1, answer, sizeof answer));
        says("res_search", res_search("h1.test.", 1, 1, answer, sizeof answer));
        says("res_querydomain", res_querydomain("h1", "test", 1, 1, answer, sizeof answer));
        unsigned char query[512];
        int n = res_mkquery(0, "h2.test", 1, 1, nullptr, 0, nullptr, query, sizeof query);
        says("res_send", res_send(query, n, answer, sizeof answer));
        struct __res_state mine;
        memset(&mine, 0, sizeof mine);
        s.says("res_ninit", res_ninit(&mine));
        server.set(&mine);
        says("res_nquery", res_nquery(&mine, "h3.test", 1, 1, answer, sizeof answer));
        says("res_nsearch", res_nsearch(&mine, "h3.test.", 1, 1, answer, sizeof answer));
        says("res_nquerydomain",
             res_nquerydomain(&mine, "h3", "test", 1, 1, answer, sizeof answer));
        says("res_nsend", res_nsend(&mine, query, n, answer, sizeof answer));
        s.says("its own h_errno", mine.res_h_errno);
        res_nclose(&mine);
    });
}

// contract 37
TEST_F(Names, TwoOnOneSharedStackKeepTheirFrames) {
    stub_resolver server(20);
    server.use();
    stShareStack_t *shared = co_alloc_sharestack(1, 256 * 1024);
    std::vector<stCoRoutine_t *> all;
    int whole = 0;
    for (int i = 0; i < 2; ++i)
        all.push_back(go(
            [&, i] {
                char canary[2048];
                memset(canary, 'a' + i, sizeof canary);
                std::string name = "h" + std::to_string(i) + ".test";
                for (int round = 0; round < 3; ++round) {
                    bool right = look_up(name.c_str(), "1", AF_INET) ==
                                 "10.0.0." + std::to_string(i) + ":1/1 ";
                    alignas(16) char buffer[1024];
                    hostent space, *result = nullptr;
                    int h_error;
                    gethostbyname_r(name.c_str(), &space, buffer, sizeof buffer, &result, &h_error);
                    right = right && result &&
                            text_of(result) == name + " 2 4 10.0.0." + std::to_string(i);
                    char host[64] = "";
                    sockaddr_in a{};
                    a.sin_family = AF_INET;
                    a.sin_addr.s_addr = htonl(0x0A000000U + static_cast<unsigned>(i));
                    getnameinfo(reinterpret_cast<sockaddr *>(&a), sizeof a, host, sizeof host,
                                nullptr, 0, 0);
                    right = right && host == name;
                    unsigned char answer[512];
                    struct __res_state mine;
                    memset(&mine, 0, sizeof mine);
                    res_ninit(&mine);
                    server.set(&mine);
                    right =
                        right && res_nquery(&mine, name.c_str(), 1, 1, answer, sizeof answer) > 12;
                    res_nclose(&mine);
                    for (char c : canary)
                        right = right && c == 'a' + i;
                    whole += right;
                }
            },
            shared));
    co_run();
    for (stCoRoutine_t *co : all)
        co_release(co);
    co_release_sharestack(shared);
    EXPECT_EQ(whole, 6);
}

// Its list of addresses is freed by whoever is left with it: the leak checker looks.
TEST_F(Names, ACancelledLookupIsGivenUpAndLeaksNothing) {
    stub_resolver server(50);
    server.use();
    bool went_on = false;
    stCoRoutine_t *cancelled = go([&] {
        look_up("h1.test", "80");
        went_on = true;
    });
    // Dropped without unwinding: so it owns nothing.
    stCoRoutine_t *released = nullptr;
    auto drop = [](void *) -> void * {
        addrinfo *list = nullptr;
        co_enable_hook_sys();
        getaddrinfo("h2.test", "80", nullptr, &list);
        return nullptr;
    };
    ASSERT_EQ(co_go(&released, nullptr, drop, nullptr), 0);
    stCoRoutine_t *other = go([&] {
        usleep(10000);
        co_cancel(cancelled);
        co_release(released);
        usleep(100000); // the answers come
    });
    co_run();
    co_release(cancelled);
    co_release(other);
    EXPECT_FALSE(went_on);
}

TEST_F(Names, GaiSuspendLetsOthersRun) {
    stub_resolver server(50);
    server.use(); // not libc's own threads': they ask nobody for a number
    in_coroutine([] {
        gaicb request{};
        request.ar_name = "127.0.0.1";
        gaicb *list[] = {&request};
        ASSERT_EQ(getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr), 0);
        while (gai_error(&request) == EAI_INPROGRESS)
            EXPECT_EQ(gai_suspend(list, 1, nullptr), 0);
        EXPECT_EQ(gai_error(&request), 0);
        freeaddrinfo(request.ar_result);
        EXPECT_EQ(gai_suspend(list, 1, nullptr), 0); // one that is done already
    });
}
