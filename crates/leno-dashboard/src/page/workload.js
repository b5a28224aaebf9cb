// A workload's page: who it is, whether its proxies follow, what goes in and out, and what it is told to do.

import { query } from './data.js';
import { measures } from './details.js';
import { h } from './dom.js';
import { STATUS_WORDS, age, clock, count, host, latency, percent, rate } from './format.js';
import { icon, lock, statusIcon } from './icons.js';
import { spark } from './spark.js';
import { SYNC_STATUS } from './workloads.js';

const TYPES = { LDS: 'listeners', RDS: 'routes', CDS: 'clusters', EDS: 'endpoints', NDS: 'names', SDS: 'secrets' };
const STATES = { SYNCED: 'synced', STALE: 'behind', REJECTED: 'rejecting', NOT_SENT: 'not asked for' };

export function workloadView({ parts: [namespace, name] }) {
  return {
    path: () => `workload${query({ namespace, name })}`,
    draw: (page) => h('div', { class: 'page', key: `${namespace}/${name}` },
      h('a', { class: 'back', href: '#/workloads' }, icon('back'), 'Workloads'),
      page === null || page === undefined ? gone(namespace, name) : content(page)),
  };
}

function gone(namespace, name) {
  return h('div', { class: 'empty card' }, h('h2', null, `${name} is not in the mesh`),
    h('p', null, `No workload of that name is registered in the namespace ${namespace}. It appears here when it comes back.`));
}

function content(page) {
  return [
    h('div', { class: 'title' }, h('h1', null, page.name), h('span', { class: `state ${page.status}` }, statusIcon(page.status), STATUS_WORDS[page.status])),
    h('dl', { class: 'facts wide' },
      fact('Namespace', page.namespace), fact('Service account', page.service_account),
      fact('Services', page.services.length ? page.services.map((name) => h('div', { key: name, title: name }, host(name))) : 'none'),
      fact('Labels', h('span', { class: 'tags' }, Object.entries(page.labels).map(([key, value]) => h('code', { key }, `${key}=${value}`))))),
    h('div', { class: 'pair' }, golden('Inbound', page.inbound, page.inbound_series), golden('Outbound', page.outbound, page.outbound_series)),
    h('div', { class: 'pair' }, peers('Called by', page.callers, 'Nobody has called it yet.'), peers('Calls', page.called, 'It has not called anybody yet.')),
    h('section', { class: 'block' }, h('h2', null, 'Proxies', h('small', null, 'does each have what it should?')), page.instances_of.map(instance)),
    requests(page.instances_of.some((one) => one.proxy === 'leno') && page.requests),
    rules('Routes that lead here', page.leads_here, 'for calls of the services that it is part of'),
    rules('Routes that it follows', page.follows, 'for the hosts that it calls'),
    policies('Policies of its own', page.policies),
  ];
}

function fact(name, value) {
  return [h('dt', null, name), h('dd', null, value)];
}

function golden(title, of, series) {
  return h('section', { class: 'block golden' }, h('h2', null, title, h('small', null, `the last ${age(Math.max(series[0]?.ago ?? 0, 30))}`)),
    spark(series, 480, 72, `${title}: ${rate(of.rate)}, ${percent(of.success)} succeed`), measures(of));
}

function peers(title, all, none) {
  return h('section', { class: 'block' }, h('h2', null, title), all.length === 0 ? h('p', { class: 'none' }, none)
    : h('div', { class: 'scroll' }, h('table', null, h('tbody', null, all.map((peer) => h('tr', { key: `${peer.namespace}/${peer.name}` },
      h('th', { scope: 'row', title: peer.principal }, statusIcon(peer.status), peer.is_workload
        ? h('a', { href: `#/workload/${[peer.namespace, peer.name].map(encodeURIComponent).join('/')}` }, peer.name) : host(peer.name)),
      h('td', { class: 'narrow' }, spark(peer.series, 90, 22, `${peer.name}: ${rate(peer.rate)}`)),
      h('td', { class: 'number' }, rate(peer.rate)),
      h('td', { class: peer.success !== null && peer.success < 1 ? 'number bad' : 'number' }, percent(peer.success)),
      h('td', { class: 'number' }, peer.p99 === null ? '' : `p99 ${latency(peer.p99)}`),
      h('td', { class: 'tight' }, lock(peer.security, true))))))));
}

