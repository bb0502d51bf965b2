// Requests to the server. Addresses are relative, so that the page works below a prefix.

export const UNREACHABLE = "The server cannot be reached. Check that it is running, then try again.";
const UNEXPECTED = "The server sent an answer that this page does not understand.";

/** An answer other than 2xx, or none. */
export class ApiError extends Error {
  /**
   * @param {string} message for the user
   * @param {number} status of the response; 0 where there is none
   * @param {number | null} retryAfter seconds
   */
  constructor(message, status = 0, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export class Api {
  constructor() {
    this.token = null; // kept in memory only
  }

  /** Return the description of the model. */
  model() {
    return this.request("v1/model", {});
  }

  /**
   * Return one prediction per file, in order.
   *
   * @param {File[]} files
   * @param {{top: number, explain: boolean}} wanted classes per image; heat maps
   * @param {AbortSignal} signal
   */
  async predict(files, { top, explain }, signal) {
    const body = new FormData();
    for (const file of files) {
      body.append("images", file, file.name);
    }
    const query = new URLSearchParams({ top, explain, views: true });
    const options = { method: "POST", body, signal };
    const answer = await this.request(`v1/predict?${query}`, options);
    const predictions = answer?.predictions;
    if (predictions?.length !== files.length || !predictions.every(isPrediction)) {
      throw new ApiError(UNEXPECTED);
    }
    return predictions;
  }

  async request(path, options) {
    const headers = this.token === null ? {} : { Authorization: `Bearer ${this.token}` };
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      throw error.name === "AbortError" ? error : new ApiError(UNREACHABLE);
    }
    if (!response.ok) {
      throw await problem(response);
    }
    try {
      return await response.json();
    } catch (error) {
      throw error.name === "AbortError" ? error : new ApiError(UNEXPECTED);
    }
  }
}

/** Return whether a part of an answer is a prediction, or says why there is none. */
function isPrediction(part) {
  return typeof part?.error === "string" || typeof part?.top?.[0]?.probability === "number";
}

/** Return the error for a response with problem details (RFC 9457), or without. */
async function problem(response) {
  let details;
  try {
    details = await response.json();
  } catch {
    details = null; // not JSON, for example from a proxy
  }
  const { detail, request_id: id } = details ?? {};
  const text = typeof detail === "string" ? detail : describe(response.status);
  const message = response.status === 500 && id ? `${text} (${id})` : text;
  return new ApiError(message, response.status, seconds(response.headers.get("Retry-After")));
}

function describe(status) {
  if (status === 413) {
    return "The image is larger than the server accepts. Send it at a smaller size.";
  }
  return `The server answered with status ${status}.`;
}

function seconds(text) {
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}
