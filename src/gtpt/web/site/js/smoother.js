/**
 * Calm keypoints: the One-Euro filter of `gtpt.Smoother` in Python, for every joint of every tracked person. A joint passes a
 * low-pass of `MIN_CUTOFF + BETA * speed ** 2` Hz; speeds are in person sizes (longer side of the box) per second. Joints with
 * a low score are trusted less and so smoothed more.
 */
const MIN_CUTOFF = 0.5; // Hz at rest
const BETA = 12; // Hz per squared speed
const SPEED_CUTOFF = 1; // Hz, of the low-pass that estimates speeds
const MEMORY = 0.5; // seconds after which someone may have moved anywhere: smoothing starts anew
const [CONFIDENT, LEAST_TRUST] = [0.5, 0.1]; // keypoint scores from here on are trusted fully, lower ones in proportion

/**
 * @typedef {object} State  of one person's joints
 * @property {Float64Array} raw @property {Float64Array} smooth @property {Float64Array} velocity @property {Float64Array} trust
 * @property {number} time  seconds
 */

export class Smoother {
  /** @type {Map<number, State>} */
  #states = new Map();
  #memory;

  /** @param {{memory?: number}} [options]  seconds */
  constructor({ memory = MEMORY } = {}) {
    this.#memory = memory;
  }

  /**
   * @param {import('./types.js').Person[]} people  of one frame, with ids
   * @param {number} time  seconds, later than the frame before
   * @returns {import('./types.js').Person[]}  with calmer keypoints; nothing else changes
   */
  update(people, time) {
    for (const [id, state] of this.#states) if (state.time < time - this.#memory) this.#states.delete(id);
    return people.map((person) => {
      if (person.id === null) return person;
      const state = filter(person, this.#states.get(person.id), time);
      this.#states.set(person.id, state);
      return { ...person, keypoints: Float32Array.from(state.smooth) };
    });
  }
}

/** @param {import('./types.js').Person} person @param {State | undefined} before @param {number} time @returns {State} */
function filter(person, before, time) {
  const raw = Float64Array.from(person.keypoints);
  const trust = Float64Array.from(person.scores, (score) => Math.min(Math.max(score / CONFIDENT, LEAST_TRUST), 1));
  if (!before) return { raw, smooth: raw, velocity: raw.map(() => 0), trust, time };
  const elapsed = time - before.time;
  const size = Math.max(person.box[2] - person.box[0], person.box[3] - person.box[1], 1);
  const [smooth, velocity] = [new Float64Array(raw.length), new Float64Array(raw.length)];
  for (let k = 0; k < trust.length; k++) {
    // a wild point feigns speed on its way out and on its way back: the lower trust of the two counts
    const speedGain = Math.min(trust[k], before.trust[k]) * gain(SPEED_CUTOFF, elapsed);
    for (const i of [2 * k, 2 * k + 1]) {
      const measured = (raw[i] - before.raw[i]) / elapsed;
      velocity[i] = before.velocity[i] + speedGain * (measured - before.velocity[i]);
    }
    const speed = Math.hypot(velocity[2 * k], velocity[2 * k + 1]) / size;
    const pointGain = trust[k] * gain(MIN_CUTOFF + BETA * speed ** 2, elapsed);
    for (const i of [2 * k, 2 * k + 1]) smooth[i] = before.smooth[i] + pointGain * (raw[i] - before.smooth[i]);
  }
  return { raw, smooth, velocity, trust, time };
}

/** @param {number} cutoff  Hz @param {number} elapsed  seconds  weight of the new value in a first-order low-pass */
function gain(cutoff, elapsed) {
  const angle = 2 * Math.PI * cutoff * elapsed;
  return angle / (1 + angle);
}
