#!/bin/sh
# run.sh API_FAKE_SERVER: starts it and checks it with the npm clients. 77 = skipped.
here=$(cd "$(dirname "$0")" && pwd)
if ! command -v node >/dev/null || [ ! -d "$here/node_modules" ]; then
  echo "skipped: needs node, and 'npm ci' in tests/clients"
  exit 77
fi
out=$(mktemp)
"$1" >"$out" &
server=$!
trap 'kill $server 2>/dev/null; rm -f "$out"' EXIT
while ! read -r url <"$out"; do
  kill -0 $server 2>/dev/null || exit 1
  sleep 0.05
done
node "$here/check.mjs" "$url"
