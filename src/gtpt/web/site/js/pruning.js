/** Which patches the network kept: composed from the choices of its TopK nodes. */

/**
 * @typedef {{data: ArrayLike<number | bigint>, dims: readonly number[]}} Choice  (batch, kept) positions among what was there
 */

/** @param {import('./types.js').Stage[]} stages @returns {number} TopK nodes that such a network has */
export function choiceCount(stages) {
  return stages.reduce((sum, stage) => sum + Math.max(stage.groups.length, 1), 0);
}

/**
 * A choice counts within what the stage before left over, in the order that it gave; here all become numbers of patches in the
 * grid.
 *
 * @param {import('./types.js').Network} network
 * @param {Choice[]} choices  in the order of the graph
 * @param {number} person  index in the batch
 * @returns {import('./types.js').Kept[]}
 */
export function keptPatches(network, choices, person) {
  const patches = network.grid[0] * network.grid[1];
  let groups = [Array.from({ length: patches }, (_, i) => i)];
  let next = 0;
  return network.stages.map((stage) => {
    const pick = (/** @type {number[]} */ before) => {
      const { data, dims } = choices[next++];
      return Array.from({ length: dims[1] }, (_, i) => before[Number(data[person * dims[1] + i])]);
    };
    if (stage.groups.length) {
      if (groups.length === 1) groups = network.skeleton.groups.map(() => groups[0]);
      groups = groups.map((before, g) => (stage.groups.includes(g) ? pick(before) : before));
    } else {
      groups = groups.map(pick);
    }
    return { stage: stage.name, groups: groups.map((kept) => [...kept].sort((a, b) => a - b)) };
  });
}

/** @param {string} stage @returns {string} in words */
export function stageTitle(stage) {
  const coarse = /^(coarse|group)(\d+)$/.exec(stage);
  if (coarse) return `After ${coarse[1]} layer ${coarse[2]}`;
  return stage === 'entry' ? 'Entering the groups' : stage;
}
