/** Pictures of poses, in the colours of the Python package: left is orange, right is blue, the middle is white. */

const COLORS = { left: 'rgb(240 150 0)', right: 'rgb(70 175 240)', middle: 'rgb(255 255 255)' };
const DARK = 'rgb(24 24 28)';
const ACCENT = 'rgb(0 158 115)';

/**
 * @typedef {object} Style
 * @property {number} threshold  keypoints with a lower score, and limbs that end in one, are not drawn
 * @property {boolean} ids
 * @property {boolean} boxes
 */

/**
 * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context  with the picture on it
 * @param {import('./types.js').Poses} poses
 * @param {import('./types.js').Skeleton} skeleton
 * @param {Style} style
 */
export function drawPoses(context, poses, skeleton, style) {
  context.save();
  context.scale(context.canvas.width / poses.size[0], context.canvas.height / poses.size[1]);
  context.lineCap = 'round';
  const people = [...poses.people].sort((a, b) => length(a.box) - length(b.box)); // the largest, mostly nearest, on top
  for (const person of people) {
    if (style.boxes) drawBox(context, person.box);
    drawPerson(context, person, skeleton, style.threshold);
  }
  if (style.ids) for (const person of people) drawLabel(context, person, style, poses.size);
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context @param {import('./types.js').Person} person
 * @param {import('./types.js').Skeleton} skeleton @param {number} threshold
 */
function drawPerson(context, person, skeleton, threshold) {
  const radius = limbRadius(person.box);
  const radii = skeleton.keypoints.map((_, k) => radius * thickness(skeleton, k));
  const seen = [...person.scores.keys()].filter((k) => person.scores[k] >= threshold);
  const edges = skeleton.edges.filter((edge) => edge.every((k) => person.scores[k] >= threshold));
  const at = (/** @type {number} */ k) => /** @type {const} */ ([person.keypoints[2 * k], person.keypoints[2 * k + 1]]);
  const border = (/** @type {number} */ r) => 0.4 + 0.35 * r;
  const line = (/** @type {[number, number]} */ [a, b], /** @type {number} */ extra, /** @type {string} */ color) => {
    context.strokeStyle = color;
    context.lineWidth = radii[a] + radii[b] + 2 * extra;
    context.beginPath();
    context.moveTo(...at(a));
    context.lineTo(...at(b));
    context.stroke();
  };
  const disc = (/** @type {number} */ k, /** @type {number} */ r, /** @type {string} */ color) => {
    context.fillStyle = color;
    context.beginPath();
    context.arc(...at(k), r, 0, 2 * Math.PI);
    context.fill();
  };
  for (const edge of edges) line(edge, border(Math.min(...edge.map((k) => radii[k]))), DARK);
  for (const edge of edges) line(edge, 0, colorOfEdge(skeleton, edge));
  for (const k of seen) disc(k, 1.6 * radii[k] + border(radii[k]), DARK);
  for (const k of seen) disc(k, 1.6 * radii[k], COLORS[side(skeleton.keypoints[k])]);
}

/** @param {import('./types.js').Skeleton} skeleton @param {number} k  relative: an eye is a smaller thing than a hip */
function thickness(skeleton, k) {
  return skeleton.partOf[k] ? 0.35 : Math.min(Math.max(skeleton.sigmas[k] / 0.06, 0.45), 1);
}

/** @param {string} name @returns {'left' | 'right' | 'middle'}  of the person */
function side(name) {
  if (name.startsWith('left_')) return 'left';
  return name.startsWith('right_') ? 'right' : 'middle';
}

/** @param {import('./types.js').Skeleton} skeleton @param {[number, number]} edge */
function colorOfEdge(skeleton, edge) {
  const sides = new Set(edge.map((k) => side(skeleton.keypoints[k])));
  sides.delete('middle');
  const [only] = sides;
  return sides.size === 1 ? COLORS[only] : COLORS.middle;
}

/** @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context @param {import('./types.js').Box} box */
function drawBox(context, box) {
  const [x1, y1, x2, y2] = box;
  const radius = limbRadius(box);
  for (const [width, color] of /** @type {const} */ ([
    [0.8 * radius + 1.6, DARK],
    [0.8 * radius, COLORS.middle],
  ])) {
    context.lineWidth = width;
    context.strokeStyle = color;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
}

/**
 * White on a dark pill above the highest keypoint.
 *
 * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context @param {import('./types.js').Person} person
 * @param {Style} style @param {import('./types.js').Size} size
 */
function drawLabel(context, person, { threshold, boxes }, [width, height]) {
  const seen = [...person.scores.keys()].filter((k) => person.scores[k] >= threshold);
  if (person.id === null || !seen.length) return;
  const top = seen.reduce((a, b) => (person.keypoints[2 * b + 1] < person.keypoints[2 * a + 1] ? b : a));
  const tall = Math.min(Math.max(0.055 * length(person.box), 14), Math.max(32, 0.03 * height));
  context.font = `600 ${tall}px system-ui, sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  const text = String(person.id);
  const half = context.measureText(text).width / 2 + 0.55 * tall;
  const above = boxes ? person.box[1] : person.keypoints[2 * top + 1] - 0.06 * length(person.box);
  const x = Math.min(Math.max(person.keypoints[2 * top], half), width - half);
  const y = Math.min(Math.max(above - 0.75 * tall, 0.75 * tall), height - 0.75 * tall);
  context.fillStyle = DARK;
  context.beginPath();
  context.roundRect(x - half, y - 0.7 * tall, 2 * half, 1.4 * tall, 0.7 * tall);
  context.fill();
  context.fillStyle = COLORS.middle;
  context.fillText(text, x, y + 0.05 * tall);
}

/**
 * What a group of keypoints looked at: what was pruned is grey and pale.
 *
 * @param {HTMLCanvasElement} canvas  gets the size of the view
 * @param {CanvasImageSource} view  what the network saw, enlarged
 * @param {import('./types.js').Size} size  of the view
 * @param {number[]} kept  numbers of patches, row by row
 * @param {import('./types.js').Size} grid  columns and rows
 */
export function drawKept(canvas, view, [width, height], kept, [columns, rows]) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d');
  if (!context) return;
  context.filter = 'grayscale(1)';
  context.drawImage(view, 0, 0, width, height);
  context.filter = 'none';
  context.fillStyle = 'rgb(255 255 255 / 0.6)';
  context.fillRect(0, 0, width, height);
  const there = new Set(kept);
  const [w, h] = [width / columns, height / rows];
  context.save();
  context.beginPath();
  for (const patch of kept) context.rect((patch % columns) * w, Math.floor(patch / columns) * h, w, h);
  context.clip();
  context.drawImage(view, 0, 0, width, height);
  context.restore();
  context.strokeStyle = ACCENT;
  context.lineWidth = Math.max(width / 120, 1.5);
  context.beginPath();
  for (const patch of kept) {
    const [column, row] = [patch % columns, Math.floor(patch / columns)];
    const [left, top] = [column * w, row * h];
    // an edge belongs to the outline where the neighbour behind it was pruned
    if (!column || !there.has(patch - 1)) context.rect(left, top, 0, h);
    if (column === columns - 1 || !there.has(patch + 1)) context.rect(left + w, top, 0, h);
    if (!there.has(patch - columns)) context.rect(left, top, w, 0);
    if (!there.has(patch + columns)) context.rect(left, top + h, w, 0);
  }
  context.stroke();
}

/** @param {import('./types.js').Box} box  half the width of a limb */
function limbRadius(box) {
  return Math.min(Math.max(0.007 * length(box), 0.8), 14);
}

/** @param {import('./types.js').Box} box  longer side */
function length([x1, y1, x2, y2]) {
  return Math.max(x2 - x1, y2 - y1);
}
