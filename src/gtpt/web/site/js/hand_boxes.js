/** Boxes drawn by hand: with a pointer, or with the keyboard. */
import { clip } from './geometry.js';
import { element } from './dom.js';

const SMALLEST = 0.02; // of the picture's shorter side; less was a click
const STEP = 0.01; // of the picture, per press of an arrow key

export class HandBoxes {
  /** @type {import('./types.js').Box[]} */
  #boxes = [];
  /** @type {import('./types.js').Size} */
  #size = [1, 1];
  #layer;
  #onChange;

  /**
   * @param {HTMLElement} layer  lies exactly over the picture
   * @param {() => void} onChange
   */
  constructor(layer, onChange) {
    this.#layer = layer;
    this.#onChange = onChange;
    layer.addEventListener('pointerdown', (event) => this.#draw(event));
  }

  /** @returns {import('./types.js').Detection[]} */
  get detections() {
    return this.#boxes.map((box) => ({ box, score: 1 }));
  }

  /** @param {import('./types.js').Size} size  of a new picture, on which there are no boxes yet */
  reset(size) {
    this.#size = size;
    this.#boxes = [];
    this.#render();
  }

  /** @param {boolean} on */
  set active(on) {
    this.#layer.hidden = !on;
  }

  /** A box in the middle, to be moved with the keyboard. */
  add() {
    const [width, height] = this.#size;
    this.#boxes.push([width * 0.3, height * 0.1, width * 0.7, height * 0.9]);
    this.#render(this.#boxes.length - 1);
    this.#onChange();
  }

  clear() {
    this.#boxes = [];
    this.#render();
    this.#onChange();
  }

  /** @param {PointerEvent} event */
  #draw(event) {
    if (event.target !== this.#layer || event.button !== 0) return;
    event.preventDefault();
    const start = this.#point(event);
    const shape = element('div', { class: 'hand-box drawing' });
    this.#layer.append(shape);
    this.#layer.setPointerCapture(event.pointerId);
    /** @type {import('./types.js').Box} */
    let box = [...start, ...start];
    const controller = new AbortController();
    const move = (/** @type {PointerEvent} */ moved) => {
      const end = this.#point(moved);
      const [xs, ys] = [0, 1].map((axis) => [start[axis], end[axis]].sort((a, b) => a - b));
      box = clip([xs[0], ys[0], xs[1], ys[1]], this.#size);
      this.#place(shape, box);
    };
    const end = () => {
      controller.abort();
      shape.remove();
      const least = SMALLEST * Math.min(...this.#size);
      if (box[2] - box[0] < least || box[3] - box[1] < least) return;
      this.#boxes.push(box);
      this.#render(this.#boxes.length - 1);
      this.#onChange();
    };
    this.#layer.addEventListener('pointermove', move, controller);
    this.#layer.addEventListener('pointerup', end, controller);
    this.#layer.addEventListener('pointercancel', end, controller);
  }

  /** @param {PointerEvent} event @returns {[number, number]}  in pixels of the picture */
  #point(event) {
    const { left, top, width, height } = this.#layer.getBoundingClientRect();
    return [((event.clientX - left) / width) * this.#size[0], ((event.clientY - top) / height) * this.#size[1]];
  }

  /** @param {KeyboardEvent} event @param {number} index */
  #key(event, index) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [
      0, 0,
    ];
    if (event.key === 'Delete' || event.key === 'Backspace') {
      this.#boxes.splice(index, 1);
      this.#render(Math.min(index, this.#boxes.length - 1));
    } else if (dx || dy) {
      const [x, y] = [dx * STEP * this.#size[0], dy * STEP * this.#size[1]];
      const [x1, y1, x2, y2] = this.#boxes[index];
      const changed = clip(event.shiftKey ? [x1, y1, x2 + x, y2 + y] : [x1 + x, y1 + y, x2 + x, y2 + y], this.#size);
      const least = SMALLEST * Math.min(...this.#size);
      if (changed[2] - changed[0] < least || changed[3] - changed[1] < least) return;
      this.#boxes[index] = changed;
      this.#render(index);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    this.#onChange();
  }

  /** @param {number} [focused]  which box gets the keyboard */
  #render(focused) {
    this.#layer.replaceChildren(
      ...this.#boxes.map((box, index) => {
        const label = `Box ${index + 1} of ${this.#boxes.length}. Arrow keys move it, with Shift they resize it, Delete removes it.`;
        const shape = element('button', { type: 'button', class: 'hand-box', 'aria-label': label });
        const remove = element('span', { class: 'remove', 'aria-hidden': 'true', title: 'Remove' }, '✕');
        remove.addEventListener('click', () => this.#key(new KeyboardEvent('keydown', { key: 'Delete' }), index));
        shape.append(remove);
        shape.addEventListener('keydown', (event) => this.#key(event, index));
        this.#place(shape, box);
        return shape;
      }),
    );
    if (focused !== undefined) /** @type {HTMLElement | undefined} */ (this.#layer.children[focused])?.focus();
  }

  /** @param {HTMLElement} shape @param {import('./types.js').Box} box */
  #place(shape, [x1, y1, x2, y2]) {
    const [width, height] = this.#size;
    shape.style.left = `${(100 * x1) / width}%`;
    shape.style.top = `${(100 * y1) / height}%`;
    shape.style.width = `${(100 * (x2 - x1)) / width}%`;
    shape.style.height = `${(100 * (y2 - y1)) / height}%`;
  }
}
