// The panel beside the picture: what is chosen, in full.

import { h } from './dom.js';
import { STATUS_WORDS, count, host, latency, percent, rate } from './format.js';
import { cardOf } from './graph.js';
import { icon, lock, statusIcon } from './icons.js';

export function drawDetails(graph, { node, edge }, act) {
  return h('aside', { class: 'details', key: 'details', 'aria-label': 'Details' },
    h('button', { class: 'quiet close', 'aria-label': 'Close the details', title: 'Close (Esc)', onclick: () => act.choose(null) }, icon('close')),
    node ? ofNode(graph, node, act) : ofEdge(graph, edge, act));
}

function ofNode(graph, node, act) {
  const into = graph.edges.filter((edge) => cardOf(edge.to) === node.id);
  const out = graph.edges.filter((edge) => cardOf(edge.from) === node.id);
  return [
    h('h2', null, node.name),
    h('p', { class: 'under' }, { workloads: node.namespace, service: `${node.namespace} · a service without workloads`,
      external: 'a host outside the mesh', outside: 'callers that the mesh does not know', namespace: 'a namespace' }[node.kind]),
    state(node.status, node.reasons),
    measures(node.inbound),
    node.kind === 'workloads' && h('section', null, h('h3', null, 'Workloads'), h('ul', { class: 'links' },
      node.rows.flatMap((row) => row.workloads.map((name) => h('li', { key: name },
        h('a', { href: `#/workload/${[node.namespace, name].map(encodeURIComponent).join('/')}` }, name),
        h('span', { class: 'end' }, row.instances === 0 ? 'gone' : row.workloads.length > 1 ? '' : `${row.healthy}/${row.instances} ready`)))))),
    h('button', { class: 'wide', onclick: () => act.setFocus(act.focus === node.id ? '' : node.id) }, icon('target'),
      act.focus === node.id ? 'Show everything again' : 'Only this and what it talks to'),
    ends('Called by', into, (edge) => (node.rows.length > 1 ? `${name(edge.from)} → ${version(edge.to)}` : name(edge.from)), act),
    ends('Calls', out, (edge) => (node.rows.length > 1 ? `${version(edge.from)} → ${name(edge.to)}` : name(edge.to)), act),
  ];
}

function ofEdge(graph, edge, act) {
  const [from, to] = [edge.from, edge.to].map((end) => {
    const card = graph.nodes.find((node) => node.id === cardOf(end));
    const version = end.slice(end.lastIndexOf('/') + 1);
    return { id: card?.id, name: [card?.name, version].filter(Boolean).join(' ') };
  });
  return [
    h('h2', null, h('button', { class: 'link', onclick: () => act.choose(from.id) }, from.name), h('span', { class: 'to' }, ' → '),
      h('button', { class: 'link', onclick: () => act.choose(to.id) }, to.name)),
    h('p', { class: 'under' }, { http: 'HTTP', grpc: 'gRPC', tcp: 'TCP' }[edge.protocol] ?? edge.protocol),
    state(edge.status, edge.reasons),
    measures(edge),
    h('section', null, h('h3', null, 'Connection'), h('dl', { class: 'facts' },
      h('dt', null, 'Security'), h('dd', null, lock(edge.security)),
      edge.principal && [h('dt', null, 'Proven to be'), h('dd', { class: 'mono' }, edge.principal)],
      h('dt', null, 'Called as'), h('dd', null, edge.services.map((name) => h('div', { key: name, title: name }, host(name) || 'an address'))))),
  ];
}

function state(status, reasons) {
  return h('div', { class: `state ${status}` }, statusIcon(status), reasons.length
    ? h('ul', null, reasons.map((reason) => h('li', { key: reason }, reason))) : STATUS_WORDS[status]);
}

export function measures(of) {
  const cell = (name, value, status) => h('div', { key: name, class: status || null }, h('dt', null, name), h('dd', null, value));
  const bad = of.success !== null && of.success < 1 && (of.success < 0.95 ? 'error' : 'warning');
  return h('dl', { class: 'measures' },
    cell('Rate', rate(of.rate, of.protocol)), cell('Success', percent(of.success), bad),
    cell('p50', latency(of.p50)), cell('p95', latency(of.p95)), cell('p99', latency(of.p99)));
}

function name(end) {
  return end.split('/').slice(1).filter(Boolean).join(' ');
}

function version(end) {
  return end.slice(end.lastIndexOf('/') + 1) || 'it';
}

function ends(title, edges, other, act) {
  if (!edges.length) return null;
  const sorted = [...edges].sort((a, b) => b.rate - a.rate);
  return h('section', null, h('h3', null, title, h('span', { class: 'end' }, count(edges.length, 'link'))), h('ul', { class: 'links' },
    sorted.map((edge) => h('li', { key: edge.id },
      h('button', { class: 'link', onclick: () => act.choose(edge.id) }, statusIcon(edge.status),
        other(edge)),
      h('span', { class: 'end' }, edge.success === null ? 'idle' : `${rate(edge.rate, edge.protocol)} · ${percent(edge.success)}`)))));
}
