/** The metadata of an ONNX file, which the runtime for browsers does not show: a few lines of protocol buffers away. */

const MODEL = { graph: 7, metadata: 14 };
const ENTRY = { key: 1, value: 2 };
const LENGTH_DELIMITED = 2;

const text = new TextDecoder();

/**
 * @param {Uint8Array} bytes
 * @returns {Map<string, string>}
 * @throws {Error} if these bytes are no ONNX model
 */
export function readMetadata(bytes) {
  const parts = [...fields(bytes)];
  if (!parts.some((part) => part.number === MODEL.graph)) throw new Error('there is no network in it');
  const entries = parts.filter((part) => part.number === MODEL.metadata).map((part) => part.content);
  return new Map(entries.map((entry) => [textOf(entry, ENTRY.key), textOf(entry, ENTRY.value)]));
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

/** @param {Uint8Array} bytes @param {number} number @returns {string}  the text in one field */
function textOf(bytes, number) {
  for (const field of fields(bytes)) if (field.number === number) return text.decode(field.content);
  return '';
}
