/**
 * The little that must be read from, and added to, an ONNX file before a runtime opens it. The runtime for browsers shows
 * neither the metadata of a file nor values inside of its graph; both are a few lines of protocol buffers away.
 */

const MODEL = { graph: 7, metadata: 14 };
const GRAPH = { node: 1, output: 12 };
const NODE = { output: 2, opType: 4 };
const ENTRY = { key: 1, value: 2 };
const VALUE_INFO = { name: 1 };
const LENGTH_DELIMITED = 2;

const text = new TextDecoder();

/**
 * @typedef {object} OnnxFile
 * @property {Map<string, string>} metadata
 * @property {string[]} topK  names of the indices that TopK nodes give, in the order of the graph
 */

/**
 * @param {Uint8Array} bytes
 * @returns {OnnxFile}
 * @throws {Error} if these bytes are no ONNX model
 */
export function readOnnx(bytes) {
  /** @type {Map<string, string>} */
  const metadata = new Map();
  /** @type {string[]} */
  const topK = [];
  let graphs = 0;
  for (const field of fields(bytes)) {
    if (field.number === MODEL.metadata) {
      const [key, value] = [ENTRY.key, ENTRY.value].map((n) => text.decode(first(field.content, n)));
      metadata.set(key, value);
    } else if (field.number === MODEL.graph) {
      graphs += 1;
      for (const node of fields(field.content)) {
        if (node.number === GRAPH.node && text.decode(first(node.content, NODE.opType)) === 'TopK') {
          topK.push(text.decode(all(node.content, NODE.output)[1]));
        }
      }
    }
  }
  if (!graphs) throw new Error('there is no network in it');
  return { metadata, topK };
}

/**
 * The same model with more outputs. Protocol buffers merge a message that comes twice, so it is enough to append a graph that
 * has nothing but these outputs; runtimes infer their types.
 *
 * @param {Uint8Array} bytes
 * @param {string[]} names  of values in the graph
 * @returns {Uint8Array}
 */
export function addOutputs(bytes, names) {
  const encode = new TextEncoder();
  const outputs = names.map((name) => message(GRAPH.output, message(VALUE_INFO.name, encode.encode(name))));
  return concat([bytes, message(MODEL.graph, concat(outputs))]);
}

/**
 * @param {Uint8Array} bytes  of one message
 * @returns {Generator<{number: number, content: Uint8Array}>}  its length-delimited fields; the others are passed over
 */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= bytes.length || scale > 2 ** 63) throw new Error('it is no ONNX file, or was cut off');
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [number, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === LENGTH_DELIMITED) {
      const length = varint();
      if (at + length > bytes.length) throw new Error('it is no ONNX file, or was cut off');
      yield { number, content: bytes.subarray(at, at + length) };
      at += length;
    } else if (kind === 0) {
      varint();
    } else if (kind === 1 || kind === 5) {
      at += kind === 1 ? 8 : 4;
    } else {
      throw new Error('it is no ONNX file');
    }
  }
}

/** @param {Uint8Array} bytes @param {number} number @returns {Uint8Array[]} */
function all(bytes, number) {
  return [...fields(bytes)].filter((field) => field.number === number).map((field) => field.content);
}

/** @param {Uint8Array} bytes @param {number} number @returns {Uint8Array} */
function first(bytes, number) {
  return all(bytes, number)[0] ?? new Uint8Array();
}

/** @param {number} number @param {Uint8Array} content @returns {Uint8Array} a length-delimited field */
function message(number, content) {
  return concat([
    Uint8Array.from([...varintBytes(number * 8 + LENGTH_DELIMITED), ...varintBytes(content.length)]),
    content,
  ]);
}

/** @param {number} value @returns {number[]} */
function varintBytes(value) {
  return value < 128 ? [value] : [(value % 128) + 128, ...varintBytes(Math.floor(value / 128))];
}

/** @param {Uint8Array[]} parts @returns {Uint8Array} */
function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
