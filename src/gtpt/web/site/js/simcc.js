/** SimCC: a keypoint as one distribution along x and one along y; bin b is pixel b / split of the crop. */

/**
 * @param {Float32Array} x  K * binsX logits of one person
 * @param {Float32Array} y  K * binsY
 * @param {number} keypoints  K
 * @param {number} split  bins per pixel
 * @returns {{points: Float32Array, scores: Float32Array}} 2 K crop pixels, and K raw scores: the smaller softmax maximum
 */
export function decode(x, y, keypoints, split) {
  const points = new Float32Array(2 * keypoints);
  const scores = new Float32Array(keypoints).fill(1);
  for (const [axis, logits] of [x, y].entries()) {
    const bins = logits.length / keypoints;
    for (let k = 0; k < keypoints; k++) {
      const peak = highest(logits, k * bins, bins);
      points[2 * k + axis] = Math.fround(peak.bin) / Math.fround(split);
      scores[k] = Math.min(scores[k], peak.share);
    }
  }
  return { points, scores };
}

/**
 * @param {Float32Array} logits @param {number} start @param {number} count
 * @returns {{bin: number, share: number}}  the first maximum, and its share of the softmax: 1 / sum(exp(v - max))
 */
function highest(logits, start, count) {
  let bin = 0;
  for (let i = 1; i < count; i++) if (logits[start + i] > logits[start + bin]) bin = i;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += Math.exp(logits[start + i] - logits[start + bin]);
  return { bin, share: 1 / sum };
}
