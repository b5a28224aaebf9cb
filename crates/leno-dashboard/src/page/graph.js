// The picture: cards, links and their labels as SVG, where the control plane has placed them.

import { h } from './dom.js';
import { STATUS_WORDS, count, host, latency, percent, rate, short } from './format.js';
import { LOCK, OPEN_LOCK, STATUS_PATHS } from './icons.js';

const KINDS = {
  service: 'no workload',
  external: 'outside the mesh',
  outside: 'outside the mesh',
};
const MARKS = ['ok', 'warning', 'error', 'idle', 'chosen'];

/** `chosen` is a card or link by id, `found` a set of cards or null, `far` is true where text would be too small. */
export function drawGraph(graph, { transform, far, chosen, found, roving, on }) {
  const near = chosen && neighbours(graph, chosen);
  const isDim = (id) => (found && !found.has(id)) || (near && !near.has(id));
  return h('svg', {
    id: 'graph', class: far ? 'graph far' : 'graph', role: 'group', 'aria-label': 'Topology: arrow keys move between cards, Enter shows details',
    onclick: (event) => { if (!event.target.closest('[data-node], [data-edge]')) on.choose(null); },
    onkeydown: on.key,
  },
  h('defs', null, MARKS.map((mark) => h('marker', {
    key: mark, id: `arrow-${mark}`, class: `arrow ${mark}`, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8,
    markerUnits: 'userSpaceOnUse', orient: 'auto-start-reverse',
  }, h('path', { d: 'M0.5 0.8L7.5 4L0.5 7.2z' })))),
  h('g', { class: 'world', transform },
    graph.groups.map((group) => drawGroup(group, far)),
    h('g', { key: 'edges', class: 'edges' }, graph.edges.map((edge) => drawEdge(edge, chosen, isDim(edge.id), on))),
    h('g', { key: 'nodes', class: 'nodes' }, graph.nodes.map((node) => drawNode(node, far, chosen, isDim(node.id), roving, on))),
    h('g', { key: 'labels', class: 'labels' }, graph.edges.map((edge) => drawLabel(graph, edge, chosen, isDim(edge.id), on)))));
}

/** The card of `default/reviews/v1` */
export function cardOf(end) {
  return end.slice(0, end.lastIndexOf('/'));
}

function neighbours(graph, chosen) {
  const near = new Set([chosen]);
  for (const edge of graph.edges) {
    const ends = [cardOf(edge.from), cardOf(edge.to)];
    if (edge.id === chosen || ends.includes(chosen)) [edge.id, ...ends].forEach((id) => near.add(id));
  }
  return near;
}

function drawGroup(group, far) {
  return h('g', { key: `group ${group.namespace}`, class: 'group' },
    h('rect', { x: group.x, y: group.y, width: group.width, height: group.height, rx: 16 }),
    h('text', { x: group.x + 18, y: group.y + (far ? 32 : 25), 'font-size': far ? 30 : 12.5 }, group.namespace));
}

function drawNode(node, far, chosen, dim, roving, on) {
  const name = short(node.name, node.compact && !far ? 15 : 21);
  const middle = node.height / 2;
  const classes = ['node', node.kind, node.status, node.id === chosen && 'chosen', dim && 'dim'];
  return h('g', {
    key: node.id, class: classes.filter(Boolean).join(' '), 'data-node': node.id, transform: `translate(${node.x} ${node.y})`,
    role: 'button', tabindex: node.id === roving ? 0 : -1, 'aria-label': spoken(node), 'aria-pressed': node.id === chosen ? 'true' : 'false',
    onclick: () => on.choose(node.id), onfocus: () => on.focus(node.id),
  },
  h('rect', { class: 'card', width: node.width, height: node.height, rx: 10 }),
  // From afar the name is all there is: as large as it fits.
  h('path', { class: `status ${node.status}`, transform: far ? `translate(20 ${middle}) scale(1.7)` : `translate(17 ${node.compact ? middle : 19})`, d: STATUS_PATHS[node.status] }),
  h('text', {
    class: 'name', x: far ? 36 : 30, y: far ? middle + 7 : node.compact ? middle + 4.5 : 23.5,
    'font-size': far ? Math.min(22, (node.width - 44) / (name.length * 0.62)).toFixed(1) : 14,
  }, name),
  node.name.length > (node.compact ? 15 : 20) && h('title', null, node.name),
  !node.compact && h('path', { class: 'rule', d: `M0 36.5H${node.width}` }),
  node.rows.map((row) => drawRow(node, row)));
}

