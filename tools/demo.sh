#!/usr/bin/env bash
# Two (or N) nodes on this machine, one model, one answer. Called by ./dev demo after the build.
set -euo pipefail
cd "$(dirname "$0")/.."
nodes=2
question="What is exo?"
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) nodes=${2:?--nodes needs a number}; shift 2 ;;
    --prompt) question=${2:?--prompt needs a text}; shift 2 ;;
    --once) once=1; shift ;;
    *) echo "usage: ./dev demo [--nodes N] [--prompt TEXT] [--once]" >&2; exit 2 ;;
  esac
done
[[ $nodes =~ ^[1-9][0-9]?$ ]] || { echo "--nodes needs a number from 1 to 99" >&2; exit 2; }

exo=build/release/exo
home=$(mktemp -d)
pids=()
cleanup() {
  trap - EXIT INT TERM
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$home"
}
trap cleanup EXIT
trap 'echo; exit 0' INT TERM

# A cluster of its own, so that the demo never meets a cluster you use.
export EXO_CONFIG_DIR="$home/config"
wait_ready() {  # log file -> API port
  for _ in $(seq 100); do
    port=$(sed -n 's|.*http://localhost:\([0-9]*\).*|\1|p' "$1" | head -n 1)
    [ -n "$port" ] && return 0
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  cat "$1" >&2
  echo "a node did not start; its output is above" >&2
  exit 1
}
for i in $(seq "$nodes"); do
  "$exo" serve --disable-tui --node-id "demo-$i" >"$home/node-$i.log" 2>&1 &
  pids+=($!)
  wait_ready "$home/node-$i.log" "${pids[-1]}"
  [ "$i" = 1 ] && first=$port
  echo "node demo-$i is up: http://localhost:$port"
done
export EXO_API_PORT=$first
"$exo" nodes --wait "$nodes" --timeout 10 >/dev/null || { echo "the nodes did not find each other" >&2; exit 1; }
"$exo" load demo >/dev/null
"$exo" topology
echo
echo "> $question"
"$exo" run demo --prompt "$question" --stats
[ -n "${once:-}" ] && exit 0
echo
echo "API and web page: http://localhost:$first   (Ctrl-C stops the demo)"
while kill -0 "${pids[0]}" 2>/dev/null; do sleep 1; done
