// Numbers and messages as text.

const MAX_NAME_LENGTH = 200; // characters of a file name in an answer, see serving/uploads.py

/** Return 0.6714 as "67.1%". */
export function percent(fraction) {
  if (fraction > 0 && fraction < 0.001) {
    return "<0.1%";
  }
  return fraction < 1 && fraction > 0.999 ? ">99.9%" : `${(100 * fraction).toFixed(1)}%`;
}

export function mebibytes(bytes) {
  return `${Number((bytes / 2 ** 20).toFixed(1))} MiB`;
}

/** Return a message of the server as a sentence, without the name of the file it is about. */
export function toSentence(message, name = "") {
  const prefix = `${sentName(name)}: `;
  const text = name && message.startsWith(prefix) ? message.slice(prefix.length) : message;
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}

/** Return a file name as it is in a form, where browsers encode quotes, and in answers. */
function sentName(name) {
  const encoded = name.replaceAll('"', "%22").replaceAll("\n", "%0A").replaceAll("\r", "%0D");
  return [...encoded].slice(0, MAX_NAME_LENGTH).join("");
}