function drawRow(node, row) {
  const middle = row.y + row.height / 2 + 4;
  const all = row.healthy === row.instances;
  const what = row.version || KINDS[node.kind] || (node.kind === 'namespace' ? count(row.instances, 'instance') : count(row.instances, 'instance'));
  const gone = node.kind === 'workloads' && row.instances === 0;
  return h('g', { key: row.version, class: `row ${row.status}`, 'data-row': `${node.id}/${row.version}` },
    row.status !== 'ok' && row.status !== 'idle' && node.rows.length > 1
      && h('path', { class: `status ${row.status}`, transform: `translate(17 ${middle - 4}) scale(0.75)`, d: STATUS_PATHS[row.status] }),
    !node.compact && h('text', { class: 'version', x: 30, y: middle }, short(gone && !row.version ? 'gone' : what, 16)),
    row.version && (row.instances > 1 || !all || gone)
      && h('text', { class: all && !gone ? 'ready' : 'ready not', x: 30 + Math.min(row.version.length, 16) * 7 + 8, y: middle },
        gone ? 'gone' : all ? `×${row.instances}` : `${row.healthy}/${row.instances}`),
    row.inbound.success !== null && h('text', { class: 'rate', x: node.width - 14, y: middle }, rate(row.inbound.rate)));
}

function drawEdge(edge, chosen, dim, on) {
  const mark = edge.id === chosen ? 'chosen' : edge.status;
  const classes = ['edge', edge.status, edge.security, edge.id === chosen && 'chosen', dim && 'dim'];
  return h('g', {
    key: edge.id, class: classes.filter(Boolean).join(' '), 'data-edge': edge.id, 'data-from': edge.from, 'data-to': edge.to,
    onclick: () => on.choose(edge.id),
  },
  h('path', { class: 'hit', d: edge.path }),
  h('path', { class: 'line', d: edge.path, 'stroke-width': weight(edge.rate), 'marker-end': `url(#arrow-${mark})` }));
}

/** The more, the thicker, by orders of magnitude. */
function weight(perSecond) {
  return (1.2 + Math.min(Math.log10(1 + perSecond), 4) * 0.7).toFixed(2);
}

function drawLabel(graph, edge, chosen, dim, on) {
  const rect = edge.label ?? (edge.id === chosen ? floating(edge.path) : null);
  if (!rect) return null;
  const classes = ['label', edge.status, edge.security, edge.id === chosen && 'chosen', dim && 'dim', !edge.label && 'floating'];
  const [x, y] = [rect.x + 4, rect.y + 2];
  const [width, height] = [rect.width - 8, rect.height - 4];
  const quiet = edge.success === null;
  return h('g', {
    key: edge.id, class: classes.filter(Boolean).join(' '), 'data-label': edge.id, 'data-edge': edge.id, transform: `translate(${x} ${y})`,
    'aria-hidden': 'true', onclick: () => on.choose(edge.id),
  },
  h('rect', { width, height, rx: 7 }),
  edge.security !== 'unknown' && h('path', { class: 'lock', transform: 'translate(9 4.6) scale(0.92)', d: edge.security === 'mtls' ? LOCK : OPEN_LOCK }),
  h('text', { class: 'rate', x: edge.security === 'unknown' ? 9 : 24, y: 15 }, quiet ? 'idle' : rate(edge.rate, edge.protocol)),
  !quiet && edge.status === 'error' && h('path', { class: 'status error', transform: `translate(${width - 55} 10.5) scale(0.72)`, d: STATUS_PATHS.error }),
  !quiet && edge.status === 'warning' && edge.success < 1
    && h('path', { class: 'status warning', transform: `translate(${width - 55} 10.5) scale(0.72)`, d: STATUS_PATHS.warning }),
  !quiet && h('text', { class: 'success', x: width - 9, y: 15 }, percent(edge.success)),
  h('text', { class: 'second', x: 9, y: 29 }, edge.security === 'plaintext' && !edge.principal && edge.status !== 'error' ? 'plaintext' : secondLine(edge)),
  edge.security === 'plaintext' && edge.p50 !== null && h('text', { class: 'second end', x: width - 9, y: 29 }, latency(edge.p99)));
}

function secondLine(edge) {
  if (edge.success === null) return 'no requests now';
  if (edge.p50 === null) return edge.protocol === 'tcp' ? 'TCP' : '';
  if (edge.security === 'plaintext') return 'plaintext';
  return `p50 ${latency(edge.p50)} · p99 ${latency(edge.p99)}`;
}

/** Where a label goes when the picture has no room of its own for it: on the link's last part. */
function floating(path) {
  const numbers = path.match(/-?[\d.]+/g).map(Number);
  const [x, y] = numbers.slice(-2);
  return { x: x - 166, y: y - 20, width: 158, height: 40 };
}

function spoken(node) {
  const name = node.namespace ? `${node.name} in ${node.namespace}` : node.name;
  const traffic = node.inbound.success === null ? 'no requests'
    : `${rate(node.inbound.rate)} requests, ${percent(node.inbound.success)} succeed`;
  return [name, STATUS_WORDS[node.status], ...node.reasons, traffic].join(', ');
}

export function spokenEdge(edge) {
  const [from, to] = [edge.from, edge.to].map((end) => end.split('/').filter(Boolean).slice(1).join(' '));
  return `${from} to ${to}: ${rate(edge.rate, edge.protocol)}, ${percent(edge.success)}`;
}

export { host };