function instance(one) {
  return h('article', { class: 'instance', key: one.id },
    h('div', { class: 'line' }, statusIcon(one.healthy ? 'ok' : 'error'), h('strong', null, one.id),
      h('span', { class: 'muted' }, [one.addresses.join(', '), ...one.ports].filter(Boolean).join(' · ')),
      h('span', { class: 'end muted' }, one.proxy ? `${one.proxy}, connected for ${age(one.connected_seconds)}` : 'no proxy is connected')),
    one.principal && h('div', { class: 'mono muted' }, one.principal),
    h('ul', { class: 'types' }, one.types.map((of) => h('li', { key: of.type, class: SYNC_STATUS[of.state] ?? 'idle' },
      statusIcon(SYNC_STATUS[of.state] ?? 'idle'), h('span', null, TYPES[of.type] ?? of.type),
      h('span', { class: 'muted' }, `${STATES[of.state] ?? of.state} · ${of.resources}`)))),
    one.types.filter((of) => of.error).map((of) => h('p', { class: 'said error', key: of.type }, statusIcon('error'),
      h('span', null, h('strong', null, `${TYPES[of.type] ?? of.type} rejected: `), of.error))));
}

// Only leno's own proxies tell of single requests.
function requests(all) {
  if (!all) return null;
  return h('section', { class: 'block' }, h('h2', null, 'Recent requests', h('small', null, 'paths without their parameters')),
    all.length === 0 ? h('p', { class: 'none' }, 'Waiting for the next request…')
      : h('div', { class: 'scroll' }, h('table', { class: 'requests' }, h('tbody', null, all.map((one) => h('tr', { key: one.key },
        h('td', { class: 'mono muted' }, clock(new Date(one.time))), h('td', null, one.direction), h('td', { class: 'mono' }, one.method),
        h('td', { class: 'mono path' }, one.path), h('td', null, one.peer),
        h('td', { class: one.failed ? 'number bad' : 'number' }, one.failed && statusIcon('error'), one.status),
        h('td', { class: 'number' }, latency(one.latency))))))));
}

function rules(title, hosts, what) {
  if (!hosts.length) return null;
  return h('section', { class: 'block' }, h('h2', null, title, h('small', null, what)), hosts.map((of) => h('article', { class: 'host', key: of.host },
    h('h3', { title: of.host }, host(of.host)),
    of.rules.length === 0 && h('p', { class: 'none' }, 'No route is written: any ready endpoint.'),
    h('ol', { class: 'rules' }, of.rules.map((rule, at) => h('li', { key: at },
      h('div', { class: 'match' }, rule.matches.length ? rule.matches.join(', or ') : 'every request', source(rule.object)),
      rule.actions.map((action) => h('div', { class: 'action', key: action }, action)),
      rule.backends.length > 0 && h('ul', { class: 'shares' }, rule.backends.map((backend, number) => h('li', { key: number, class: backend.invalid ? 'error' : null },
        h('meter', { min: 0, max: 1, value: backend.share, 'aria-label': `share of ${backend.subset || host(backend.host)}` }),
        h('span', { class: 'share' }, `${Math.round(backend.share * 100)}%`),
        [host(backend.host), backend.subset].filter(Boolean).join(' · '),
        backend.invalid && h('span', { class: 'muted' }, 'there is no such service: its share is answered 500'))))))),
    policyList(of.policies))));
}

function policies(title, all) {
  return all.length > 0 && h('section', { class: 'block' }, h('h2', null, title), policyList(all));
}

function policyList(all) {
  return all.length > 0 && h('dl', { class: 'facts policies' }, all.map((policy, at) => [
    h('dt', { key: `t${at}` }, policy.what), h('dd', { key: `d${at}` }, policy.says, source(policy.object))]));
}

function source(object) {
  if (!object) return h('span', { class: 'source' }, 'by default');
  return h('a', { class: 'source', href: `#/configuration/${[object.kind, object.namespace, object.name].map(encodeURIComponent).join('/')}`, title: object.place },
    `${object.kind} ${object.name}`);
}

export { count };
