// The page's state, as signals. Chats are kept in this browser (localStorage) and nowhere else.
import { computed, signal } from '@preact/signals';
import { getJson, streamChat, watchTopology } from './api.js';

const chatsName = 'exo-chats';
const keptChats = 50;

function loadChats() {
  try {
    const chats = JSON.parse(localStorage.getItem(chatsName));
    return Array.isArray(chats) ? chats : [];
  } catch {
    return [];
  }
}

export const mostPictures = 16; // of a request
export const isSeeing = (id) => models.value.find((one) => one.id === id)?.vision ?? false;
export const chats = signal(loadChats()); // newest first: {id, title, model, messages: [{role, content, images?, thinking?, stats?, error?}]}
export const currentId = signal(null);
export const current = computed(() => chats.value.find((chat) => chat.id === currentId.value) ?? null);
export const models = signal([]);
export const model = signal('');
export const topology = signal(null);
export const connection = signal({ ok: false, message: 'Connecting …' });
export const answering = signal(null); // {chatId, text, thinking, notice, startedMs, firstMs, pieces}
let abort = null;

// The store has room for a few megabytes: pictures go first, and live as long as the page.
function storeWithoutPictures() {
  const bare = (message) => ({ ...message, images: undefined });
  try {
    localStorage.setItem(chatsName, JSON.stringify(chats.value.map((chat) => ({ ...chat, messages: chat.messages.map(bare) }))));
  } catch {
    // full all the same: so do the chats
  }
}

function storeChats(list) {
  chats.value = list.slice(0, keptChats);
  try {
    localStorage.setItem(chatsName, JSON.stringify(chats.value));
  } catch {
    storeWithoutPictures();
  }
}

function updateChat(id, change) {
  storeChats(chats.value.map((chat) => (chat.id === id ? { ...chat, ...change(chat) } : chat)));
}

export function newChat() {
  stop();
  currentId.value = null;
}

export function removeChat(id) {
  if (currentId.value === id) newChat();
  storeChats(chats.value.filter((chat) => chat.id !== id));
}

export async function refreshModels() {
  const list = (await getJson('/v1/models')).data ?? [];
  models.value = list;
  if (!list.some((one) => one.id === model.value)) model.value = list.find((one) => one.default)?.id ?? list[0]?.id ?? '';
}

export function startWatching() {
  refreshModels().catch(() => {});
  watchTopology(
    (value) => { topology.value = value; },
    (value) => {
      const back = value.ok && !connection.value.ok;
      connection.value = value;
      if (back) refreshModels().catch(() => {});
    },
  );
}

export function stop() {
  abort?.abort();
}

function settle(id, state, extra) {
  const seconds = (performance.now() - state.firstMs) / 1000;
  const tokens = extra.usage?.completion_tokens ?? state.pieces;
  const stats = state.firstMs
    ? { firstTokenMs: state.firstMs - state.startedMs, tokensPerS: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null, tokens }
    : null;
  updateChat(id, (chat) => ({ messages: [...chat.messages, { role: 'assistant', content: state.text, thinking: state.thinking, stats, ...extra }] }));
}

// A conversation as requests have it: pictures before the text that asks about them, the newest that a request may hold,
// and none for a model that reads text only.
function asSent(messages, sees) {
  let room = sees ? mostPictures : 0;
  return messages.reduceRight((sent, { role, content, images = [] }) => {
    const kept = room ? images.slice(-room) : [];
    room -= kept.length;
    const parts = kept.map((url) => ({ type: 'image_url', image_url: { url } }));
    return [{ role, content: parts.length ? [...parts, { type: 'text', text: content }] : content }, ...sent];
  }, []);
}

async function answer(id) {
  const chat = chats.value.find((one) => one.id === id);
  const state = { chatId: id, text: '', thinking: '', notice: '', startedMs: performance.now(), firstMs: 0, pieces: 0 };
  const show = () => { answering.value = { ...state }; };
  const arrived = (where, text) => {
    if (!state.firstMs) state.firstMs = performance.now();
    state[where] += text;
    state.pieces += 1;
    show();
  };
  abort = new AbortController();
  show();
  try {
    const result = await streamChat({
      model: chat.model,
      messages: asSent(chat.messages.filter((one) => !one.error), isSeeing(chat.model)),
      signal: abort.signal,
      onNotice: (text) => { state.notice = text; show(); },
      onThought: (text) => arrived('thinking', text),
      onDelta: (text) => arrived('text', text),
    });
    settle(id, state, { usage: result.usage, finish: result.finish });
  } catch (error) {
    if (error.name === 'AbortError') settle(id, state, { finish: 'stopped' });
    else settle(id, state, { error: error.message });
  } finally {
    answering.value = null;
    abort = null;
  }
}

export function send(text, images = []) {
  if (answering.value || !text.trim()) return;
  let chat = current.value;
  if (!chat) {
    chat = { id: crypto.randomUUID?.() ?? String(Date.now()), title: text.trim().slice(0, 60), model: model.value, messages: [] };
    storeChats([chat, ...chats.value]);
    currentId.value = chat.id;
  }
  updateChat(chat.id, (old) => ({ model: model.value, messages: [...old.messages, { role: 'user', content: text, ...(images.length && { images }) }] }));
  answer(chat.id);
}

// Asks the last question again.
export function retry() {
  const chat = current.value;
  if (answering.value || !chat) return;
  const last = chat.messages.findLastIndex((one) => one.role === 'user');
  updateChat(chat.id, () => ({ model: model.value, messages: chat.messages.slice(0, last + 1) }));
  answer(chat.id);
}
