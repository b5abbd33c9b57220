/** One video or camera while it runs: ids, smoothing, where to look next, and all that was found. */
import { boxOfPose } from './geometry.js';
import { Smoother } from './smoother.js';
import { Tracker } from './tracker.js';

const STALE = 0.25; // seconds after which people have moved too far for the box of their last pose
const MOST_FRAMES = 20_000; // of results in memory: ten minutes of a camera at 30 frames a second

/**
 * @typedef {object} Entry
 * @property {number} time  seconds
 * @property {import('./types.js').Poses} raw  with ids
 * @property {import('./types.js').Poses} smooth
 */

export class Session {
  /** @type {Entry[]} ascending in time */
  #entries = [];
  #skeleton;
  #tracker;
  #smoother = new Smoother();
  #sinceDetection = 0; // frames
  #detectedAt = -Infinity; // seconds
  /** Whether every frame of the video is in it. */
  complete = false;

  /** @param {import('./types.js').Skeleton} skeleton */
  constructor(skeleton) {
    this.#skeleton = skeleton;
    this.#tracker = new Tracker(skeleton);
  }

  get length() {
    return this.#entries.length;
  }

  /** @returns {import('./types.js').Detection[]}  where the people of the last frame should be now */
  expected() {
    const last = this.#entries.at(-1)?.raw;
    return last ? last.people.map((one) => ({ box: boxOfPose(one, last.size), score: one.detection })) : [];
  }

  /**
   * @param {number} every  frames; 1 is each, Infinity only the first
   * @param {number} time  seconds, of the next frame
   * @returns {boolean} whether the detector should look at it: earlier than asked where frames are far apart
   */
  isDetectionDue(every, time) {
    if (this.#entries.length === 0 || time <= this.#entries[this.#entries.length - 1].time) return true;
    return this.#sinceDetection >= every || (every < Infinity && time - this.#detectedAt > STALE);
  }

  /**
   * @param {number} time  seconds; before the last one (the user went back) begins anew, with new ids
   * @param {import('./types.js').Poses} poses
   * @param {boolean} detected  whether the detector looked
   * @returns {Entry}
   */
  add(time, poses, detected) {
    if (time <= (this.#entries.at(-1)?.time ?? -Infinity)) {
      this.#entries = [];
      this.#tracker = new Tracker(this.#skeleton, { firstId: this.#tracker.nextId });
      this.#smoother = new Smoother();
    }
    this.#sinceDetection = detected ? 1 : this.#sinceDetection + 1;
    if (detected) this.#detectedAt = time;
    const people = this.#tracker.update(poses.people, time).sort((a, b) => Number(a.id) - Number(b.id));
    const smooth = this.#smoother.update(people, time);
    const entry = { time, raw: { ...poses, people }, smooth: { ...poses, people: smooth } };
    this.#entries.push(entry);
    if (this.#entries.length > MOST_FRAMES) this.#entries.shift();
    return entry;
  }

  /** @param {number} time @returns {Entry | null}  of the frame that begins then */
  at(time) {
    let [low, high] = [0, this.#entries.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#entries[middle].time <= time + 1e-4) low = middle;
      else high = middle - 1;
    }
    return this.#entries[low] ?? null;
  }

  /** @returns {readonly Entry[]} */
  get entries() {
    return this.#entries;
  }
}
