// The list of workloads.

import { h } from './dom.js';
import { STATUS_WORDS, count, latency, percent, rate } from './format.js';
import { icon, statusIcon } from './icons.js';

const SYNC_WORDS = { SYNCED: 'synced', STALE: 'behind', REJECTED: 'rejecting', '': 'no proxy' };
export const SYNC_STATUS = { SYNCED: 'ok', STALE: 'warning', REJECTED: 'error', NOT_SENT: 'idle', '': 'idle' };

export function workloadsView({ redraw }) {
  const at = { search: '', problems: false };
  return {
    path: () => 'workloads',
    draw: (all) => {
      if (!all) return null;
      const words = at.search.toLowerCase().split(/\s+/).filter(Boolean);
      const text = (one) => [one.namespace, one.name, one.app, one.version, one.status, SYNC_WORDS[one.sync]].join(' ').toLowerCase();
      const isBad = (one) => one.status === 'error' || one.status === 'warning';
      const shown = all.filter((one) => (!at.problems || isBad(one)) && words.every((word) => text(one).includes(word)));
      return [
        h('div', { class: 'toolbar', key: 'toolbar' }, h('h1', null, 'Workloads'),
          searchBox(at, redraw, shown.length, all.length),
          h('button', { class: 'chip', 'aria-pressed': String(at.problems), onclick: () => { at.problems = !at.problems; redraw(); } },
            statusIcon(all.some(isBad) ? 'warning' : 'ok'), `${all.filter(isBad).length || 'none'} with problems`)),
        all.length === 0 ? h('div', { class: 'empty card', key: 'none' }, h('h2', null, 'No workload has registered'),
          h('p', null, 'Start one:'), h('pre', null, h('code', null, 'leno run --service web --port 8080 -- python3 -m http.server 8080')))
          : h('div', { class: 'scroll', key: 'table', tabindex: 0, 'aria-label': 'Workloads' }, table(shown)),
        shown.length === 0 && all.length > 0 && h('p', { class: 'empty', key: 'no' }, 'Nothing fits.'),
      ];
    },
  };
}

export function searchBox(at, redraw, shown, all) {
  return h('label', { class: 'search' }, icon('search'), h('input', {
    type: 'search', placeholder: 'Filter…', 'aria-label': 'Filter', 'aria-keyshortcuts': '/', value: at.search,
    oninput: (event) => { at.search = event.target.value; redraw(); },
  }), at.search ? h('output', null, `${shown} of ${all}`) : h('kbd', { 'aria-hidden': 'true' }, '/'));
}

function table(all) {
  return h('table', null, h('thead', null, h('tr', null,
    ['Workload', 'Namespace', 'Version', 'Ready', 'Configuration'].map((name) => h('th', { scope: 'col', key: name }, name)),
    ['Requests', 'Success', 'p50', 'p99'].map((name) => h('th', { scope: 'col', class: 'number', key: name }, name)))),
  h('tbody', null, all.map((one) => h('tr', { key: `${one.namespace}/${one.name}`, class: one.status },
    h('th', { scope: 'row' }, h('span', { title: STATUS_WORDS[one.status] }, statusIcon(one.status)),
      h('a', { href: `#/workload/${[one.namespace, one.name].map(encodeURIComponent).join('/')}` }, one.name)),
    h('td', null, one.namespace), h('td', null, one.version || '–'),
    h('td', { class: one.healthy < one.instances ? 'warning' : null }, `${one.healthy}/${one.instances}`),
    h('td', null, h('span', { class: `sync ${SYNC_STATUS[one.sync]}` }, statusIcon(SYNC_STATUS[one.sync]), SYNC_WORDS[one.sync])),
    h('td', { class: 'number' }, one.inbound.success === null ? '–' : rate(one.inbound.rate)),
    h('td', { class: one.inbound.success !== null && one.inbound.success < 1 ? 'number bad' : 'number' }, percent(one.inbound.success)),
    h('td', { class: 'number' }, latency(one.inbound.p50)), h('td', { class: 'number' }, latency(one.inbound.p99))))),
  h('caption', { class: 'hidden' }, count(all.length, 'workload')));
}
