// Numbers and messages as text.

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
  const text = name && message.startsWith(`${name}: `) ? message.slice(name.length + 2) : message;
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
