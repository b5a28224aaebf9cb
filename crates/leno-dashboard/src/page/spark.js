// Small curves of the last two minutes.

import { h } from './dom.js';

/** A curve that has just begun is not squeezed into a corner. */
const SHORTEST = 30;

/** The rate as a line over a faint area, failures as an area of their own. */
export function spark(points, width, height, label) {
  const most = Math.max(...points.map((point) => point.rate), 0.001) * 1.15;
  const span = Math.max(points[0]?.ago ?? 0, SHORTEST);
  const x = (point) => +(width - (point.ago / span) * width).toFixed(1);
  const y = (value) => +(height - 1 - (value / most) * (height - 2)).toFixed(1);
  const line = (of) => points.map((point, at) => `${at ? 'L' : 'M'}${x(point)} ${y(of(point))}`).join('');
  const area = (of) => (points.length ? `${line(of)}L${x(points.at(-1))} ${height}L${x(points[0])} ${height}z` : '');
  const fails = points.some((point) => point.failures > 0);
  return h('svg', { class: 'spark', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('path', { class: 'base', d: `M0 ${height - 0.5}H${width}` }),
    points.length > 1 && [
      h('path', { class: 'area', d: area((point) => point.rate) }),
      h('path', { class: 'line', d: line((point) => point.rate) }),
      fails && h('path', { class: 'failing', d: area((point) => point.failures) }),
    ]);
}
