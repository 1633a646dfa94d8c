// SPDX-License-Identifier: Apache-2.0
// needs: libcurl
// libcurl as it is: each coroutine fetches a page by TLS with curl_easy_perform; name resolution,
// handshake, request and answer all wait. Arguments: URL, file with the certificate to trust.
#include "tests/clients/crowd.h"
#include <curl/curl.h>

struct client {
    CURL *curl = curl_easy_init();
    std::string url, body;

    client(int index, char **arguments)
        : url(std::string(arguments[0]) + "?" + std::to_string(index)) {
        curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
        curl_easy_setopt(curl, CURLOPT_CAINFO, arguments[1]);
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L); // as libcurl asks of programs with threads
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
    }
    ~client() { curl_easy_cleanup(curl); }

    static size_t append(char *data, size_t, size_t size, void *self) {
        static_cast<client *>(self)->body.append(data, size);
        return size;
    }
    void connect() {}
    void work() {
        CURLcode code = curl_easy_perform(curl);
        must(code == CURLE_OK, curl_easy_strerror(code));
        long status = 0;
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        must(status == 200, "status " + std::to_string(status));
        // The stub answers with the query string.
        must(body == url.substr(url.find('?') + 1) + "\n", "another one's page: " + body);
    }
};

int main(int argc, char **argv) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int status = crowd_main<client>(argc, argv);
    curl_global_cleanup();
    return status;
}
