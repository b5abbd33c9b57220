/** What the user chose, kept for the next visit where the browser lets us. */
import { VISIBLE } from './geometry.js';

const KEY = 'gtpt-settings';

/**
 * @typedef {object} Settings
 * @property {'detector' | 'whole' | 'hand'} find  how people are found
 * @property {number} threshold  of keypoints
 * @property {number} minScore  of people
 * @property {boolean} ids
 * @property {boolean} smooth
 * @property {boolean} boxes
 * @property {number} detectEvery  frames of moving pictures
 * @property {'auto' | 'webgpu' | 'wasm'} backend
 */

/** @type {Settings} */
export const DEFAULTS = {
  find: 'detector',
  threshold: VISIBLE,
  minScore: 0,
  ids: true,
  smooth: true,
  boxes: false,
  detectEvery: 5,
  backend: 'auto',
};

/** @returns {Settings} */
export function loadSettings() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    const known = Object.entries(DEFAULTS).map(([name, value]) => {
      return [name, typeof stored[name] === typeof value ? stored[name] : value];
    });
    return Object.fromEntries(known);
  } catch {
    return { ...DEFAULTS }; // storage is off, or holds something else
  }
}

/** @param {Settings} settings */
export function saveSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // private windows and full disks: then they last as long as the page
  }
}
