/** The networks, in a thread of their own so that the page stays responsive: pictures in, people out. */
import { distinct } from './distinct.js';
import { boxOfPose, cropOf, cutOut, isInside, toPicture } from './geometry.js';
import { calibrate, readNetwork } from './network.js';
import { readMetadata } from './onnx_file.js';
import { keptPatches } from './pruning.js';
import { decode } from './simcc.js';
import * as yolox from './yolox.js';

const GPU_BATCH = 8; // people per run where a run has a cost of its own; a CPU is as fast with one after the other
const ERRORS_ONLY = 'error';

/** @type {any} the runtime, onnxruntime-web */
let ort = null;
/** @type {any} */
let poseSession = null;
/** @type {import('./types.js').Network} */
let network;
/** @type {number | null} */
let fixedBatch = null;
/** @type {{session: any, inputSize: import('./types.js').Size, input: string, output: string} | null} */
let detector = null;
let backend = 'wasm';

/** @type {OffscreenCanvasRenderingContext2D | null} */
let board = null;

/**
 * @typedef {object} OpenRequest
 * @property {string} runtime  address of the folder with the runtime's files
 * @property {'auto' | 'webgpu' | 'wasm'} backend
 * @property {number} threads  for WebAssembly
 * @property {ArrayBuffer} pose  ONNX file
 *
 * @param {OpenRequest} request
 */
async function open({ runtime, backend: wanted, threads, pose }) {
  const bytes = new Uint8Array(pose);
  network = readNetwork(readMetadata(bytes));
  const usesGpu = wanted === 'webgpu' || (wanted === 'auto' && (await hasGpu()));
  let note = '';
  if (usesGpu) {
    try {
      await start('webgpu', runtime, 1, bytes);
    } catch (error) {
      note = `WebGPU could not be used (${reason(error)}), so this runs in WebAssembly.`;
    }
  }
  if (!usesGpu || note) await start('wasm', runtime, threads, bytes);
  return { network, backend, threads: backend === 'wasm' ? threads : 0, showsPruning: network.stages.length > 0, note };
}

/** Whether there is a graphics processor; one that is imitated by the CPU is slower than WebAssembly. */
async function hasGpu() {
  const adapter = await /** @type {any} */ (navigator).gpu?.requestAdapter?.().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

/** @param {string} kind @param {string} runtime @param {number} threads @param {Uint8Array} model */
async function start(kind, runtime, threads, model) {
  ort = await import(new URL(kind === 'webgpu' ? 'ort.webgpu.min.js' : 'ort.wasm.min.js', runtime).href);
  ort.env.logLevel = ERRORS_ONLY;
  const code = `ort-wasm-simd-threaded${kind === 'webgpu' ? '.asyncify' : ''}`;
  ort.env.wasm.wasmPaths = { mjs: `${runtime}${code}.js`, wasm: `${runtime}${code}.wasm` };
  ort.env.wasm.numThreads = threads;
  backend = kind;
  poseSession = await createSession(model);
  const size = poseSession.inputMetadata[0].shape[0];
  fixedBatch = typeof size === 'number' ? size : null;
  const [width, height] = network.inputSize;
  const outputs = await runPose(new Uint8Array(width * height * 3), 1, false);
  if (!outputs.x.data.every(Number.isFinite)) throw new Error('its numbers are wrong on this device');
  if (kind === 'webgpu') {
    const device = await ort.env.webgpu.device;
    device.lost.then((/** @type {any} */ info) =>
      postMessage({ lost: info.message || info.reason || 'no reason given' }),
    );
  }
}

/** @param {Uint8Array} model */
async function createSession(model) {
  try {
    return await ort.InferenceSession.create(model, { executionProviders: [backend], logSeverityLevel: 3 });
  } catch (error) {
    throw new Error(`the runtime cannot open it: ${reason(error)}`);
  }
}

/** @param {{bytes: ArrayBuffer | null}} request  a YOLOX file; null for none */
async function useDetector({ bytes }) {
  if (!bytes) {
    detector = null;
    return null;
  }
  readMetadata(new Uint8Array(bytes));
  const session = await createSession(new Uint8Array(bytes));
  const { name, shape, type } = session.inputMetadata[0];
  const [, channels, height, width] = shape ?? [];
  const fits = session.inputMetadata.length === 1 && type === 'float32' && channels === 3 && shape.length === 4;
  if (!fits || ![height, width].every((side) => Number.isInteger(side) && side % 32 === 0)) {
    throw new Error(
      `it is no YOLOX network: it takes ${type} ${JSON.stringify(shape)} instead of float32 [1, 3, H, W]`,
    );
  }
  /** @type {import('./types.js').Size} */
  const inputSize = [width, height];
  const candidate = { session, inputSize, input: name, output: session.outputNames[0] };
  await runDetector(candidate, new Float32Array(3 * width * height).fill(114)); // refuse a foreign network now
  detector = candidate;
  return { inputSize };
}

/** @param {NonNullable<typeof detector>} network @param {Float32Array} input */
async function runDetector({ session, inputSize, input: name, output }, input) {
  const [width, height] = inputSize;
  const results = await session.run({ [name]: new ort.Tensor('float32', input, [1, 3, height, width]) });
  const { data, dims } = results[output];
  const cells = yolox.cellCount(inputSize);
  if (dims.length !== 3 || dims[1] !== cells || dims[2] < 6) {
    throw new Error(`it is no YOLOX network: it gives ${JSON.stringify(dims)} instead of [1, ${cells}, 5 + classes]`);
  }
  for (let at = 0; at < data.length; at += dims[2]) {
    if (!(data[at + 4] >= 0 && data[at + 4] <= 1))
      throw new Error('it is no YOLOX network: its scores are not in [0, 1]');
  }
  return { data, columns: dims[2] };
}

/**
 * @typedef {object} EstimateRequest
 * @property {ImageBitmap} bitmap
 * @property {import('./types.js').Detection[] | null} boxes  null: ask the detector
 * @property {number} threshold  of the detector
 * @property {boolean} refine  once more, in the box that the first pose spans
 * @property {boolean} unique  without those who were found twice
 * @property {boolean} kept  also tell which patches were kept
 *
 * @param {EstimateRequest} request
 * @returns {Promise<{poses: import('./types.js').Poses, timing: import('./types.js').Timing}>}
 */
async function estimate({ bitmap, boxes, threshold, refine, unique, kept }) {
  const begin = performance.now();
  const picture = pixelsOf(bitmap);
  /** @type {import('./types.js').Size} */
  const size = [picture.width, picture.height];
  const beforeDetection = performance.now();
  const found = boxes ?? (await detect(picture, threshold));
  const detected = performance.now();
  let people = await posesOf(
    picture,
    found.filter((one) => isInside(one.box, size)),
    kept && !refine,
  );
  if (refine) {
    const again = people.map((person) => ({ box: boxOfPose(person, size), score: person.detection }));
    people = await posesOf(picture, again, kept);
  }
  if (unique) people = distinct(people, network.skeleton.sigmas);
  const end = performance.now();
  const timing = { detect: boxes ? 0 : detected - beforeDetection, pose: end - detected, total: end - begin };
  return { poses: { size, people }, timing };
}

/** @param {ImageBitmap} bitmap @returns {import('./types.js').Pixels} */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  if (!board || board.canvas.width !== width || board.canvas.height !== height) {
    board = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
    if (!board) throw new Error('this browser gives no canvas to read pixels with');
  }
  board.clearRect(0, 0, width, height);
  board.drawImage(bitmap, 0, 0);
  bitmap.close();
  return board.getImageData(0, 0, width, height);
}

