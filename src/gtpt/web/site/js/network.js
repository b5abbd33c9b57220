/** What a network says about itself: nothing about it is written down anywhere else in this page. */

const IDEAL = 1 / (4 * Math.sqrt(2 * Math.PI)); // raw score of the training's target, for files without a calibration

/**
 * @param {Map<string, string>} metadata  of an ONNX file
 * @returns {import('./types.js').Network}
 * @throws {Error} for the file of another program, or one exported for another use
 */
export function readNetwork(metadata) {
  const text = metadata.get('gtpt');
  if (!text) throw new Error('it is no GTPT network: expected an ONNX file written by `gtpt export`');
  let header;
  try {
    header = JSON.parse(text);
  } catch {
    throw new Error('its header is damaged: export it again with `gtpt export`');
  }
  if (header.input !== 'uint8' || header.output !== 'simcc') {
    throw new Error(
      `it takes ${header.input} crops and gives ${header.output}; this page runs files that take uint8 crops and give ` +
        'simcc logits: export it without --float-input and --decode',
    );
  }
  const { config } = header;
  const [width, height] = config.input_size;
  const [patchHeight, patchWidth] = config.patch;
  return {
    name: config.name,
    inputSize: [width, height],
    split: config.simcc_split,
    grid: [Math.floor(width / (4 * patchWidth)), Math.floor(height / (4 * patchHeight))],
    skeleton: readSkeleton(header.skeleton),
    calibration: header.calibration ?? { raw: [0, IDEAL], calibrated: [0, 1] },
    calibrated: Boolean(header.calibration),
    stages: JSON.parse(metadata.get('kept') ?? '[]'),
  };
}

/**
 * @param {any} file  the file form of a skeleton, with names everywhere
 * @returns {import('./types.js').Skeleton}
 */
function readSkeleton(file) {
  const keypoints = Object.keys(file.keypoints);
  const index = new Map(keypoints.map((name, i) => [name, i]));
  const at = (/** @type {string} */ name) => /** @type {number} */ (index.get(name));
  /** @type {(string | null)[]} */
  const partOf = keypoints.map(() => null);
  for (const group of Object.values(file.groups)) {
    for (const [part, names] of Object.entries(group.parts ?? {})) for (const name of names) partOf[at(name)] = part;
  }
  return {
    name: file.name,
    keypoints,
    sigmas: Object.values(file.keypoints),
    edges: file.edges.flatMap((/** @type {string[]} */ chain) =>
      chain.slice(1).map((name, i) => [at(chain[i]), at(name)]),
    ),
    groups: Object.keys(file.groups),
    partOf,
    file,
  };
}

/**
 * The value behind each raw score, between the knots by straight lines and beyond them as at the last one.
 *
 * @param {Float32Array} raw
 * @param {{raw: number[], calibrated: number[]}} table
 * @returns {Float32Array} in [0, 1]
 */
export function calibrate(raw, table) {
  const { raw: knots, calibrated: values } = table;
  const last = knots.length - 1;
  return raw.map((score) => {
    if (score <= knots[0]) return values[0];
    if (score >= knots[last]) return values[last];
    const above = knots.findIndex((knot) => knot > score);
    const share = (score - knots[above - 1]) / (knots[above] - knots[above - 1]);
    return values[above - 1] + share * (values[above] - values[above - 1]);
  });
}
