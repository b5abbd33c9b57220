/** What the user chose, kept for the next visit where the browser lets us. */
import { VISIBLE } from './geometry.js';

const KEY = 'gtpt-settings';

/**
 * @typedef {object} Settings
 * @property {'detector' | 'whole' | 'hand'} find  how people are found
 * @property {number} threshold  of keypoints
 * @property {number} minScore  of people whom a detector finds
 * @property {boolean} ids
 * @property {boolean} smooth
 * @property {boolean} boxes
 * @property {number} detectEvery  frames of moving pictures
 * @property {'auto' | 'webgpu' | 'wasm'} backend
 */

/** @type {Omit<Settings, 'minScore'>} */
const DEFAULTS = {
  find: 'detector',
  threshold: VISIBLE,
  ids: true,
  smooth: true,
  boxes: false,
  detectEvery: 5,
  backend: 'auto',
};

/** @param {number} minScore  unless the user chose another @returns {Settings} */
export function loadSettings(minScore) {
  const defaults = { ...DEFAULTS, minScore };
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    const known = Object.entries(defaults).map(([name, value]) => {
      return [name, typeof stored[name] === typeof value ? stored[name] : value];
    });
    return Object.fromEntries(known);
  } catch {
    return defaults; // storage is off, or holds something else
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
