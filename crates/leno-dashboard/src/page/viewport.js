// Zoom and pan of the picture, by mouse, fingers and keys.

const CLOSEST = 2.5;
const FARTHEST = 0.08;
/** A small mesh is not blown up, and a large one not shrunk to nothing. */
const FIT_AT_MOST = 1.15;
const FIT_AT_LEAST = 0.3;
const FIT_NARROW_AT_LEAST = 0.5;
const NARROW = 640;

export class Viewport {
  constructor(changed) {
    this.changed = changed;
    this.k = 1;
    this.x = 0;
    this.y = 0;
    /** Until somebody moves it, it shows all. */
    this.isOwn = false;
    this.fitted = '';
    /** What lies over the picture, in pixels from its right and lower edge. */
    this.covered = [0, 0];
  }

  /** What can be seen of the picture. */
  get room() {
    const box = this.svg.getBoundingClientRect();
    return { width: box.width - this.covered[0], height: box.height - this.covered[1] };
  }

  attach(svg) {
    if (this.svg === svg) return;
    this.svg = svg;
    svg.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    svg.addEventListener('pointerdown', (event) => this.drag(event));
    this.observer?.disconnect();
    this.observer = new ResizeObserver(() => {
      if (!this.isOwn) {
        this.fitted = '';
        this.changed();
      }
    });
    this.observer.observe(svg);
  }

  detach() {
    this.observer?.disconnect();
    this.svg = null;
  }

  get transform() {
    return `translate(${this.x.toFixed(1)} ${this.y.toFixed(1)}) scale(${this.k.toFixed(4)})`;
  }

  /** Shows all of a picture of this size, if nobody has chosen otherwise. True if that moved anything. */
  follow(width, height) {
    if (!this.svg || !width) return false;
    const box = this.room;
    if (box.width <= 0) return false;
    const now = [width, height, box.width, box.height].join();
    if (this.isOwn || this.fitted === now) return false;
    this.fitted = now;
    this.k = Math.min(box.width / width, box.height / height, FIT_AT_MOST);
    this.k = Math.max(this.k, box.width < NARROW ? FIT_NARROW_AT_LEAST : FIT_AT_LEAST);
    this.x = Math.max((box.width - width * this.k) / 2, 0);
    this.y = Math.max((box.height - height * this.k) / 2, 0);
    return true;
  }

  fit() {
    this.isOwn = false;
    this.fitted = '';
    this.changed();
  }

  zoom(factor, at) {
    const box = this.svg.getBoundingClientRect();
    const [x, y] = at ?? [box.width / 2, box.height / 2];
    const k = Math.min(Math.max(this.k * factor, FARTHEST), CLOSEST);
    this.x = x - ((x - this.x) * k) / this.k;
    this.y = y - ((y - this.y) * k) / this.k;
    this.k = k;
    this.isOwn = true;
    this.changed();
  }

  /** Into the middle, and close enough to be read. */
  show(rect) {
    const box = this.room;
    this.k = Math.max(this.k, 0.85);
    this.x = box.width / 2 - (rect.x + rect.width / 2) * this.k;
    this.y = box.height / 2 - (rect.y + rect.height / 2) * this.k;
    this.isOwn = true;
    this.changed();
  }

  /** Moves as far as needed for this to be visible. */
  reveal(rect) {
    const box = this.room;
    const margin = 24;
    const shift = (start, size, from, room) => {
      const [low, high] = [from + start * this.k, from + (start + size) * this.k];
      if (low < margin) return margin - low;
      return high > room - margin ? room - margin - high : 0;
    };
    const [dx, dy] = [shift(rect.x, rect.width, this.x, box.width), shift(rect.y, rect.height, this.y, box.height)];
    if (dx || dy) {
      this.x += dx;
      this.y += dy;
      this.isOwn = true;
      this.changed();
    }
  }

  wheel(event) {
    event.preventDefault();
    const box = this.svg.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.zoom(Math.exp(-event.deltaY * lines * 0.0016), [event.clientX - box.left, event.clientY - box.top]);
  }

  drag(event) {
    if (event.button !== 0 || event.target.closest('[data-node], [data-edge]')) return;
    const [x, y] = [this.x - event.clientX, this.y - event.clientY];
    const move = (moved) => {
      this.x = x + moved.clientX;
      this.y = y + moved.clientY;
      this.isOwn = true;
      this.changed();
    };
    const end = () => {
      this.svg?.classList.remove('dragging');
      window.removeEventListener('pointermove', move);
      window.removeEventListener('pointerup', end);
      window.removeEventListener('pointercancel', end);
    };
    this.svg.classList.add('dragging');
    window.addEventListener('pointermove', move);
    window.addEventListener('pointerup', end);
    window.addEventListener('pointercancel', end);
  }
}
