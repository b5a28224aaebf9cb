// What the control plane says, asked for once a second while somebody looks.

const EVERY = 1000;
const PATIENCE = 6000;

/** Asks for `path` again and again. `told(answer)` or `failed(error)` hears each outcome; the result stops it. */
export function follow(path, told, failed) {
  let stopped = false;
  let timer = 0;
  const abort = new AbortController();
  async function ask() {
    if (stopped) return;
    if (!document.hidden) {
      try {
        const answer = await fetchJson(path, abort.signal);
        if (!stopped) told(answer);
      } catch (error) {
        if (!stopped) failed(error);
      }
    }
    if (!stopped) timer = setTimeout(ask, EVERY);
  }
  function seen() {
    if (document.hidden || stopped) return;
    clearTimeout(timer);
    ask();
  }
  document.addEventListener('visibilitychange', seen);
  ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
    abort.abort();
    document.removeEventListener('visibilitychange', seen);
  };
}

/** Null: there is no such thing. Throws when nobody answers. */
async function fetchJson(path, signal) {
  const response = await fetch(`api/${path}`, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]),
    cache: 'no-store',
  });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`the control plane answers ${response.status}: ${await response.text()}`);
  return response.json();
}

export function query(values) {
  const there = Object.entries(values).filter(([, value]) => value);
  return there.length ? `?${new URLSearchParams(there)}` : '';
}
