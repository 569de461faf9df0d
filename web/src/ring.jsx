// The live ring: nodes on a circle, their memory and layers, and the links between them.
import { topology } from './store.js';

const size = 320;
const radius = 105;

export function formatBytes(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

const formatRtt = (us) => (us >= 1000 ? `${(us / 1000).toFixed(1)} ms` : `${Math.round(us)} µs`);

function positions(nodes) {
  const middle = size / 2;
  if (nodes.length === 1) return [{ x: middle, y: middle }];
  return nodes.map((_, i) => {
    const angle = (2 * Math.PI * i) / nodes.length - Math.PI / 2;
    return { x: middle + radius * Math.cos(angle), y: middle + radius * Math.sin(angle) };
  });
}

// Ring order of the first loaded model, then whoever holds nothing.
function inRingOrder(view) {
  const order = new Map((view.placements[0]?.stages ?? []).map((stage, i) => [stage.node, i]));
  return [...view.nodes].sort((a, b) => (order.get(a.id) ?? 1e6) - (order.get(b.id) ?? 1e6) || a.id.localeCompare(b.id));
}

function Link({ from, to, label }) {
  const x = (from.x + to.x) / 2;
  const y = (from.y + to.y) / 2;
  return (
    <g class="link">
      <line x1={from.x} y1={from.y} x2={to.x} y2={to.y} />
      {label && <text x={x} y={y - 4}>{label}</text>}
    </g>
  );
}

function ringLinks(view, nodes, at) {
  const stages = view.placements[0]?.stages ?? [];
  if (stages.length < 2) return [];
  const index = new Map(nodes.map((node, i) => [node.id, i]));
  const pairs = stages.map((stage, i) => [stage.node, stages[(i + 1) % stages.length].node]);
  const seen = new Set();
  return pairs.flatMap(([a, b]) => {
    const key = [a, b].sort().join();
    if (seen.has(key) || !index.has(a) || !index.has(b)) return [];
    seen.add(key);
    const link = view.links.find((one) => (one.from === a && one.to === b) || (one.from === b && one.to === a));
    return [<Link key={key} from={at[index.get(a)]} to={at[index.get(b)]} label={link?.rtt_us ? formatRtt(link.rtt_us) : ''} />];
  });
}

function NodeDot({ node, at, layers }) {
  const used = node.memory_total_bytes ? 1 - node.memory_free_bytes / node.memory_total_bytes : 0;
  const around = 2 * Math.PI * 26;
  return (
    <g class={`node ${node.state}${node.self ? ' self' : ''}`} transform={`translate(${at.x} ${at.y})`}>
      <circle class="disk" r="26" />
      <circle class="memory" r="26" transform="rotate(-90)" stroke-dasharray={`${around * used} ${around}`} />
      <text class="layers" y="4">{layers}</text>
      <text class="name" y="42">{node.name}</text>
      <title>{`${node.name}: ${formatBytes(node.memory_free_bytes)} of ${formatBytes(node.memory_total_bytes)} free`}</title>
    </g>
  );
}

function layersOf(view, id) {
  const stage = view.placements.flatMap((one) => one.stages).find((one) => one.node === id);
  return stage ? `${stage.layer_begin}–${stage.layer_end - 1}` : '';
}

const spans = (list) => list.map((one) => (one.layer_end - one.layer_begin === 1 ? `${one.layer_begin}` : `${one.layer_begin}–${one.layer_end - 1}`)).join(', ');

// What a node has on its disk of a model from a hub: "all of it", "layers 0–5 of 12, spare 6–11".
export function heldText(held) {
  if (held.complete) return 'all of it';
  if (held.layers.length === 0) return 'a part';
  return `layers ${spans(held.layers)} of ${held.layer_count}${held.spare.length ? `, spare ${spans(held.spare)}` : ''}`;
}

function NodeRow({ node, layers }) {
  return (
    <li class={node.state}>
      <strong>{node.name}</strong>{node.self && <em> this node</em>}
      <div class="facts">
        {[node.chip, `${formatBytes(node.memory_free_bytes)} of ${formatBytes(node.memory_total_bytes)} free`,
          layers && `layers ${layers}`, node.state !== 'alive' && node.state].filter(Boolean).join(' · ')}
      </div>
      {(node.held ?? []).map((held) => (
        <div class="facts held" key={held.source}>{held.model} on disk: {heldText(held)} · {formatBytes(held.held_bytes)}</div>
      ))}
    </li>
  );
}

export function Ring() {
  const view = topology.value;
  if (!view) return <section class="ring"><p class="hint">Looking for the cluster …</p></section>;
  const nodes = inRingOrder(view);
  const at = positions(nodes);
  return (
    <section class="ring" aria-label="Cluster">
      <h2>{nodes.length === 1 ? 'One device' : `${nodes.length} devices`}</h2>
      <svg viewBox={`0 0 ${size} ${size}`} role="img" aria-label="The ring of nodes" data-testid="ring">
        {ringLinks(view, nodes, at)}
        {nodes.map((node, i) => <NodeDot key={node.id} node={node} at={at[i]} layers={layersOf(view, node.id)} />)}
      </svg>
      {view.placements.map((one) => (
        <p class="hint" key={one.id}>{one.model} · {one.layer_count} layers over {one.stages.length} {one.stages.length === 1 ? 'node' : 'nodes'} · {one.state}</p>
      ))}
      <ul class="nodes">{nodes.map((node) => <NodeRow key={node.id} node={node} layers={layersOf(view, node.id)} />)}</ul>
      {nodes.length === 1 && <p class="hint">Add a device: run <code>exo invite</code> here and <code>exo join CODE</code> there.</p>}
      {view.foreign_count > 0 && (
        <p class="hint">{view.foreign_count} {view.foreign_count === 1 ? 'device' : 'devices'} of another cluster nearby: run <code>exo invite</code> there.</p>
      )}
    </section>
  );
}
