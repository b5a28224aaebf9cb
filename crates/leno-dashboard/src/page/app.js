// The frame: what is shown by the address, the line above it, and what is said when the control plane is silent.

import { follow } from './data.js';
import { h, render } from './dom.js';
import { clock, count, percent, rate } from './format.js';
import { icon, statusIcon } from './icons.js';
import { objectsView } from './objects.js';
import { topologyView } from './topology.js';
import { workloadView } from './workload.js';
import { workloadsView } from './workloads.js';

const VIEWS = [
  { name: '', title: 'Topology', view: topologyView },
  { name: 'workloads', title: 'Workloads', view: workloadsView },
  { name: 'configuration', title: 'Configuration', view: objectsView },
  { name: 'workload', under: 'workloads', view: workloadView },
];

const state = {
  answer: undefined, // undefined: nothing yet; null: there is no such thing
  overview: null,
  silentSince: null,
  lastHeard: null,
  failure: '',
  theme: stored('theme') ?? 'auto',
  path: null,
  view: null,
};
let stop = () => {};

function stored(name) {
  try {
    return localStorage.getItem(`leno.${name}`);
  } catch {
    return null; // A browser that keeps nothing.
  }
}

function store(name, value) {
  try {
    localStorage.setItem(`leno.${name}`, value);
  } catch {
    // As above.
  }
}

/** `#/workload/default/reviews-v1` */
function route() {
  const parts = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  const found = VIEWS.find((view) => view.name === parts[0]) ?? VIEWS[0];
  return { ...found, parts: parts.slice(1) };
}

function go() {
  if (location.hash === '#main') return;
  const to = route();
  state.view?.leave?.();
  state.view = to.view({ parts: to.parts, redraw: draw, follow: ask });
  state.view.here = to;
  state.answer = undefined;
  ask();
  draw();
}

/** Follows what the view wants now. */
function ask() {
  const path = state.view.path();
  stop();
  stop = follow(path, heard, silent);
}

function heard(answer) {
  state.answer = answer === null ? null : answer.data;
  if (answer) state.overview = answer.overview;
  state.lastHeard = new Date();
  state.silentSince = null;
  draw();
}

function silent(error) {
  state.silentSince ??= state.lastHeard ?? new Date();
  state.failure = error.message;
  draw();
}

function draw() {
  const { view, answer, overview } = state;
  const isLost = state.silentSince !== null;
  document.documentElement.dataset.theme = state.theme;
  document.documentElement.dataset.contact = isLost ? 'lost' : 'live';
  document.title = title();
  render(document.getElementById('app'), [
    h('header', { class: 'top', key: 'top' }, brand(), navigation(), summary(overview), contact(isLost), theme()),
    isLost && lost(),
    h(
      'main',
      { id: 'main', tabindex: -1, key: view.here.name, class: `view ${view.here.name || 'topology'}`, 'aria-busy': answer === undefined },
      answer === undefined && !isLost ? loading() : view.draw(answer, overview),
    ),
  ]);
  view.drawn?.();
}

function title() {
  const problem = state.silentSince ? 'no contact · ' : state.overview?.traffic.success < 0.95 ? 'failing · ' : '';
  return `${problem}${state.view.here.title ?? state.view.here.parts.at(-1) ?? ''} · leno`;
}

function brand() {
  return h('a', { class: 'brand', href: '#/', 'aria-label': 'leno, topology' }, icon('leno'), 'leno');
}

function navigation() {
  const here = state.view.here.under ?? state.view.here.name;
  const links = VIEWS.filter((view) => view.title).map((view) =>
    h('a', { href: `#/${view.name}`, key: view.name, 'aria-current': here === view.name && 'page' }, view.title),
  );
  return h('nav', { 'aria-label': 'Views' }, links);
}

function summary(overview) {
  if (!overview) return h('dl', { class: 'summary' });
  const { traffic } = overview;
  const problems = overview.errors + overview.rejecting;
  return h(
    'dl',
    { class: 'summary', 'aria-label': 'The mesh as a whole' },
    fact('Workloads', overview.ready === overview.workloads ? overview.workloads : `${overview.ready}/${overview.workloads}`,
      overview.ready < overview.workloads && 'warning'),
    fact('Requests', rate(traffic.rate)),
    fact('Success', percent(traffic.success), traffic.success !== null && traffic.success < 1 && (traffic.success < 0.95 ? 'error' : 'warning')),
    fact('mTLS', { mtls: 'everywhere', plaintext: 'not everywhere', unknown: '–' }[traffic.security],
      traffic.security === 'plaintext' && 'warning'),
    (problems > 0 || overview.warnings > 0) &&
      fact('Problems', problems > 0 ? count(problems, 'error') : count(overview.warnings, 'warning'), problems > 0 ? 'error' : 'warning'),
  );
}

function fact(name, value, status) {
  return h('div', { key: name, class: status ? `fact ${status}` : 'fact' }, h('dt', null, name),
    h('dd', null, status && statusIcon(status), String(value)));
}

function contact(isLost) {
  const at = state.lastHeard ? clock(state.lastHeard) : '';
  return h('div', { class: 'contact', role: 'status', title: at && `Last heard from the control plane at ${at}` },
    h('span', { class: 'pulse', 'aria-hidden': 'true' }), isLost ? 'No contact' : state.lastHeard ? 'Live' : 'Connecting');
}

function theme() {
  const next = { auto: 'light', light: 'dark', dark: 'auto' }[state.theme];
  const words = { auto: 'as the system', light: 'light', dark: 'dark' };
  return h('button', {
    class: 'quiet', id: 'theme', title: `Colours: ${words[state.theme]}. Change to ${words[next]}`,
    'aria-label': `Colours: ${words[state.theme]}. Change to ${words[next]}`,
    onclick: () => {
      state.theme = next;
      store('theme', next);
      draw();
    },
  }, icon({ auto: 'contrast', light: 'sun', dark: 'moon' }[state.theme]));
}

function loading() {
  return h('p', { class: 'empty', key: 'loading' }, 'Asking the control plane…');
}

function lost() {
  const since = clock(state.silentSince);
  return h('section', { class: 'lost', role: 'alert', key: 'lost' }, statusIcon('error'),
    h('div', null,
      h('strong', null, `Lost contact with the control plane at ${since}.`),
      h('p', null, state.lastHeard
        ? 'What you see is what it said last. The workloads go on with what they have; this page comes back by itself when it does.'
        : 'It has not answered yet. This page appears by itself when it does.'),
      h('p', null, 'To mend it: start ', h('code', null, 'leno control --config DIR'), ' again. If it already runs, ',
        'its port may have changed: ', h('code', null, 'leno dashboard'), ' opens the page where it is now.')));
}

window.addEventListener('hashchange', go);
document.querySelector('.skip').addEventListener('click', (event) => {
  // The address is the view's: only the focus moves.
  event.preventDefault();
  document.getElementById('main')?.focus();
});
document.addEventListener('keydown', (event) => {
  const isTyping = event.target.closest('input, select, textarea');
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.querySelector('input[type=search]');
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  }
});
go();
