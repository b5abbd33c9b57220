/** Who was found twice, such as half a body in a box of its own inside the whole one: as `gtpt.estimator.distinct` in Python. */
import { VISIBLE } from './geometry.js';

const SAME = 0.7; // similarity from which two poses are of one person
const WITHIN = 0.8; // share of the smaller box that lies in the larger one, from which they are looked at
const LEAST = 4; // keypoints that both see, fewer say nothing

/**
 * @param {import('./types.js').Person[]} people @param {number[]} sigmas  of the skeleton
 * @returns {import('./types.js').Person[]}  in the same order, of two poses of one person the better one
 */
export function distinct(people, sigmas) {
  const sure = (/** @type {import('./types.js').Person} */ { scores }) => scores.reduce((sum, score) => sum + score, 0);
  /** @type {Set<import('./types.js').Person>} */
  const kept = new Set();
  for (const next of [...people].sort((a, b) => sure(b) - sure(a))) {
    if ([...kept].every((better) => similarity(better, next, sigmas) < SAME)) kept.add(next);
  }
  return people.filter((person) => kept.has(person));
}

/**
 * @param {import('./types.js').Person} a @param {import('./types.js').Person} b @param {number[]} sigmas
 * @returns {number}  mean likeness of the keypoints that both see, in [0, 1]; 0 where neither box lies within the other
 */
function similarity(a, b, sigmas) {
  const areas = [a, b].map(({ box }) => (box[2] - box[0]) * (box[3] - box[1]));
  const [width, height] = [0, 1].map((axis) => {
    return Math.max(Math.min(a.box[axis + 2], b.box[axis + 2]) - Math.max(a.box[axis], b.box[axis]), 0);
  });
  const both = sigmas.map((_, k) => k).filter((k) => a.scores[k] >= VISIBLE && b.scores[k] >= VISIBLE);
  if (width * height < WITHIN * Math.min(...areas) || both.length < LEAST) return 0;
  const alike = both.map((k) => {
    const [dx, dy] = [2 * k, 2 * k + 1].map((i) => a.keypoints[i] - b.keypoints[i]);
    return Math.exp(-(dx * dx + dy * dy) / (2 * Math.max(...areas) * (2 * sigmas[k]) ** 2));
  });
  return alike.reduce((sum, value) => sum + value, 0) / both.length;
}
