/** Results as files, in the forms that the Python package writes and reads (docs/formats.md). */

/**
 * @typedef {object} Frame
 * @property {number} frame  from 0
 * @property {number} time  seconds
 * @property {string} name  of the video or photo
 * @property {import('./types.js').Poses} poses
 */

/** @param {import('./types.js').Poses} poses @param {import('./types.js').Skeleton} skeleton @returns {string} JSON */
export function toJson(poses, skeleton) {
  return JSON.stringify({ ...picture(poses), skeleton: skeleton.file });
}

/** @param {Frame[]} frames @param {import('./types.js').Skeleton} skeleton @returns {string} JSON lines, a header first */
export function toJsonLines(frames, skeleton) {
  const header = { format: 'gtpt-poses', version: 1, skeleton: skeleton.file };
  const lines = frames.map(({ frame, time, name, poses }) => ({ frame, time, name, ...picture(poses) }));
  return [header, ...lines].map((line) => `${JSON.stringify(line)}\n`).join('');
}

const COLUMNS = 'frame,time,name,person,id,joint,x,y,score,raw_score,person_score,x1,y1,x2,y2';

/** @param {Frame[]} frames @param {import('./types.js').Skeleton} skeleton @returns {string} a row per person and joint */
export function toCsv(frames, skeleton) {
  const rows = frames.flatMap(({ frame, time, name, poses }) =>
    poses.people.flatMap((person, number) => {
      const box = person.box.map(shortest);
      return skeleton.keypoints.map((joint, k) =>
        [
          ...[frame, time, cell(name), number, person.id ?? -1, cell(joint)],
          ...[person.keypoints[2 * k], person.keypoints[2 * k + 1], person.scores[k], person.rawScores[k]].map(
            shortest,
          ),
          ...[shortest(person.score), ...box],
        ].join(','),
      );
    }),
  );
  return [COLUMNS, ...rows, ''].join('\n');
}

/** @param {import('./types.js').Poses} poses */
function picture(poses) {
  return {
    image_size: poses.size,
    people: poses.people.map((person) => ({
      id: person.id,
      box: person.box.map(shortest),
      score: shortest(person.score),
      keypoints: Array.from(person.scores, (score, k) =>
        [person.keypoints[2 * k], person.keypoints[2 * k + 1], score].map(shortest),
      ),
      raw_scores: Array.from(person.rawScores, shortest),
    })),
  };
}

/** @param {number} value @returns {number}  the shortest decimal that reads back as the same float32 */
function shortest(value) {
  const single = Math.fround(value);
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(single.toPrecision(digits));
    if (Math.fround(rounded) === single) return rounded;
  }
  return Number(single.toPrecision(9));
}

/** @param {string} text @returns {string}  quoted where CSV needs it */
function cell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
