#!/usr/bin/env bash
# testcontainers 0.28.0 asks a Docker engine for one version of the API alone and does not negotiate.
#
# Docker before 29 refuses such a request, though it could answer it under its own version. What was seen: the first
# request has the path /v1.53/..., no request asks /version or /_ping before it, and the test ends with an error.
#
# Needs: cargo, python3. Installs pinned crates in a temporary folder. The engine is a small server on a Unix socket that
# answers as Docker 20.10 does.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"

cat >engine.py <<'PY'
import http.server, socketserver, sys

class Engine(http.server.BaseHTTPRequestHandler):
    def answer(self):
        with open("requests", "a") as log:
            log.write(f"{self.command} {self.path}\n")
        body = b'{"message":"client version 1.53 is too new. Maximum supported API version is 1.41"}'
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = do_HEAD = do_DELETE = answer
    def address_string(self): return "unix"
    def log_message(self, *args): pass

class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

Server("engine.sock", Engine).serve_forever()
PY
python3 engine.py & server=$!
for _ in $(seq 100); do [ -S engine.sock ] && break; sleep 0.1; done

mkdir -p src
cat >Cargo.toml <<'TOML'
[package]
name = "one-api-version"
version = "0.0.0"
edition = "2024"
[dependencies]
testcontainers = { version = "=0.28.0", default-features = false }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
TOML
cat >src/main.rs <<'RS'
use testcontainers::{GenericImage, runners::AsyncRunner};

#[tokio::main]
async fn main() {
    match GenericImage::new("busybox", "1").start().await {
        Ok(_) => println!("started"),
        Err(error) => println!("error: {error}"),
    }
}
RS
cargo build --quiet
DOCKER_HOST="unix://$folder/engine.sock" timeout 60 ./target/debug/one-api-version | tee said
echo "--- requests"
cat requests
head -n 1 requests | grep -Eq '^[A-Z]+ /v1\.5[0-9]/' || { echo "changed: the first request has another version"; exit 1; }
if grep -Eq ' (/v[0-9.]+)?/(version|_ping)' requests; then echo "changed: it asks which version the engine knows"; exit 1; fi
grep -q '^error:' said || { echo "changed: it starts in spite of that"; exit 1; }
echo "as seen: testcontainers 0.28.0 does not negotiate the version"
