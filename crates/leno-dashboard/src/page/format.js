// Numbers and names as people read them.

export function rate(value, protocol) {
  const unit = protocol === 'tcp' ? ' conn/s' : '/s';
  if (!value) return `0${unit}`;
  if (value < 0.1) return `<0.1${unit}`;
  if (value < 100) return value.toFixed(1) + unit;
  if (value < 10_000) return Math.round(value) + unit;
  return `${(value / 1000).toFixed(1)}k${unit}`;
}

/** Never rounds a failure away: 99.99 % stays under 100 %. */
export function percent(share) {
  if (share === null || share === undefined) return '–';
  if (share >= 1) return '100%';
  const value = share * 100;
  return `${(Math.floor(value * 10) / 10).toFixed(value < 99.95 && value >= 10 ? 1 : 1)}%`;
}

export function latency(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(1)} s`;
}

export function age(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export function clock(date) {
  return date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
}

/** `1 workload`, `2 workloads` */
export function count(number, what) {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

/** The end matters less than the beginning; a tooltip has the whole. */
export function short(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** `reviews.default.svc.cluster.local` as `reviews.default` */
export function host(name) {
  return name.replace(/\.svc\.cluster\.local$/, '');
}

export const STATUS_WORDS = { ok: 'healthy', warning: 'warning', error: 'failing', idle: 'idle' };
