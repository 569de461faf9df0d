// The page's side of the node's HTTP API. Throws ApiError with the server's own sentence.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const keyName = 'exo-api-key';
export const savedKey = () => localStorage.getItem(keyName) ?? '';
export const saveKey = (key) => localStorage.setItem(keyName, key);

function headers(extra = {}) {
  const key = savedKey();
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

async function checked(response) {
  if (response.ok) return response;
  let message = `the node answered ${response.status}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // not JSON: the status says it all
  }
  throw new ApiError(response.status, message);
}

export async function getJson(path) {
  return (await checked(await fetch(path, { headers: headers() }))).json();
}

// Calls onEvent({data}) or onEvent({comment}) for each server-sent event until the stream ends.
async function readEvents(response, onEvent) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending += value;
    const lines = pending.split(/\r?\n/);
    pending = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data: ')) onEvent({ data: line.slice(6) });
      else if (line.startsWith(': ')) onEvent({ comment: line.slice(2) });
    }
  }
}

// Streams a chat completion: onDelta(text), onThought(text), onNotice(text); returns {finish, usage}.
export async function streamChat({ model, messages, signal, onDelta, onThought, onNotice }) {
  const body = { model, messages, stream: true, stream_options: { include_usage: true } };
  const response = await checked(await fetch('/v1/chat/completions', {
    method: 'POST',
    headers: headers({ 'Content-Type': 'application/json' }),
    body: JSON.stringify(body),
    signal,
  }));
  const result = { finish: null, usage: null };
  await readEvents(response, ({ data, comment }) => {
    if (comment?.startsWith('notice ')) onNotice(comment.slice(7));
    if (!data || data === '[DONE]') return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(500, chunk.error.message);
    if (chunk.usage) result.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    if (choice?.delta?.reasoning_content) onThought(choice.delta.reasoning_content);
    if (choice?.delta?.content) onDelta(choice.delta.content);
    if (choice?.finish_reason) result.finish = choice.finish_reason;
  });
  if (!result.finish) throw new ApiError(502, 'the node closed the connection in the middle of the answer');
  return result;
}

// Follows the cluster's state for as long as the page lives; reconnects with a pause.
export async function watchTopology(onTopology, onConnection) {
  for (;;) {
    try {
      const response = await checked(await fetch('/v1/cluster/events', { headers: headers() }));
      onConnection({ ok: true });
      await readEvents(response, ({ data }) => data && onTopology(JSON.parse(data)));
      onConnection({ ok: false, message: 'The node stopped. Trying again …' });
    } catch (error) {
      if (error.status === 401) {
        onConnection({ ok: false, needsKey: true, message: error.message });
        return;
      }
      onConnection({ ok: false, message: 'The node does not answer. Trying again …' });
    }
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }
}
