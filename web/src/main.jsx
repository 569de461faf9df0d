// The page: conversations on the left, chat in the middle, the ring on the right; drawers on a phone.
import { signal } from '@preact/signals';
import { render } from 'preact';
import { saveKey } from './api.js';
import { Chat, ModelPicker } from './chat.jsx';
import { Ring } from './ring.jsx';
import { chats, connection, currentId, newChat, removeChat, startWatching, topology } from './store.js';

const drawer = signal(''); // on small screens: '', 'chats' or 'ring'
const toggle = (name) => { drawer.value = drawer.value === name ? '' : name; };

function ChatList() {
  return (
    <nav class="chats" aria-label="Conversations">
      <button type="button" class="primary" onClick={() => { newChat(); drawer.value = ''; }}>New chat</button>
      <ul>
        {chats.value.map((chat) => (
          <li key={chat.id} class={chat.id === currentId.value ? 'current' : ''}>
            <button type="button" class="title" onClick={() => { currentId.value = chat.id; drawer.value = ''; }}>{chat.title}</button>
            <button type="button" class="remove" aria-label={`Delete ${chat.title}`} onClick={() => removeChat(chat.id)}>×</button>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function KeyForm() {
  const submit = (event) => {
    event.preventDefault();
    saveKey(event.target.elements.key.value.trim());
    location.reload();
  };
  return (
    <form class="key-form" onSubmit={submit}>
      <h1>exo</h1>
      <p>This node asks for its API key (the value of --api-key).</p>
      <input name="key" type="password" autocomplete="current-password" aria-label="API key" required />
      <button class="primary">Continue</button>
    </form>
  );
}

function App() {
  if (connection.value.needsKey) return <KeyForm />;
  const count = topology.value?.nodes.length ?? 0;
  return (
    <div class={`page ${drawer.value && `show-${drawer.value}`}`}>
      <header>
        <button type="button" class="only-small" aria-label="Conversations" onClick={() => toggle('chats')}>☰</button>
        <span class="logo">exo</span>
        <ModelPicker />
        <button type="button" class="only-small" aria-label="Cluster" onClick={() => toggle('ring')}>◎ {count}</button>
      </header>
      <ChatList />
      <Chat />
      <Ring />
      <div class="shade" onClick={() => { drawer.value = ''; }} />
    </div>
  );
}

startWatching();
render(<App />, document.getElementById('app'));
