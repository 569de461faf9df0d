// Model output -> safe HTML. Everything a model writes is hostile: no raw HTML, scripts or remote images (an
// image address can carry the conversation away); links open outside and without a referrer.
import DOMPurify from 'dompurify';
import { Marked } from 'marked';

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escapeHtml = (text) => text.replace(/[&<>"]/g, (c) => escapes[c]);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escapeHtml(text),
    image: ({ href, text }) => `[image: ${escapeHtml(text || href)}]`,
    code: ({ text, lang }) =>
      `<div class="code"><div class="code-head"><span>${escapeHtml((lang ?? '').split(/\s/)[0])}</span>` +
      `<button type="button" data-copy>copy</button></div><pre><code>${escapeHtml(text)}</code></pre></div>`,
  },
});

DOMPurify.addHook('afterSanitizeAttributes', (node) => {
  if (node.tagName === 'A') {
    node.setAttribute('target', '_blank');
    node.setAttribute('rel', 'noopener noreferrer');
  }
});

export function toHtml(text) {
  return DOMPurify.sanitize(marked.parse(text), {
    FORBID_TAGS: ['img', 'style', 'form', 'input', 'iframe', 'svg', 'math', 'video', 'audio', 'picture', 'source'],
    FORBID_ATTR: ['style'],
    ADD_ATTR: ['data-copy', 'target'],
  });
}

// While text streams in, only its last block can still change: what is before the last blank line outside a code
// fence is rendered once.
export function splitStable(text) {
  let fence = false;
  let cut = 0;
  let offset = 0;
  for (const line of text.split('\n')) {
    if (/^\s*(```|~~~)/.test(line)) fence = !fence;
    offset += line.length + 1;
    if (!fence && line === '' && offset < text.length && !/^(\s|[-*+] |\d+\. )/.test(text.slice(offset))) cut = offset;
  }
  return [text.slice(0, cut), text.slice(cut)];
}
