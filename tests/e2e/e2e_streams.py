#!/usr/bin/env python3
"""Many clients at once: a thousand streams open together, each answered whole."""
import asyncio, json, resource

from harness import Cluster, check, finish

STREAMS = 1000
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


async def open_stream(port):
    """The connection of a streamed request whose answer has begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "What is exo?"}], "temperature": 0,
                       "max_tokens": 4, "ignore_eos": True, "stream": True}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()
    return reader, writer


async def read_answer(reader, writer):
    answer = (await reader.read()).decode()
    writer.close()
    head, _, events = answer.partition("\r\n\r\n")
    if not head.startswith("HTTP/1.1 200"):
        return answer[:300]
    text = ""
    for line in events.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text += choice["delta"].get("content") or ""
    return text if "data: [DONE]" in events else f"cut short: {events[-300:]}"


async def ask_together(port):
    streams = await asyncio.gather(*(open_stream(port) for _ in range(STREAMS)))
    return await asyncio.gather(*(read_answer(*stream) for stream in streams))


@check
def a_thousand_streams():
    """1,000 streams open together are all answered, the same"""
    with Cluster() as cluster:
        node = cluster.start(discovery=False)
        expected = node.chat_stream("What is exo?", max_tokens=4, ignore_eos=True)[0]
        assert expected
        wrong = [a for a in asyncio.run(ask_together(node.api_port)) if a != expected]
        assert not wrong, f"{len(wrong)} of {STREAMS}, the first: {wrong[0]!r}"


@check
def reused_prompts_are_counted():
    """the second turn of a chat says how many prompt tokens were not computed again"""
    with Cluster() as cluster:
        node = cluster.start(discovery=False)
        body = {"model": "demo", "messages": [{"role": "user", "content": "What is exo? " * 12}], "temperature": 0, "max_tokens": 8}
        first = node.post("/v1/chat/completions", body)
        assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, first
        body["messages"] += [first["choices"][0]["message"], {"role": "user", "content": "And a node?"}]
        second = node.post("/v1/chat/completions", body)["usage"]
        cached = second["prompt_tokens_details"]["cached_tokens"]
        assert first["usage"]["prompt_tokens"] - 16 <= cached < second["prompt_tokens"], second


finish()
