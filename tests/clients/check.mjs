// Checks a running node with the official OpenAI client:
//   npm ci && node check.mjs http://127.0.0.1:52415 [model] [api key]
// Works against any model: expectations are relations between answers, not texts.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [base, modelArgument, apiKey = "unused"] = process.argv.slice(2);
if (!base) {
  console.error("usage: node check.mjs BASE_URL [MODEL] [API_KEY]");
  process.exit(2);
}
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0, timeout: 120_000 });
const headers = { authorization: `Bearer ${apiKey}` };
const finishReasons = ["stop", "length", "tool_calls", "content_filter"];
const user = (content) => [{ role: "user", content }];

const checks = [];
const check = (name, run) => checks.push({ name, run });
let model;

const greedy = (prompt, more = {}) =>
  client.chat.completions.create({
    model, messages: user(prompt), temperature: 0, max_tokens: 24, ...more,
  });

async function streamed(prompt, more = {}) {
  const out = { texts: {}, finish: {}, usage: null, ids: new Set(), roles: {}, chunks: 0 };
  const stream = await greedy(prompt, { stream: true, ...more });
  for await (const chunk of stream) {
    out.chunks += 1;
    out.ids.add(chunk.id);
    assert.equal(chunk.object, "chat.completion.chunk");
    if (chunk.usage) out.usage = chunk.usage;
    for (const choice of chunk.choices) {
      if (choice.delta.role) out.roles[choice.index] = choice.delta.role;
      assert.ok(out.roles[choice.index], "the first chunk of a choice names the role");
      assert.equal(out.finish[choice.index], undefined, "nothing follows finish_reason");
      out.texts[choice.index] = (out.texts[choice.index] ?? "") + (choice.delta.content ?? "");
      if (choice.finish_reason) out.finish[choice.index] = choice.finish_reason;
    }
  }
  assert.equal(out.ids.size, 1, "one id for all chunks");
  return out;
}

async function metric(name) {
  const text = await (await fetch(`${base}/metrics`, { headers })).text();
  const line = text.split("\n").find((l) => l.startsWith(`${name} `));
  assert.ok(line, `/metrics has ${name}`);
  return Number(line.split(" ")[1]);
}

async function rejected(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  assert.fail("an error was expected");
}

check("models: list and retrieve", async () => {
  const list = await client.models.list();
  assert.ok(list.data.length > 0);
  for (const entry of list.data) assert.equal(entry.object, "model");
  assert.equal((await client.models.retrieve(model)).id, model);
});

check("chat: thinking and tool calls, through the client's own accumulator", async () => {
  if (model !== "fake") return; // only the fake node can be told what to say
  const says = '[say:<think>hm</think><tool_call>{"name":"f","arguments":{"x":1}}</tool_call>]';
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];
  const stream = client.chat.completions.stream({ model, messages: user(says), tools });
  let thought = "";
  for await (const chunk of stream)
    thought += chunk.choices[0]?.delta?.reasoning_content ?? "";
  const [choice] = (await stream.finalChatCompletion()).choices;
  assert.equal(thought, "hm");
  assert.equal(choice.finish_reason, "tool_calls");
  const [call] = choice.message.tool_calls;
  assert.equal(call.function.name, "f");
  assert.deepEqual(JSON.parse(call.function.arguments), { x: 1 });
  assert.match(call.id, /^call_[0-9A-Za-z]{24}$/);
});

check("chat: a whole answer", async () => {
  const reply = await greedy("Tell me about rings.");
  assert.equal(reply.object, "chat.completion");
  assert.equal(reply.choices.length, 1);
  const [choice] = reply.choices;
  assert.equal(choice.message.role, "assistant");
  assert.ok(finishReasons.includes(choice.finish_reason), choice.finish_reason);
  assert.ok(reply.system_fingerprint);
  assert.ok(reply.usage.prompt_tokens > 0 && reply.usage.completion_tokens > 0);
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
});

