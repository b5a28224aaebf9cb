// The configuration: every object, what is said of it, and its text.

import { query } from './data.js';
import { h } from './dom.js';
import { count } from './format.js';
import { icon, statusIcon } from './icons.js';
import { searchBox } from './workloads.js';

const WORDS = { ok: 'in force', warning: 'in force, with a warning', error: 'refused: the last good one stays in force' };

export function objectsView({ parts, redraw }) {
  const [kind, namespace, name] = parts;
  return kind ? one(kind, namespace, name) : list(redraw);
}

function list(redraw) {
  const at = { search: '', problems: false };
  return {
    path: () => 'objects',
    draw: (data) => {
      if (!data) return null;
      const words = at.search.toLowerCase().split(/\s+/).filter(Boolean);
      const text = (object) => [object.kind, object.namespace, object.name, object.place, object.status,
        ...object.said.flatMap((said) => [said.code, said.message])].join(' ').toLowerCase();
      const isBad = (object) => object.status !== 'ok';
      const shown = data.objects.filter((object) => (!at.problems || isBad(object)) && words.every((word) => text(object).includes(word)));
      return [
        h('div', { class: 'toolbar', key: 'toolbar' }, h('h1', null, 'Configuration'), searchBox(at, redraw, shown.length, data.objects.length),
          h('button', { class: 'chip', 'aria-pressed': String(at.problems), onclick: () => { at.problems = !at.problems; redraw(); } },
            statusIcon(data.objects.some(isBad) || data.others.length ? 'warning' : 'ok'),
            `${data.objects.filter(isBad).length + data.others.length || 'none'} with problems`)),
        h('div', { class: 'scroll', key: 'content', tabindex: 0, 'aria-label': 'Objects' },
          data.others.length > 0 && h('div', { class: 'others' }, data.others.map(diagnostic)),
          data.objects.length === 0 && data.others.length === 0 ? h('div', { class: 'empty card' }, h('h2', null, 'No configuration'),
            h('p', null, 'Put YAML files into the directory that ', h('code', null, 'leno control --config DIR'), ' reads: Services, VirtualServices, HTTPRoutes, … They are picked up when saved.'))
            : table(shown)),
      ];
    },
  };
}

function table(objects) {
  return h('table', null, h('thead', null, h('tr', null, ['Name', 'Kind', 'Namespace', 'Written in', 'Status'].map((name) => h('th', { scope: 'col', key: name }, name)))),
    h('tbody', null, objects.map((object) => h('tr', { key: `${object.kind}/${object.namespace}/${object.name}`, class: object.status },
      h('th', { scope: 'row' }, h('a', { href: link(object) }, object.name)), h('td', null, object.kind), h('td', null, object.namespace),
      h('td', { class: 'mono muted', title: object.place }, file(object.place)),
      h('td', null, h('span', { class: `sync ${object.status}` }, statusIcon(object.status),
        object.said.length ? object.said.map((said) => said.code).join(', ') : 'in force'))))));
}

/** The last part is enough where the directory is always the same. */
function file(place) {
  return place.split('/').slice(-2).join('/');
}

function link(object) {
  return `#/configuration/${[object.kind, object.namespace, object.name].map(encodeURIComponent).join('/')}`;
}

export function diagnostic(said) {
  return h('article', { class: `said ${said.severity}`, key: said.code + said.place + said.message }, statusIcon(said.severity === 'info' ? 'idle' : said.severity),
    h('div', null, h('div', null, h('code', { class: 'code' }, said.code), ' ', said.message),
      h('div', { class: 'mono muted' }, [said.object, said.place].filter(Boolean).join(' — ')),
      said.hint && h('div', { class: 'hint' }, said.hint)));
}

function one(kind, namespace, name) {
  return {
    path: () => `object${query({ kind, namespace, name })}`,
    draw: (object) => h('div', { class: 'page', key: `${kind}/${namespace}/${name}` },
      h('a', { class: 'back', href: '#/configuration' }, icon('back'), 'Configuration'),
      !object ? h('div', { class: 'empty card' }, h('h2', null, `${kind} ${name} is not in force`),
        h('p', null, `No such object is in the namespace ${namespace}. It may have been removed, or renamed.`))
        : [
          h('div', { class: 'title' }, h('h1', null, object.name), h('span', { class: `state ${object.status}` }, statusIcon(object.status), WORDS[object.status])),
          h('dl', { class: 'facts wide' }, h('dt', null, 'Kind'), h('dd', null, object.kind), h('dt', null, 'Namespace'), h('dd', null, object.namespace),
            h('dt', null, 'Written in'), h('dd', { class: 'mono' }, object.place)),
          object.said.length > 0 && h('section', { class: 'block' }, h('h2', null, count(object.said.length, 'remark')), object.said.map(diagnostic)),
          h('section', { class: 'block' }, h('h2', null, 'As it is in force'), h('pre', { class: 'yaml', tabindex: 0 }, h('code', null, yaml(object.yaml)))),
        ]),
  };
}

/** Keys, comments and plain text apart. */
function yaml(text) {
  return text.trimEnd().split('\n').map((line, number) => {
    const parts = /^(\s*(?:- )*)([\w./-]+|"[^"]*")(:)(.*)$/.exec(line);
    const content = line.trim().startsWith('#') ? h('span', { class: 'comment' }, line)
      : parts ? [parts[1], h('span', { class: 'key' }, parts[2]), ':', h('span', { class: 'value' }, parts[4])] : line;
    return h('span', { class: 'row', key: number }, content, '\n');
  });
}
