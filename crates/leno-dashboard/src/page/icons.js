// Pictograms. Each says by its shape what colour says too.

import { h } from './dom.js';

const PATHS = {
  leno: 'M5 3c0 6 6 6 6 9s-6 3-6 9 M11 3c0 6-6 6-6 9s6 3 6 9 M15 7h5 M15 12h5 M15 17h5',
  sun: 'M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8 M12 2v2 M12 20v2 M2 12h2 M20 12h2 M5 5l1.4 1.4 M17.6 17.6L19 19 M5 19l1.4-1.4 M17.6 6.4L19 5',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z',
  contrast: 'M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18 M12 3v18 M12 7l6.7-1 M12 12h9 M12 17l6.7 1',
  search: 'M11 4a7 7 0 1 0 0 14a7 7 0 1 0 0-14 M16.5 16.5L21 21',
  fit: 'M4 9V4h5 M20 9V4h-5 M4 15v5h5 M20 15v5h-5',
  plus: 'M12 5v14 M5 12h14',
  minus: 'M5 12h14',
  close: 'M6 6l12 12 M18 6L6 18',
  back: 'M15 5l-7 7 7 7',
  target: 'M12 5a7 7 0 1 0 0 14a7 7 0 1 0 0-14 M12 2v4 M12 18v4 M2 12h4 M18 12h4',
};

export function icon(name) {
  return h('svg', { class: 'icon', viewBox: '0 0 24 24', 'aria-hidden': 'true' }, h('path', { d: PATHS[name] }));
}

/** A disc, a triangle, a cross, a ring. */
export const STATUS_PATHS = {
  ok: 'M0-4.2A4.2 4.2 0 1 0 0 4.2A4.2 4.2 0 1 0 0-4.2z',
  warning: 'M0-5.6L5.8 4.6H-5.8z',
  error: 'M-4.6-6L0-1.5L4.6-6L6-4.6L1.5 0L6 4.6L4.6 6L0 1.5L-4.6 6L-6 4.6L-1.5 0L-6-4.6z',
  idle: 'M0-3.6A3.6 3.6 0 1 0 0 3.6A3.6 3.6 0 1 0 0-3.6zM0-2A2 2 0 1 1 0 2A2 2 0 1 1 0-2z',
};

export function statusIcon(status) {
  return h('svg', { class: `status ${status}`, viewBox: '-7 -7 14 14', 'aria-hidden': 'true' }, h('path', { d: STATUS_PATHS[status] }));
}

/** A closed lock, or one that hangs open; 10 by 12. */
export const LOCK = 'M1.5 5.2h7c.6 0 1 .4 1 1v4.6c0 .6-.4 1-1 1h-7c-.6 0-1-.4-1-1V6.2c0-.6.4-1 1-1z M2.6 5V3.2a2.4 2.4 0 0 1 4.8 0V5';
export const OPEN_LOCK = 'M1.5 5.2h7c.6 0 1 .4 1 1v4.6c0 .6-.4 1-1 1h-7c-.6 0-1-.4-1-1V6.2c0-.6.4-1 1-1z M2.6 5V2.8a2.4 2.4 0 0 1 4.4-1.3';

/** `brief`: in words only what is no good. */
export function lock(security, brief) {
  const words = { mtls: 'mutual TLS', plaintext: 'plaintext', unknown: 'not known yet' };
  return h('span', { class: `lock ${security}`, title: words[security] },
    security !== 'unknown' && h('svg', { viewBox: '-1 -1.5 12 14.5', 'aria-hidden': 'true' }, h('path', { d: security === 'mtls' ? LOCK : OPEN_LOCK })),
    brief && security === 'mtls' ? h('span', { class: 'hidden' }, words.mtls) : words[security]);
}
