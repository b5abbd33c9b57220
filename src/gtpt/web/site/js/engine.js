/** The page's side of the engine: calls the worker, and starts another one when a graphics processor is lost. */

/** The device under a worker is gone; what was asked of it can be asked again of another one. */
class LostError extends Error {}

/**
 * @typedef {object} EngineFacts
 * @property {import('./types.js').Network} network
 * @property {'webgpu' | 'wasm'} backend
 * @property {number} threads
 * @property {boolean} showsPruning
 * @property {string} note  what the user should know
 */

export class Engine {
  /** @type {Worker | null} */
  #worker = null;
  #calls = 0;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  #pending = new Map();
  /** @type {ArrayBuffer | null} */
  #pose = null;
  /** @type {ArrayBuffer | null} */
  #detector = null;
  #runtime;
  #onChange;

  /** @type {EngineFacts | null} */
  facts = null;

  /**
   * @param {string} runtime  address of the folder with the runtime
   * @param {(facts: EngineFacts, lost: string | null) => void} onChange  a network is open; `lost` tells why anew
   */
  constructor(runtime, onChange) {
    this.#runtime = runtime;
    this.#onChange = onChange;
  }

  /** Whether people are found by a network. */
  get hasDetector() {
    return this.#detector !== null;
  }

  /**
   * @param {ArrayBuffer} pose  an ONNX file of `gtpt export`
   * @param {'auto' | 'webgpu' | 'wasm'} backend
   * @throws {Error} for a file that cannot be used; then the network before stays
   */
  async open(pose, backend) {
    const worker = this.#start();
    try {
      /** @type {EngineFacts} */
      const facts = await this.#ask(worker, 'open', { runtime: this.#runtime, backend, threads: threads(), pose });
      if (this.#detector) await this.#ask(worker, 'useDetector', { bytes: this.#detector });
      this.#worker?.terminate();
      [this.#worker, this.#pose, this.facts] = [worker, pose, facts];
      this.#onChange(facts, null);
    } catch (error) {
      worker.terminate();
      throw error;
    }
  }

  /**
   * @param {ArrayBuffer | null} bytes  a YOLOX file
   * @throws {Error} for another one; then the detector before stays
   */
  async useDetector(bytes) {
    if (this.#worker) await this.#ask(this.#worker, 'useDetector', { bytes });
    this.#detector = bytes;
  }

  /**
   * @param {ImageBitmapSource} source
   * @param {Omit<import('./engine.worker.js').EstimateRequest, 'bitmap'>} request
   * @returns {Promise<{poses: import('./types.js').Poses, timing: import('./types.js').Timing}>}
   */
  async estimate(source, request) {
    if (!this.#worker) throw new Error('no network is open');
    try {
      return await this.#estimate(this.#worker, source, request);
    } catch (error) {
      if (!(error instanceof LostError)) throw error;
      return await this.#estimate(await this.#recover(error.message), source, request);
    }
  }

  /**
   * @param {Worker} worker @param {ImageBitmapSource} source
   * @param {Omit<import('./engine.worker.js').EstimateRequest, 'bitmap'>} request
   */
  async #estimate(worker, source, request) {
    const bitmap = await createImageBitmap(source);
    return this.#ask(worker, 'estimate', { ...request, bitmap }, [bitmap]);
  }

  /** @type {Promise<Worker> | null} several callers may find the same device lost */
  #recovery = null;

  /** @param {string} why */
  async #recover(why) {
    this.#recovery ??= (async () => {
      if (!this.#pose) throw new Error(why);
      await this.open(this.#pose, 'wasm');
      if (this.facts) this.#onChange(this.facts, why);
      return /** @type {Worker} */ (this.#worker);
    })().finally(() => (this.#recovery = null));
    return this.#recovery;
  }

  #start() {
    const worker = new Worker(new URL('./engine.worker.js', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data }) => {
      if ('lost' in data) {
        this.#fail(new LostError(data.lost));
        if (worker === this.#worker) void this.#recover(data.lost);
        return;
      }
      const call = this.#pending.get(data.call);
      this.#pending.delete(data.call);
      if ('error' in data) call?.reject(new Error(data.error));
      else call?.resolve(data.result);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new LostError(event.message || 'the engine could not be started; is the folder complete?'));
    };
    return worker;
  }

  /** @param {Error} error */
  #fail(error) {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  /**
   * @param {Worker} worker @param {string} task @param {object} request @param {Transferable[]} [transfer]
   * @returns {Promise<any>}
   */
  #ask(worker, task, request, transfer = []) {
    const call = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#pending.set(call, { resolve, reject });
      worker.postMessage({ call, task, request }, transfer);
    });
  }
}

/** Threads need memory that they share, which browsers give to isolated pages only (see sw.js). */
function threads() {
  return self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 4) : 1;
}