/** @param {import('./types.js').Pixels} picture @param {number} threshold */
async function detect(picture, threshold) {
  if (!detector) throw new Error('there is no person detector');
  const { input, ratio } = yolox.letterbox(picture, detector.inputSize);
  const { data, columns } = await runDetector(detector, input);
  return yolox.people(data, columns, detector.inputSize, ratio, [picture.width, picture.height], threshold);
}

/**
 * @param {import('./types.js').Pixels} picture @param {import('./types.js').Detection[]} found @param {boolean} withKept
 * @returns {Promise<import('./types.js').Person[]>}
 */
async function posesOf(picture, found, withKept) {
  const batch = fixedBatch ?? (backend === 'webgpu' ? GPU_BATCH : 1);
  /** @type {import('./types.js').Person[]} */
  const people = [];
  for (let start = 0; start < found.length; start += batch) {
    people.push(...(await posesOfBatch(picture, found.slice(start, start + batch), withKept)));
  }
  return people;
}

/**
 * @param {import('./types.js').Pixels} picture @param {import('./types.js').Detection[]} found @param {boolean} withKept
 * @returns {Promise<import('./types.js').Person[]>}
 */
async function posesOfBatch(picture, found, withKept) {
  const [width, height] = network.inputSize;
  const pixels = 3 * width * height;
  const count = fixedBatch ?? found.length;
  const crops = found.map(({ box }) => cropOf(box, network.inputSize));
  const input = new Uint8Array(count * pixels);
  crops.forEach((crop, i) => cutOut(picture, crop, network.inputSize, input.subarray(i * pixels, (i + 1) * pixels)));
  const outputs = await runPose(input, count, withKept);
  const keypoints = network.skeleton.keypoints.length;
  return found.map(({ box, score: detection }, i) => {
    const [x, y] = [outputs.x, outputs.y].map(({ data, dims }) => {
      const bins = keypoints * dims[2];
      return data.subarray(i * bins, (i + 1) * bins);
    });
    const { points, scores: rawScores } = decode(x, y, keypoints, network.split);
    const scores = calibrate(rawScores, network.calibration);
    const score = detection * (scores.reduce((sum, value) => sum + value, 0) / keypoints);
    const person = { box, detection, score, id: null, keypoints: toPicture(points, crops[i]), scores, rawScores };
    return withKept ? { ...person, kept: keptPatches(network, outputs, i) } : person;
  });
}

/** @param {Uint8Array} input @param {number} count @param {boolean} withKept */
function runPose(input, count, withKept) {
  const [width, height] = network.inputSize;
  const wanted = ['x', 'y', ...(withKept ? network.stages.flatMap((stage) => stage.outputs) : [])];
  return poseSession.run({ crops: new ort.Tensor('uint8', input, [count, height, width, 3]) }, wanted);
}

/** @param {unknown} error  the runtime throws numbers, strings and errors */
function reason(error) {
  return String(error instanceof Error ? error.message : error).trim() || 'no reason given';
}

/** @type {Record<string, (request: any) => Promise<unknown>>} */
const tasks = { open, useDetector, estimate };

let queue = Promise.resolve();
self.onmessage = ({ data: { call, task, request } }) => {
  queue = queue.then(async () => {
    try {
      self.postMessage({ call, result: await tasks[task](request) });
    } catch (error) {
      self.postMessage({ call, error: reason(error) });
    }
  });
};