check("chat: the stream says the same as the whole answer", async () => {
  const whole = await greedy("Tell me about rings.");
  const stream = await streamed("Tell me about rings.", { stream_options: { include_usage: true } });
  assert.equal(stream.texts[0], whole.choices[0].message.content);
  assert.equal(stream.finish[0], whole.choices[0].finish_reason);
  assert.equal(stream.usage.completion_tokens, whole.usage.completion_tokens);
  assert.equal(stream.usage.prompt_tokens, whole.usage.prompt_tokens);
});

check("chat: the stream helper accepts our chunks", async () => {
  const runner = client.chat.completions.stream({
    model, messages: user("Count."), temperature: 0, max_tokens: 8,
  });
  const final = await runner.finalChatCompletion();
  assert.ok(finishReasons.includes(final.choices[0].finish_reason));
});

check("chat: content parts, developer role, null fields", async () => {
  const reply = await client.chat.completions.create({
    model, temperature: 0, max_tokens: 8, stop: null, seed: null, logit_bias: null,
    messages: [
      { role: "developer", content: "Be brief." },
      { role: "user", content: [{ type: "text", text: "Hello" }] },
    ],
  });
  assert.equal(reply.choices.length, 1);
});

check("completions: whole and stream agree", async () => {
  const request = { model, prompt: "The ring of nodes", temperature: 0, max_tokens: 12 };
  const whole = await client.completions.create(request);
  assert.equal(whole.object, "text_completion");
  let text = "";
  let finish = null;
  for await (const chunk of await client.completions.create({ ...request, stream: true })) {
    for (const choice of chunk.choices) {
      text += choice.text;
      finish = choice.finish_reason ?? finish;
    }
  }
  assert.equal(text, whole.choices[0].text);
  assert.equal(finish, whole.choices[0].finish_reason);
});

check("completions: several prompts, echo, logprobs", async () => {
  const both = await client.completions.create({
    model, prompt: ["One", "Two"], temperature: 0, max_tokens: 4, echo: true,
  });
  assert.deepEqual(both.choices.map((choice) => choice.index), [0, 1]);
  assert.ok(both.choices[0].text.startsWith("One") && both.choices[1].text.startsWith("Two"));
  const scored = await client.completions.create({
    model, prompt: "One", temperature: 0, max_tokens: 4, logprobs: 2,
  });
  const { tokens, token_logprobs, top_logprobs, text_offset } = scored.choices[0].logprobs;
  assert.equal(tokens.length, token_logprobs.length);
  assert.equal(tokens.length, top_logprobs.length);
  assert.equal(tokens.length, text_offset.length);
  assert.equal(text_offset[0], 0);
});

check("n: several choices, streamed and whole", async () => {
  const whole = await greedy("Tell me about layers.", { n: 3 });
  assert.deepEqual(whole.choices.map((choice) => choice.index), [0, 1, 2]);
  const stream = await streamed("Tell me about layers.", { n: 3 });
  for (const choice of whole.choices)
    assert.equal(stream.texts[choice.index], choice.message.content);
  assert.equal(Object.keys(stream.finish).length, 3);
});

check("seed: the same seed gives the same text", async () => {
  const ask = (seed) => greedy("Tell me a story.", { temperature: 1, seed });
  const [a, b] = [await ask(7), await ask(7)];
  assert.equal(a.choices[0].message.content, b.choices[0].message.content);
});

check("stop: the answer ends before the stop string", async () => {
  const text = (await greedy("Tell me about rings.")).choices[0].message.content;
  const letters = Array.from(text);
  assert.ok(letters.length >= 8, "a long enough answer");
  const stop = letters.slice(4, 7).join("");
  const cut = await greedy("Tell me about rings.", { stop: [stop, "\u0001never"] });
  assert.equal(cut.choices[0].message.content, text.slice(0, text.indexOf(stop)));
  assert.equal(cut.choices[0].finish_reason, "stop");
  const stream = await streamed("Tell me about rings.", { stop });
  assert.equal(stream.texts[0], cut.choices[0].message.content);
});

