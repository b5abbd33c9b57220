/**
 * Who is who from frame to frame: keypoints and boxes matched to where each person should be by now; the rules and constants
 * of `gtpt.Tracker` in Python. Lengths are in units of the person's size, the root of the box area; "per second" is for each
 * second that the person was away.
 */
import { assign } from './assignment.js';

const OKS_SHARE = 0.7; // of the similarity; the rest is nearness
const [OKS_SLACK, OKS_SLACK_PER_S] = [2, 2]; // how far off a prediction may be, in OKS sigmas
const [NEAR, NEAR_PER_S] = [0.3, 2]; // likewise for the centre of the box
const [NEW, FAMILIAR] = [0.7, 3]; // share for who was seen once, and how often one is seen to count fully
const FADING_PER_S = 0.3; // share of the similarity: who is here goes before who was
const MIN_SIMILARITY = 0.15;
const MIN_SIGMA = 0.06;
const [ABSENCE, LONGEST_ABSENCE] = [3, 3]; // frames, and seconds, for which slow devices remember who is away
const VELOCITY_MEMORY = 0.2; // seconds over which velocity is averaged

/**
 * @typedef {object} Track
 * @property {number} id
 * @property {import('./types.js').Box} box  when last seen, as the rest
 * @property {Float32Array} keypoints
 * @property {Float32Array} weights
 * @property {[number, number]} velocity  of the whole person, pixels per second
 * @property {number} seen  seconds
 * @property {number} times  how often seen
 */

export class Tracker {
  /** @type {Track[]} */
  #tracks = [];
  #nextId;
  #sigmas;
  #memory;
  #time = -Infinity; // seconds

  /**
   * @param {import('./types.js').Skeleton} skeleton
   * @param {{memory?: number, firstId?: number}} [options]  seconds after which somebody who is away is forgotten, or
   *     more where frames are far apart; the first id to give
   */
  constructor(skeleton, { memory = 1, firstId = 1 } = {}) {
    this.#sigmas = skeleton.sigmas.map((sigma) => Math.max(sigma, MIN_SIGMA));
    this.#memory = memory;
    this.#nextId = firstId;
  }

  /** The id that the next newcomer gets: where a tracker goes on that starts anew. */
  get nextId() {
    return this.#nextId;
  }

  /**
   * @param {import('./types.js').Person[]} people  of one frame
   * @param {number} time  seconds, later than the frame before
   * @returns {import('./types.js').Person[]}  the same, in the same order, with ids
   */
  update(people, time) {
    const memory = Math.max(this.#memory, Math.min(ABSENCE * (time - this.#time), LONGEST_ABSENCE));
    this.#time = time;
    const tracks = this.#tracks.filter((track) => time - track.seen < memory);
    const found = people
      .map((person, index) => ({ index, track: observe(person, time) }))
      .sort((a, b) => compare(a.track.box, b.track.box)); // ties are settled alike whatever the order of the people
    const worth = tracks.map((track) => found.map((other) => this.#similarity(track, other.track, time)));
    const matched = new Set();
    for (const [t, f] of assign(worth.map((row) => row.map((pair) => pair.worth)))) {
      if (!(worth[t][f].similarity > 0)) continue;
      const [before, now] = [tracks[t], found[f].track];
      now.id = before.id;
      now.times += before.times;
      now.velocity = velocityOf(before, now);
      matched.add(before);
    }
    for (const { track } of found) if (track.id < 0) track.id = this.#nextId++;
    this.#tracks = [...tracks.filter((track) => !matched.has(track)), ...found.map((other) => other.track)];
    this.#tracks.sort((a, b) => a.id - b.id);
    const ids = new Map(found.map((other) => [other.index, other.track.id]));
    return people.map((person, index) => ({ ...person, id: ids.get(index) ?? null }));
  }

  /** @param {Track} track @param {Track} person @param {number} time */
  #similarity(track, person, time) {
    const away = time - track.seen;
    const shift = track.velocity.map((speed) => speed * away);
    const size = Math.max(Math.sqrt(Math.sqrt(area(track.box) * area(person.box))), 1);
    const reach = (OKS_SLACK + OKS_SLACK_PER_S * away) * size;
    let [likeness, weights] = [0, 0];
    for (let k = 0; k < this.#sigmas.length; k++) {
      const weight = track.weights[k] * person.weights[k];
      const dx = track.keypoints[2 * k] + shift[0] - person.keypoints[2 * k];
      const dy = track.keypoints[2 * k + 1] + shift[1] - person.keypoints[2 * k + 1];
      likeness += weight * gauss(dx, dy, 2 * this.#sigmas[k] * reach);
      weights += weight;
    }
    const [a, b] = [center(track.box), center(person.box)];
    const nearness = gauss(a[0] + shift[0] - b[0], a[1] + shift[1] - b[1], (NEAR + NEAR_PER_S * away) * size);
    let similarity = (OKS_SHARE * likeness) / Math.max(weights, 1e-9) + (1 - OKS_SHARE) * nearness;
    if (similarity < MIN_SIMILARITY) similarity = 0;
    const knownWell = Math.min(NEW + ((1 - NEW) * (track.times - 1)) / (FAMILIAR - 1), 1);
    return { similarity, worth: similarity * knownWell * Math.max(1 - FADING_PER_S * away, 0.1) };
  }
}

/** @param {import('./types.js').Person} person @param {number} time @returns {Track} one that stands still, without an id */
function observe(person, time) {
  return {
    id: -1,
    box: person.box,
    keypoints: person.keypoints,
    weights: person.scores,
    velocity: [0, 0],
    seen: time,
    times: 1,
  };
}

/** @param {Track} before @param {Track} now @returns {[number, number]}  mean motion of the keypoints, averaged over time */
function velocityOf(before, now) {
  const elapsed = now.seen - before.seen;
  const share = 1 - Math.exp(-elapsed / VELOCITY_MEMORY);
  const [motion, total] = [[0, 0], { weight: 0 }];
  for (let k = 0; k < now.weights.length; k++) {
    const weight = before.weights[k] * now.weights[k];
    total.weight += weight;
    for (const axis of [0, 1]) motion[axis] += weight * (now.keypoints[2 * k + axis] - before.keypoints[2 * k + axis]);
  }
  const [x, y] = before.velocity.map(
    (speed, axis) => speed + (motion[axis] / Math.max(total.weight, 1e-9) / elapsed - speed) * share,
  );
  return [x, y];
}

/** @param {number} x @param {number} y @param {number} sigma  1 for an offset of nothing, falling to 0 */
function gauss(x, y, sigma) {
  return Math.exp(-(x * x + y * y) / (2 * sigma * sigma));
}

/** @param {import('./types.js').Box} box */
function area([x1, y1, x2, y2]) {
  return Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
}

/** @param {import('./types.js').Box} box @returns {[number, number]} */
function center([x1, y1, x2, y2]) {
  return [(x1 + x2) / 2, (y1 + y2) / 2];
}

/** @param {number[]} a @param {number[]} b  order of lists by their first difference */
function compare(a, b) {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : a[at] - b[at];
}
