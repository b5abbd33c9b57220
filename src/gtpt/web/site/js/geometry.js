/** From boxes to the pixels that the network sees, and back: the same numbers as `gtpt.geometry` in Python. */

const BOX_PADDING = 1.25; // how much of its surroundings a crop shows
const VISIBLE = 0.3; // calibrated score from which on a keypoint counts as seen

/**
 * A crop maps a point of the picture to `scale * point + shift` in pixels of the network's input.
 * @typedef {{scale: number, shift: [number, number]}} Crop
 */

/**
 * @param {import('./types.js').Box} box
 * @param {import('./types.js').Size} inputSize
 * @returns {Crop}  around the middle of the box, which is enlarged to the shape of the input and padded
 */
export function cropOf(box, inputSize) {
  const f = Math.fround; // Python computes these in float32, and half a bin decides where a keypoint lands
  const [x1, y1, x2, y2] = box.map(f);
  const [w, h] = [f(x2 - x1), f(y2 - y1)];
  const aspect = f(inputSize[0] / inputSize[1]);
  const width = f(f(w > f(aspect * h) ? w : f(h * aspect)) * BOX_PADDING);
  const scale = inputSize[0] / width;
  const [centerX, centerY] = [f(x1 + f(w * 0.5)), f(y1 + f(h * 0.5))];
  return { scale, shift: [inputSize[0] / 2 - scale * centerX, inputSize[1] / 2 - scale * centerY] };
}

/**
 * Cut one person out: bilinear, black outside the picture. Bit for bit what OpenCV 5 gives where the processor multiplies and
 * adds in one step, since one grey level in a crop moves a keypoint whose peak is flat.
 *
 * @param {import('./types.js').Pixels} picture  RGBA
 * @param {Crop} crop
 * @param {import('./types.js').Size} size  of the crop
 * @param {Uint8Array} out  RGB, height * width * 3; e.g. a slot of a batch
 */
export function cutOut(picture, crop, [width, height], out) {
  const { data } = picture;
  const columns = taps(width, crop.scale, crop.shift[0], picture.width, true);
  const rows = taps(height, crop.scale, crop.shift[1], picture.height, false);
  let o = 0;
  for (let row = 0; row < height; row++) {
    const [top, bottom] = [4 * rows.low[row] * picture.width, 4 * rows.high[row] * picture.width];
    for (let column = 0; column < width; column++) {
      const [left, right] = [4 * columns.low[column], 4 * columns.high[column]];
      const [first, second] = [columns.hasLow[column], columns.hasHigh[column]];
      for (let c = 0; c < 3; c++) {
        const above = between(data[top + left + c] * first, data[top + right + c] * second, columns.share[column]);
        const below = between(data[bottom + left + c] * first, data[bottom + right + c] * second, columns.share[column]);
        out[o++] = roundHalfEven(between(above * rows.hasLow[row], below * rows.hasHigh[row], rows.share[row]));
      }
    }
  }
}

/** @param {number} a @param {number} b @param {number} share  of b; all float32, as is what comes out: one fused step */
function between(a, b, share) {
  return Math.fround(a + share * Math.fround(b - a));
}

/**
 * The two pixels that each pixel of a line is made of, the second one's share, and whether they are in the picture (1 or 0).
 *
 * @param {number} count  pixels of the line
 * @param {number} scale @param {number} shift  of the crop
 * @param {number} limit  pixels of the picture in this direction
 * @param {boolean} fused  whether OpenCV multiplies and adds in one step here
 */
function taps(count, scale, shift, limit, fused) {
  const [low, high, share] = [new Int32Array(count), new Int32Array(count), new Float32Array(count)];
  const [hasLow, hasHigh] = [new Uint8Array(count), new Uint8Array(count)];
  const inverse = scale * (1 / (scale * scale)); // as OpenCV inverts a matrix, to the last bit
  const [step, start] = [Math.fround(inverse), Math.fround(-inverse * shift)];
  for (let i = 0; i < count; i++) {
    const at = Math.fround((fused ? i * step : Math.fround(i * step)) + start);
    const before = Math.floor(at);
    share[i] = at - before;
    [low[i], high[i]] = [before, before + 1].map((pixel) => Math.min(Math.max(pixel, 0), limit - 1));
    [hasLow[i], hasHigh[i]] = [before, before + 1].map((pixel) => Number(pixel >= 0 && pixel < limit));
  }
  return { low, high, share, hasLow, hasHigh };
}

/** @param {number} value */
export function roundHalfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

/**
 * @param {Float32Array} points  2 K, in pixels of the crop
 * @param {Crop} crop
 * @returns {Float32Array}  in pixels of the picture
 */
export function toPicture(points, crop) {
  const inverse = 1 / crop.scale;
  return points.map((value, i) => value * inverse - inverse * crop.shift[i % 2]);
}

/**
 * The box that a pose spans, or the old one if too few keypoints are sure.
 *
 * @param {import('./types.js').Person} person
 * @param {import('./types.js').Size} size  of the picture
 * @param {number} margin  on each side, as a share of the box: joints lie inside the body's outline
 * @returns {import('./types.js').Box}
 */
export function boxOfPose(person, size, margin = 0.15) {
  const sure = [...person.scores.keys()].filter((i) => person.scores[i] >= VISIBLE);
  if (sure.length < 4) return person.box;
  const [xs, ys] = [0, 1].map((axis) => sure.map((i) => person.keypoints[2 * i + axis]));
  const [x1, y1, x2, y2] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
  const f = Math.fround; // as in Python: the same box to the last bit
  const [padX, padY] = [f(f(x2 - x1) * f(margin)), f(f(y2 - y1) * f(margin))];
  const box = clip([f(x1 - padX), f(y1 - padY), f(x2 + padX), f(y2 + padY)], size);
  return box[2] - box[0] >= 2 && box[3] - box[1] >= 2 ? box : person.box;
}

/**
 * @param {import('./types.js').Box} box
 * @param {import('./types.js').Size} size
 * @returns {import('./types.js').Box}
 */
export function clip(box, [width, height]) {
  const limit = (/** @type {number} */ value, /** @type {number} */ most) => Math.min(Math.max(value, 0), most);
  return [limit(box[0], width), limit(box[1], height), limit(box[2], width), limit(box[3], height)];
}

/** @param {import('./types.js').Box} box @param {import('./types.js').Size} size  whether some of it is in the picture */
export function isInside([x1, y1, x2, y2], [width, height]) {
  return x2 > x1 && y2 > y1 && x2 > 0 && y2 > 0 && x1 < width && y1 < height;
}

export { VISIBLE };
