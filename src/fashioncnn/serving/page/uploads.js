// Images that wait for the server: requests of bounded size, one after the other.

import { ApiError } from "./api.js";

const MAX_REQUEST_IMAGES = 4; // small requests show results and progress early
const MAX_REQUEST_BYTES = 32e6;
const MULTIPART_BYTES = 16e3; // headers of the parts
const MAX_RETRIES = 5;
const DEFAULT_WAIT = 2; // seconds, where a response has no Retry-After
const MAX_WAIT = 30;
const BUSY = [429, 503];
const ABOUT_THE_IMAGES = [400, 413, 415, 422];
const NO_HEAT_MAPS = "explain: "; // start of the message if the model has none

export class Uploads {
  /**
   * @param {import("./api.js").Api} api
   * @param {object} listener with `check(file)`, which resolves to why a file is not sent, or to
   *   null; and `onStart(item)`, `onResult(item, prediction)`, `onError(item, message)`,
   *   `onToken()`, `onBusy(seconds)` and `onChange()`
   */
  constructor(api, listener) {
    this.api = api;
    this.listener = listener;
    this.limits = { images: MAX_REQUEST_IMAGES, bytes: MAX_REQUEST_BYTES };
    this.wanted = { top: 10, explain: true };
    this.session = []; // all items since there was nothing to do
    this.waiting = []; // those without a result or an error
    this.isRunning = false;
    this.needsToken = false;
    this.controller = new AbortController();
  }

  /** Take over what the server accepts in one request, and ask for all classes. */
  useModel({ labels, limits }) {
    const bytes = Math.min(largestFile(limits), MAX_REQUEST_BYTES);
    this.limits = { images: Math.min(limits.max_images, MAX_REQUEST_IMAGES), bytes };
    this.wanted = { top: labels.length, explain: true };
  }

  /** Add items, `{file: File}`; each gets a result or an error later. */
  add(items) {
    if (!this.waiting.length) {
      this.session = [];
    }
    this.session = [...this.session.filter((item) => !items.includes(item)), ...items];
    this.waiting.push(...items);
    this.run();
  }

  /** Drop all images that wait, and the request that is under way. */
  cancel() {
    this.controller.abort();
    this.controller = new AbortController();
    this.finish(this.waiting, (item) => this.listener.onError(item, "Canceled."));
    this.listener.onChange();
  }

  /** Continue, with another token. */
  resume() {
    this.needsToken = false;
    this.run();
  }

  async run() {
    if (this.isRunning) {
      return;
    }
    this.isRunning = true;
    while (this.waiting.length && !this.needsToken) {
      this.listener.onChange();
      await this.send(this.nextBatch(), this.controller.signal);
    }
    this.isRunning = false;
    this.listener.onChange();
  }

  nextBatch() {
    const batch = [];
    let bytes = 0;
    for (const item of this.waiting.slice(0, this.limits.images)) {
      bytes += item.file.size;
      if (batch.length && (bytes > this.limits.bytes || item.isAlone || batch[0].isAlone)) {
        break;
      }
      batch.push(item);
    }
    return batch;
  }

  async send(candidates, signal) {
    candidates.forEach(this.listener.onStart);
    const batch = await this.checked(candidates);
    if (!batch.length || signal.aborted) {
      return;
    }
    try {
      const predictions = await this.predict(batch, signal);
      this.finish(batch, (item) => this.listener.onResult(item, predictions[batch.indexOf(item)]));
    } catch (error) {
      if (!signal.aborted) {
        this.handle(error, batch);
      }
    }
  }

  /** Return the items that can be sent; the others get their error. */
  async checked(candidates) {
    const problems = await Promise.all(candidates.map(({ file }) => this.listener.check(file)));
    const rejected = candidates.filter((_, i) => problems[i] !== null);
    this.finish(rejected, (item) =>
      this.listener.onError(item, problems[candidates.indexOf(item)]),
    );
    return candidates.filter((item) => !rejected.includes(item));
  }

  handle(error, batch) {
    if (error.status === 401) {
      this.needsToken = true;
      this.listener.onToken();
    } else if (error.status === 422 && error.message.startsWith(NO_HEAT_MAPS)) {
      this.wanted.explain = false; // the images are sent again
    } else if (batch.length > 1 && ABOUT_THE_IMAGES.includes(error.status)) {
      batch.forEach((item) => Object.assign(item, { isAlone: true })); // find out which one
    } else {
      const failed = error.status === 0 ? this.waiting : batch; // without a server, all fail
      this.finish(failed, (item) => this.listener.onError(item, error.message));
    }
  }

  async predict(batch, signal) {
    const files = batch.map((item) => item.file);
    for (let retry = 0; ; retry += 1) {
      try {
        return await this.api.predict(files, this.wanted, signal);
      } catch (error) {
        const isBusy = error instanceof ApiError && BUSY.includes(error.status);
        if (!isBusy || retry === MAX_RETRIES) {
          throw error;
        }
        const wait = Math.min(error.retryAfter ?? DEFAULT_WAIT * 2 ** retry, MAX_WAIT);
        this.listener.onBusy(wait);
        await sleep(wait, signal);
      }
    }
  }

  finish(items, report) {
    this.waiting = this.waiting.filter((item) => !items.includes(item));
    items.forEach(report);
  }
}

/** Return the size in bytes of the largest file that fits into a request. */
export function largestFile({ max_body_bytes: bytes }) {
  return bytes - MULTIPART_BYTES;
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
