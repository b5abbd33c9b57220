/** Which patches the network kept: composed from the outputs that `gtpt web` added for that. */

/**
 * @typedef {{data: ArrayLike<number | bigint>, dims: readonly number[]}} Choice  (batch, kept) positions among what was there
 */

/**
 * A choice counts within what the stage before left over, in the order that it gave; here all become numbers of patches in the
 * grid.
 *
 * @param {import('./types.js').Network} network
 * @param {Record<string, Choice>} outputs  by name
 * @param {number} person  index in the batch
 * @returns {import('./types.js').Kept[]}
 */
export function keptPatches(network, outputs, person) {
  const patches = network.grid[0] * network.grid[1];
  let groups = [Array.from({ length: patches }, (_, i) => i)];
  return network.stages.map((stage) => {
    const choices = stage.outputs.map((name) => outputs[name]);
    const pick = (/** @type {number[]} */ before, /** @type {number} */ which) => {
      const { data, dims } = choices[which];
      return Array.from({ length: dims[1] }, (_, i) => before[Number(data[person * dims[1] + i])]);
    };
    if (stage.groups.length) {
      if (groups.length === 1) groups = network.skeleton.groups.map(() => groups[0]);
      stage.groups.forEach((g, which) => (groups[g] = pick(groups[g], which)));
    } else {
      groups = [pick(groups[0], 0)];
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
