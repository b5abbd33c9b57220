/** YOLOX: what goes into the network, and people from what comes out; the same numbers as `gtpt.detect` in Python. */
import { roundHalfEven } from './geometry.js';

const STRIDES = [8, 16, 32];
const GREY = 114; // of the border that fills the input
const PERSON = 0;
const UNIT = 2048; // weight 1 in fixed point
const STEPS = 16; // per pixel of the input, to which the sides of boxes are rounded
const NMS = 0.5; // of two boxes that overlap by more, the one with the lower score is left out

/**
 * Shrink or enlarge a picture into the top left of the network's input.
 *
 * @param {import('./types.js').Pixels} picture
 * @param {import('./types.js').Size} inputSize
 * @returns {{input: Float32Array, ratio: number}}  planes of B, G, R in 0..255; pixels of the input per pixel of the picture
 */
export function letterbox({ data, width, height }, [inputWidth, inputHeight]) {
  const ratio = Math.min(inputHeight / height, inputWidth / width);
  const [w, h] = [width, height].map((side) => Math.max(Math.trunc(side * ratio), 1));
  const columns = taps(width, w, true);
  const rows = taps(height, h, false);
  const plane = inputWidth * inputHeight;
  const input = new Float32Array(3 * plane).fill(GREY);
  for (let y = 0; y < h; y++) {
    const [top, bottom, a, b] = [rows.low[y] * width, rows.high[y] * width, rows.first[y], rows.second[y]];
    for (let x = 0; x < w; x++) {
      const [left, right, c, d] = [columns.low[x], columns.high[x], columns.first[x], columns.second[x]];
      for (let channel = 0; channel < 3; channel++) {
        const above = data[4 * (top + left) + channel] * c + data[4 * (top + right) + channel] * d;
        const below = data[4 * (bottom + left) + channel] * c + data[4 * (bottom + right) + channel] * d;
        const value = (((a * (above >> 4)) >> 16) + ((b * (below >> 4)) >> 16) + 2) >> 2;
        input[(2 - channel) * plane + y * inputWidth + x] = value;
      }
    }
  }
  return { input, ratio };
}

/**
 * The two pixels that each pixel of a resized line is made of, and their weights, in the fixed point of OpenCV's resize: a
 * detector's scores and boxes hang on the last bit of its input.
 *
 * @param {number} from  length of the line
 * @param {number} to  length of the resized one
 * @param {boolean} whole  whether beyond the edge one pixel has all of the weight, as in rows, or it is still split in two
 */
function taps(from, to, whole) {
  const [low, high, first, second] = [new Int32Array(to), new Int32Array(to), new Int32Array(to), new Int32Array(to)];
  const scale = 1 / (to / from);
  for (let i = 0; i < to; i++) {
    const at = Math.fround((i + 0.5) * scale - 0.5);
    const before = Math.floor(at);
    [low[i], high[i]] = [before, before + 1].map((pixel) => Math.min(Math.max(pixel, 0), from - 1));
    const share = whole && (at < 0 || at >= from - 1) ? 0 : Math.fround(at - before);
    first[i] = roundHalfEven(Math.fround(1 - share) * UNIT);
    second[i] = roundHalfEven(share * UNIT);
  }
  return { low, high, first, second };
}

/** @param {import('./types.js').Size} inputSize  @returns {number}  cells that the network rates */
export function cellCount([width, height]) {
  return STRIDES.reduce((sum, stride) => sum + Math.floor(width / stride) * Math.floor(height / stride), 0);
}

/**
 * @param {Float32Array} raw  cells * columns: centre offset, log size, objectness, classes
 * @param {number} columns
 * @param {import('./types.js').Size} inputSize
 * @param {number} ratio  of `letterbox`
 * @param {import('./types.js').Size} size  of the picture
 * @param {number} threshold  people with a lower score are left out
 * @returns {import('./types.js').Detection[]}  best first
 */
export function people(raw, columns, inputSize, ratio, [width, height], threshold) {
  /** @type {import('./types.js').Detection[]} */
  const found = [];
  const f = Math.fround; // Python computes these in float32
  let cell = 0;
  for (const stride of STRIDES) {
    const [across, down] = inputSize.map((side) => Math.floor(side / stride));
    for (let row = 0; row < down; row++) {
      for (let column = 0; column < across; column++, cell++) {
        const at = cell * columns;
        const score = f(raw[at + 4] * raw[at + 5 + PERSON]);
        if (!(score >= threshold)) continue;
        const [x, y] = [f(raw[at] + column) * stride, f(raw[at + 1] + row) * stride];
        const [w, h] = [2, 3].map((side) => (f(Math.exp(raw[at + side])) * stride) / 2);
        const box = [x - w, y - h, x + w, y + h].map((side) => f(f(side) / f(ratio)));
        const [x1, y1, x2, y2] = rounded(box, ratio);
        // not those in the grey border
        if (x2 > Math.max(x1, 0) && y2 > Math.max(y1, 0) && x1 < width && y1 < height) {
          found.push({ box: /** @type {import('./types.js').Box} */ (box), score });
        }
      }
    }
  }
  return suppress(found, NMS).map(({ box, score }) => ({ box: rounded(box, ratio), score }));
}

/** @param {number[]} box @param {number} ratio  of `letterbox` @returns {import('./types.js').Box} */
function rounded(box, ratio) {
  const steps = Math.fround(STEPS * ratio);
  const sides = box.map((side) => Math.fround(roundHalfEven(Math.fround(side * steps)) / steps));
  return /** @type {import('./types.js').Box} */ (sides);
}

/**
 * Non-maximum suppression.
 *
 * @param {import('./types.js').Detection[]} found
 * @param {number} maxIou  a box that overlaps a better one by more is dropped
 * @returns {import('./types.js').Detection[]}  best first
 */
export function suppress(found, maxIou) {
  /** @type {import('./types.js').Detection[]} */
  const kept = [];
  for (const next of [...found].sort((a, b) => b.score - a.score)) {
    if (kept.every((better) => iou(better.box, next.box) <= maxIou)) kept.push(next);
  }
  return kept;
}

/** @param {import('./types.js').Box} a @param {import('./types.js').Box} b */
function iou(a, b) {
  const width = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const height = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const [areaA, areaB] = [a, b].map((box) => (box[2] - box[0]) * (box[3] - box[1]));
  return (width * height) / (areaA + areaB - width * height);
}
