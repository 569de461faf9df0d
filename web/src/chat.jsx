// The conversation: messages, the answer as it arrives, and the box to type in.
import { useSignal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { splitStable, toHtml } from './markdown.js';
import { attach, attached, detach, sees } from './pictures.js';
import { heldText } from './ring.jsx';
import { answering, connection, current, model, models, retry, send, stop } from './store.js';

function Markdown({ text }) {
  const html = useMemo(() => toHtml(text), [text]);
  return <div class="markdown" dangerouslySetInnerHTML={{ __html: html }} />;
}

function StreamingMarkdown({ text }) {
  const [stable, open] = splitStable(text);
  return (
    <>
      {stable && <Markdown text={stable} />}
      <Markdown text={open} />
    </>
  );
}

function Stats({ stats, finish }) {
  if (!stats) return null;
  const parts = [`${Math.round(stats.firstTokenMs)} ms to first token`];
  if (stats.tokensPerS) parts.push(`${stats.tokensPerS.toFixed(1)} tokens/s`);
  parts.push(`${stats.tokens} tokens`);
  if (finish === 'length') parts.push('cut at the length limit');
  if (finish === 'stopped') parts.push('stopped');
  return <div class="stats" data-testid="stats">{parts.join(' · ')}</div>;
}

function Thinking({ text }) {
  if (!text) return null;
  return <details class="thinking" data-testid="thinking"><summary>Thinking</summary><Markdown text={text} /></details>;
}

function Message({ message, last }) {
  if (message.role === 'user') {
    return (
      <article class="message user">
        {message.images?.map((url, i) => <img key={i} src={url} alt="" />)}
        {message.content}
      </article>
    );
  }
  return (
    <article class="message assistant">
      <Thinking text={message.thinking} />
      <Markdown text={message.content} />
      {message.error && <div class="error" role="alert">{message.error}</div>}
      <footer>
        <Stats stats={message.stats} finish={message.finish} />
        <span class="actions">
          <button type="button" onClick={() => navigator.clipboard?.writeText(message.content)}>copy</button>
          {last && <button type="button" onClick={retry}>try again</button>}
        </span>
      </footer>
    </article>
  );
}

function Answering({ state }) {
  return (
    <article class="message assistant" aria-busy="true" data-testid="answering">
      <Thinking text={state.thinking} />
      {state.text ? <StreamingMarkdown text={state.text} /> : <div class="waiting">{state.notice || 'Thinking …'}</div>}
    </article>
  );
}

function Welcome() {
  const examples = ['What is exo?', 'How do I add another device?', 'What is the capital of France?'];
  return (
    <div class="welcome">
      <h1>exo</h1>
      <p>Your devices, one model. Ask something.</p>
      <div class="examples">{examples.map((text) => <button type="button" key={text} onClick={() => send(text)}>{text}</button>)}</div>
    </div>
  );
}

// Stays at the bottom while text arrives, unless the reader scrolled up.
function useFollow(dependency) {
  const box = useRef(null);
  const following = useRef(true);
  useEffect(() => {
    if (following.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [dependency]);
  const onScroll = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    following.current = scrollHeight - scrollTop - clientHeight < 60;
  };
  return { box, onScroll };
}

function onCopy(event) {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  navigator.clipboard?.writeText(button.closest('.code').querySelector('code').textContent);
  button.textContent = 'copied';
  setTimeout(() => { button.textContent = 'copy'; }, 1200);
}

function AttachButton() {
  const onChange = (event) => {
    attach(event.target.files);
    event.target.value = '';
  };
  return (
    <label class="attach" title="Add a picture">
      <input type="file" accept="image/*" multiple aria-label="Add a picture" onChange={onChange} />
      <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9.5h.01" /></svg>
    </label>
  );
}

function Attachments() {
  if (!sees.value || attached.value.length === 0) return null;
  return (
    <div class="attachments">
      {attached.value.map((url, i) => (
        <button type="button" key={i} aria-label="Remove the picture" title="Remove" onClick={() => detach(i)}><img src={url} alt="" /></button>
      ))}
    </div>
  );
}

function Composer() {
  const text = useSignal('');
  const area = useRef(null);
  const submit = () => {
    if (answering.value || !text.value.trim()) return;
    send(text.value, sees.value ? attached.value : []);
    text.value = '';
    attached.value = [];
    if (area.current) area.current.style.height = '';
  };
  const onKeyDown = (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  };
  const onPaste = (event) => {
    if (attach(event.clipboardData?.files)) event.preventDefault();
  };
  const onInput = (event) => {
    text.value = event.target.value;
    event.target.style.height = 'auto';
    event.target.style.height = `${Math.min(event.target.scrollHeight, 200)}px`;
  };
  return (
    <form class="composer" onSubmit={(event) => { event.preventDefault(); submit(); }}>
      <Attachments />
      {sees.value && <AttachButton />}
      <textarea ref={area} rows="1" value={text.value} placeholder="Ask anything" aria-label="Message" onInput={onInput} onKeyDown={onKeyDown} onPaste={onPaste} />
      {answering.value
        ? <button type="button" class="primary" onClick={stop}>Stop</button>
        : <button type="submit" class="primary" disabled={!text.value.trim() || !model.value}>Send</button>}
    </form>
  );
}

// Beside its name in the list: whether it is loaded or, where it came from a hub, on which disks it lies.
function whereIs(one) {
  if (one.loaded) return ' · loaded';
  const holders = one.nodes ?? [];
  if (one.downloading) return ' · downloading';
  return holders.length ? ` · on ${holders.map((node) => node.name).join(', ')}` : '';
}

export function ModelPicker() {
  const chosen = models.value.find((one) => one.id === model.value);
  const holders = (chosen?.nodes ?? []).map((node) => `${node.name}: ${heldText(node)}`).join('\n');
  return (
    <select aria-label="Model" title={holders || undefined} value={model.value} onChange={(event) => { model.value = event.target.value; }}>
      {models.value.map((one) => <option key={one.id} value={one.id}>{one.id}{whereIs(one)}</option>)}
    </select>
  );
}

export function Chat() {
  const chat = current.value;
  const state = answering.value?.chatId === chat?.id ? answering.value : null;
  const messages = chat?.messages ?? [];
  const { box, onScroll } = useFollow(`${messages.length}:${state?.text.length ?? 0}`);
  const onDrop = (event) => {
    if (attach(event.dataTransfer?.files)) event.preventDefault();
  };
  const onDragOver = (event) => {
    if (sees.value) event.preventDefault();
  };
  return (
    <main class="chat" onDrop={onDrop} onDragOver={onDragOver}>
      <div class="messages" ref={box} onScroll={onScroll} onClick={onCopy} aria-live="polite">
        {messages.length === 0 && !state && <Welcome />}
        {messages.map((message, i) => <Message key={i} message={message} last={i === messages.length - 1 && !state} />)}
        {state && <Answering state={state} />}
      </div>
      {!connection.value.ok && <div class="banner" role="status">{connection.value.message}</div>}
      <Composer />
    </main>
  );
}
