// SPDX-License-Identifier: Apache-2.0
// needs: libcurl
// Fetches all the addresses it is given at once, on one thread, with libcurl's blocking interface:
//     curl_fetch https://example.org/ https://example.com/
// CURL_CA_BUNDLE names other certificates to trust.
#include <co_routine.hpp>
#include <cstdio>
#include <cstdlib>
#include <curl/curl.h>
#include <memory>
#include <string>
#include <vector>

using curl_ptr = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;

static size_t count_bytes(char *, size_t, size_t size, void *total) {
    *static_cast<size_t *>(total) += size;
    return size;
}

static std::string fetch(const char *url) {
    co_enable_hook_sys(); // from here on, the library's calls wait in the loop
    curl_ptr curl(curl_easy_init(), curl_easy_cleanup);
    size_t bytes = 0;
    curl_easy_setopt(curl.get(), CURLOPT_URL, url);
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L); // as with threads
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, count_bytes);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &bytes);
    if (const char *trusted = std::getenv("CURL_CA_BUNDLE"))
        curl_easy_setopt(curl.get(), CURLOPT_CAINFO, trusted);
    CURLcode code = curl_easy_perform(curl.get());
    if (code != CURLE_OK)
        return curl_easy_strerror(code);
    long status = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
    return "status " + std::to_string(status) + ", " + std::to_string(bytes) + " bytes";
}

int main(int argc, char **argv) {
    if (argc < 2)
        return std::fprintf(stderr, "%s ADDRESS...\n", argv[0]), 2;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    std::vector<co::join_handle<std::string>> pages;
    for (int i = 1; i < argc; ++i)
        pages.push_back(co::go([url = argv[i]] { return fetch(url); }));
    for (auto &page : pages)
        std::puts(page.join().c_str());
    curl_global_cleanup();
}
