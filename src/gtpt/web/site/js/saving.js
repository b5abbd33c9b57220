/** Files for the user to keep. */
import { element } from './dom.js';
import { toCsv, toJson, toJsonLines } from './formats.js';

const FETCHED = 60_000; // milliseconds after which a browser has surely taken a download

/**
 * @param {'json' | 'csv'} kind @param {string} name  of the photo
 * @param {import('./types.js').Poses} poses @param {import('./types.js').Skeleton} skeleton
 */
export function savePhoto(kind, name, poses, skeleton) {
  if (kind === 'csv') return saveFrames(kind, name, [{ frame: 0, time: 0, name, poses }], skeleton);
  download(new Blob([toJson(poses, skeleton)], { type: 'application/json' }), `${stem(name)}.json`);
}

/**
 * @param {'json' | 'csv'} kind @param {string} name  of the video
 * @param {import('./formats.js').Frame[]} frames @param {import('./types.js').Skeleton} skeleton
 */
export function saveFrames(kind, name, frames, skeleton) {
  const [text, type, extension] =
    kind === 'csv'
      ? [toCsv(frames, skeleton), 'text/csv', 'csv']
      : [toJsonLines(frames, skeleton), 'application/jsonl', 'jsonl'];
  download(new Blob([text], { type }), `${stem(name)}.${extension}`);
}

/** @param {Blob} picture @param {string} name  of what it was drawn on */
export function savePicture(picture, name) {
  download(picture, `${stem(name)}_pose.png`);
}

/** @param {string} name @returns {string}  of a file, without its extension */
function stem(name) {
  return name.replace(/\.[^.]+$/, '');
}

/** @param {Blob} content @param {string} name */
function download(content, name) {
  const link = element('a', { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), FETCHED);
}
