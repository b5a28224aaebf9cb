// Topology: who calls whom, now.

import { query } from './data.js';
import { drawDetails } from './details.js';
import { h } from './dom.js';
import { drawGraph } from './graph.js';
import { icon } from './icons.js';
import { Viewport } from './viewport.js';

const LEVELS = [
  ['', 'Auto', 'As much as fits'],
  ['versions', 'Versions', 'Each version of a service'],
  ['services', 'Services', 'Versions put together'],
  ['namespaces', 'Namespaces', 'Services put together'],
];
/** Text of 11 pixels is not read any smaller than this. */
const READABLE = 0.62;

export function topologyView({ redraw, follow }) {
  const viewport = new Viewport(redraw);
  const at = { level: '', namespace: '', focus: '', search: '', chosen: null, roving: null };
  let graph = null;
  let wanted = null;

  const change = (what) => {
    Object.assign(at, what);
    follow();
    redraw();
  };
  const on = {
    choose: (id) => {
      at.chosen = id;
      if (graph?.nodes.some((node) => node.id === id)) at.roving = id;
      redraw();
    },
    focus: (id) => { at.roving = id; },
    key: (event) => keys(event),
  };

  function keys(event) {
    const here = graph.nodes.find((node) => node.id === at.roving);
    const actions = {
      ArrowLeft: () => move(here, -1, 0), ArrowRight: () => move(here, 1, 0),
      ArrowUp: () => move(here, 0, -1), ArrowDown: () => move(here, 0, 1),
      Enter: () => on.choose(at.roving), ' ': () => on.choose(at.roving),
      Escape: () => on.choose(null), '+': () => viewport.zoom(1.25), '=': () => viewport.zoom(1.25),
      '-': () => viewport.zoom(0.8), 0: () => viewport.fit(),
    };
    if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    actions[event.key]();
  }

  /** To the nearest card in that direction; what lies straight ahead is nearer than what lies aside. */
  function move(from, dx, dy) {
    if (!from) return;
    const center = (node) => [node.x + node.width / 2, node.y + node.height / 2];
    const [x, y] = center(from);
    const distance = (node) => {
      const [cx, cy] = center(node);
      const [ahead, aside] = dx ? [(cx - x) * dx, Math.abs(cy - y)] : [(cy - y) * dy, Math.abs(cx - x)];
      return ahead > 4 ? ahead + aside * 2.5 : Infinity;
    };
    const next = graph.nodes.reduce((best, node) => (distance(node) < distance(best) ? node : best), from);
    if (distance(next) === Infinity) return;
    at.roving = next.id;
    if (at.chosen) at.chosen = next.id;
    viewport.reveal(next);
    redraw();
    document.querySelector(`[data-node="${CSS.escape(next.id)}"]`)?.focus({ preventScroll: true });
  }

  function found() {
    const words = at.search.trim().toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return null;
    const fits = (node) => {
      const text = [node.id, node.status, ...node.rows.flatMap((row) => [row.version, ...row.workloads])].join(' ').toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return graph.nodes.filter(fits);
  }

  function draw(data, overview) {
    graph = data ?? graph;
    if (!graph) return null;
    if (!graph.nodes.some((node) => node.id === at.roving)) at.roving = graph.nodes[0]?.id ?? null;
    const matches = found();
    const ids = matches && new Set(matches.map((node) => node.id));
    const edges = ids && graph.edges.filter((edge) => [edge.from, edge.to].every((end) => ids.has(end.slice(0, end.lastIndexOf('/')))));
    edges?.forEach((edge) => ids.add(edge.id));
    const chosen = chosenThing();
    return [
      toolbar(matches),
      h('div', { class: 'stage', key: 'stage' },
        drawGraph(graph, {
          transform: viewport.transform, far: viewport.k < READABLE, chosen: at.chosen, found: ids, roving: at.roving, on,
        }),
        graph.nodes.length === 0 && nothing(overview),
        graph.nodes.length > 0 && overview?.quiet && quiet(),
        legend(),
        zoom(),
      ),
      chosen && drawDetails(graph, chosen, { choose: pick, focus: at.focus, setFocus: (focus) => { viewport.isOwn = false; change({ focus }); } }),
    ];
  }

  function chosenThing() {
    if (!at.chosen) return null;
    const node = graph.nodes.find((other) => other.id === at.chosen);
    const edge = graph.edges.find((other) => other.id === at.chosen);
    return node ? { node } : edge ? { edge } : null;
  }

  function pick(id) {
    on.choose(id);
    const node = id && graph.nodes.find((other) => other.id === id);
    if (node) viewport.reveal(node);
  }

  function toolbar(matches) {
    return h('div', { class: 'toolbar', key: 'toolbar', role: 'toolbar', 'aria-label': 'What is shown' },
      h('label', { class: 'search' }, icon('search'),
        h('input', {
          type: 'search', placeholder: 'Find…', 'aria-label': 'Find workloads', 'aria-keyshortcuts': '/', value: at.search,
          oninput: (event) => { at.search = event.target.value; redraw(); },
          onkeydown: (event) => {
            if (event.key === 'Enter' && matches?.length) {
              viewport.show(matches[0]);
              on.choose(matches[0].id);
            }
            if (event.key === 'Escape') {
              at.search = '';
              redraw();
            }
          },
        }), matches ? h('output', null, String(matches.length)) : h('kbd', { 'aria-hidden': 'true' }, '/')),
      h('div', { class: 'segments', role: 'group', 'aria-label': 'Put together' }, LEVELS.map(([level, name, title]) =>
        h('button', {
          key: level, title, 'aria-pressed': String(at.level === level),
          onclick: () => { viewport.isOwn = false; change({ level, chosen: null }); },
        }, name, level === '' && graph.automatic && h('span', { class: 'hint' }, ` ${graph.level}`)))),
      graph.namespaces.length > 1 && h('select', {
        'aria-label': 'Namespace', value: at.namespace,
        onchange: (event) => { viewport.isOwn = false; change({ namespace: event.target.value, chosen: null }); },
      }, h('option', { value: '' }, 'All namespaces'), graph.namespaces.map((name) => h('option', { value: name, key: name }, name))),
      at.focus && h('button', { class: 'chip', onclick: () => { viewport.isOwn = false; change({ focus: '' }); }, title: 'Show everything again' },
        `Only around ${at.focus.split('/')[1]}`, icon('close')),
      graph.truncated > 0 && h('span', { class: 'note' }, `${graph.truncated} more do not fit: choose a namespace`));
  }

  function zoom() {
    return h('div', { class: 'zoom', role: 'group', 'aria-label': 'Zoom' },
      h('button', { title: 'Closer (+)', 'aria-label': 'Closer', onclick: () => viewport.zoom(1.25) }, icon('plus')),
      h('button', { title: 'Farther (-)', 'aria-label': 'Farther', onclick: () => viewport.zoom(0.8) }, icon('minus')),
      h('button', { title: 'Show all (0)', 'aria-label': 'Show all', onclick: () => viewport.fit() }, icon('fit')));
  }

  return {
    path: () => `topology${query({ level: at.level, namespaces: at.namespace, focus: at.focus })}`,
    draw,
    drawn: () => {
      const svg = document.getElementById('graph');
      if (!svg || !graph) return;
      viewport.attach(svg);
      const panel = document.querySelector('.details')?.getBoundingClientRect();
      const box = svg.getBoundingClientRect();
      const isBelow = panel && panel.width > box.width * 0.7;
      viewport.covered = panel ? (isBelow ? [0, box.bottom - panel.top] : [box.right - panel.left, 0]) : [0, 0];
      // Only now is it known how much room there is.
      if (viewport.follow(graph.width, graph.height) && wanted !== viewport.transform) {
        wanted = viewport.transform;
        redraw();
      }
    },
    leave: () => viewport.detach(),
  };
}

function nothing(overview) {
  return h('div', { class: 'empty card', key: 'nothing' },
    h('h2', null, 'Nothing is in the mesh yet'),
    h('p', null, 'Start a process in it, in another terminal:'),
    h('pre', null, h('code', null, 'leno run --service web --port 8080 -- python3 -m http.server 8080')),
    overview?.services > 0 && h('p', null, `${overview.services} services are declared; no workload is one of them.`));
}

function quiet() {
  return h('div', { class: 'empty hint', key: 'quiet' },
    h('strong', null, 'No traffic yet.'), ' Links appear with the first request. Try: ',
    h('code', null, 'leno run --service client -- curl -s http://NAME:PORT/'));
}

function legend() {
  const line = (status, words) => h('li', null, h('svg', { viewBox: '0 0 26 10', 'aria-hidden': 'true' },
    h('path', { class: `line ${status}`, d: 'M1 5H25' })), words);
  return h('ul', { class: 'legend', 'aria-label': 'Legend' }, line('ok', 'healthy'), line('error', 'failing'), line('plaintext', 'plaintext'), line('idle', 'idle'));
}
