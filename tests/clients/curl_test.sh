#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# libcurl with TLS, unmodified, against nginx: 50 pages on one thread. nginx passes the requests on
# to a stub that answers each after a second.
# sanitizers: address
source "$(dirname "$0")/servers.sh"
needs curl_client nginx openssl python3

port=$(free_port) stub=$(free_port)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,DNS:pages.test -keyout "$scratch/key.pem" \
    -out "$scratch/certificate.pem" >"$scratch/openssl.log" 2>&1
cat >"$scratch/nginx.conf" <<END
daemon off;
master_process off;
pid $scratch/nginx.pid;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path $scratch/body;
    proxy_temp_path $scratch/proxy;
    fastcgi_temp_path $scratch/fastcgi;
    uwsgi_temp_path $scratch/uwsgi;
    scgi_temp_path $scratch/scgi;
    server {
        listen 127.0.0.1:$port ssl;
        ssl_certificate $scratch/certificate.pem;
        ssl_certificate_key $scratch/key.pem;
        location / { proxy_pass http://127.0.0.1:$stub; }
        location /hello { return 200 "hello\n"; }
        location /nowhere { return 404 "not to see\n\n"; }
        location /goodbye { return 200 "so long"; }
    }
}
END
# Answers with the query string, a second later.
serve stub python3 -c '
import asyncio, sys
async def answer(reader, writer):
    line = await reader.readline()
    while (await reader.readline()).strip():
        pass
    await asyncio.sleep(1)
    body = line.split()[1].partition(b"?")[2] + b"\n"
    writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]), backlog=256)
    await server.serve_forever()
asyncio.run(main())' "$stub"
ready stub listening "$stub"
serve nginx nginx -p "$scratch" -e "$scratch/nginx.log" -c "$scratch/nginx.conf"
url=https://localhost:$port trusted=$scratch/certificate.pem
ready nginx listening "$port"

all_at_once '50 pages that take a second each are fetched at once by TLS' 5 \
    curl_client 50 hooked "$url/delayed" "$trusted"
all_at_once 'the same with the coroutines on four shared stacks' 5 \
    curl_client 50 shared "$url/delayed" "$trusted"
one_by_one 'without hooks three take three seconds' 2.9 \
    curl_client 3 blocking "$url/delayed" "$trusted"

# localhost is a name that libcurl knows by itself. For others it starts a thread that looks them up.
what='50 pages with a thread of libcurl for each name'
printf '127.0.0.1 localhost pages.test\n' >"$scratch/hosts"
if unshare -m mount --bind "$scratch/hosts" /etc/hosts 2>/dev/null; then
    all_at_once "$what" 5 unshare -m sh -c 'mount --bind "$0" /etc/hosts && exec "$@"' \
        "$scratch/hosts" "$B/tests/clients/curl_client" 50 hooked \
        "https://pages.test:$port/delayed" "$trusted"
else
    echo "skip - $what: no mount namespace for an /etc/hosts of its own"
fi

CURL_CA_BUNDLE=$trusted "$B/example/curl_fetch" "$url"/{hello,nowhere,goodbye} \
    >"$scratch/example.log" 2>&1
verdict 'example/curl_fetch prints what it should' \
    "$(diff example/curl_fetch.expected "$scratch/example.log")"
exit $status