check("logprobs: one entry per token, bytes make the text", async () => {
  const reply = await greedy("Tell me about rings.", { logprobs: true, top_logprobs: 3 });
  const { content } = reply.choices[0].logprobs;
  for (const entry of content) {
    assert.ok(entry.logprob <= 1e-6);
    assert.equal(entry.top_logprobs.length, 3);
    assert.ok(Math.abs(entry.top_logprobs[0].logprob - entry.logprob) < 1e-3, "greedy = best");
  }
  const bytes = Buffer.from(content.flatMap((entry) => entry.bytes));
  const text = reply.choices[0].message.content;
  if (!text.includes("\ufffd")) assert.equal(bytes.toString("utf8").trim(), text.trim());
});

check("20 requests at once answer as they do alone", async () => {
  const prompts = Array.from({ length: 20 }, (_, i) => `Question ${i}: what is ${i} plus ${i * 3}?`);
  const alone = [];
  for (const prompt of prompts) alone.push((await greedy(prompt)).choices[0].message.content);
  const together = await Promise.all(
    prompts.map(async (prompt, i) =>
      i % 2 ? (await streamed(prompt)).texts[0] : (await greedy(prompt)).choices[0].message.content),
  );
  assert.deepEqual(together, alone);
});

check("abort: closing the stream frees the sequence", async () => {
  const stream = await greedy("Never stop.", { stream: true, max_tokens: 2000, ignore_eos: true });
  let seen = 0;
  for await (const chunk of stream) {
    seen += chunk.choices.length;
    if (seen > 2) break; // closes the connection
  }
  stream.controller.abort();
  const deadline = Date.now() + 10_000;
  const busy = async () =>
    (await metric("exo_requests_running")) + (await metric("exo_requests_waiting"));
  while ((await busy()) > 0) {
    assert.ok(Date.now() < deadline, "the sequence is freed");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});

check("errors: the official client understands them", async () => {
  const unknown = await rejected(greedy("x", { model: "no-such-model" }));
  assert.ok(unknown instanceof OpenAI.NotFoundError);
  assert.equal(unknown.code, "model_not_found");
  const hot = await rejected(greedy("x", { temperature: -1 }));
  assert.ok(hot instanceof OpenAI.BadRequestError);
  assert.equal(hot.type, "invalid_request_error");
  assert.equal(hot.param, "temperature");
  const forced = await rejected(greedy("x", { response_format: { type: "json_object" } }));
  assert.equal(forced.status, 400);
  assert.equal(forced.param, "response_format");
  const image = await rejected(
    client.chat.completions.create({
      model,
      messages: user([{ type: "image_url", image_url: { url: "data:image/png;base64,AA==" } }]),
    }),
  );
  assert.equal(image.status, 400);
});

check("errors: a prompt that is too long", async () => {
  const { context_length } = await client.models.retrieve(model);
  const prompt = Array.from({ length: context_length + 1 }, (_, i) => `w${i}`).join(" ");
  for (const stream of [false, true]) {
    const error = await rejected(greedy(prompt, { stream }));
    assert.equal(error.status, 400);
    assert.equal(error.code, "context_length_exceeded");
    assert.match(error.message, /maximum context length/);
  }
});

check("errors: all four keys", async () => {
  const response = await fetch(`${base}/v1/chat/completions`, {
    method: "POST", body: "{", headers: { ...headers, "content-type": "application/json" },
  });
  assert.equal(response.status, 400);
  const { error } = await response.json();
  assert.deepEqual(Object.keys(error).sort(), ["code", "message", "param", "type"]);
});

check("cluster: topology and its event stream", async () => {
  const topology = await (await fetch(`${base}/v1/topology`, { headers })).json();
  assert.ok(topology.nodes.some((node) => node.id === topology.self));
  const stop = new AbortController();
  const events = await fetch(`${base}/v1/cluster/events`, { headers, signal: stop.signal });
  assert.match(events.headers.get("content-type"), /^text\/event-stream/);
  const { value } = await events.body.getReader().read();
  assert.match(Buffer.from(value).toString(), /^event: topology\ndata: \{/);
  stop.abort();
});

model = modelArgument ?? (await client.models.list()).data[0].id;
let failed = 0;
for (const { name, run } of checks) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n      ${error.stack ?? error}`);
  }
}
console.log(`${checks.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
