// A PNG of 8-bit gray levels. A canvas would write RGBA and could change levels.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GRAY_8_BIT = [8, 0, 0, 0, 0];
const ADLER_MODULUS = 65521;

/**
 * Return a PNG (ISO/IEC 15948) whose data is stored uncompressed.
 *
 * @param {Uint8Array} pixels gray levels, row by row
 * @param {number} width at most 65,000 bytes of rows fit into the one stored block
 * @returns {Blob}
 */
export function encodePng(pixels, width) {
  const height = pixels.length / width;
  const rows = new Uint8Array(height * (width + 1)); // each row starts with filter 0
  for (let y = 0; y < height; y += 1) {
    rows.set(pixels.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  }
  const header = [...uint32(width), ...uint32(height), ...GRAY_8_BIT];
  return new Blob(
    [
      new Uint8Array(SIGNATURE),
      chunk("IHDR", header),
      chunk("IDAT", zlib(rows)),
      chunk("IEND", []),
    ],
    { type: "image/png" },
  );
}

/** Return a zlib stream (RFC 1950) with one stored block (RFC 1951, 3.2.4). */
function zlib(data) {
  const length = [data.length & 0xff, data.length >> 8];
  const complement = length.map((byte) => ~byte & 0xff);
  return [0x78, 0x01, 0x01, ...length, ...complement, ...data, ...uint32(adler32(data))];
}

function chunk(name, data) {
  const named = [...name].map((letter) => letter.charCodeAt(0)).concat(Array.from(data));
  return new Uint8Array([...uint32(data.length), ...named, ...uint32(crc32(named))]);
}

function uint32(value) {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff);
}

function adler32(data) {
  let a = 1;
  let b = 0;
  for (const byte of data) {
    a = (a + byte) % ADLER_MODULUS;
    b = (b + a) % ADLER_MODULUS;
  }
  return ((b << 16) | a) >>> 0;
}

/** Return the CRC of a chunk (ISO/IEC 15948, annex D). */
function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
  }
  return ~crc >>> 0;
}
