// The page of `fashioncnn serve`: connects inputs, uploads and results.

import { Api, UNREACHABLE } from "./api.js";
import { setUpCanvas } from "./canvas.js";
import { createCard, element, showError, showPrediction, showWaiting, summarize } from "./cards.js";
import { setUpFiles } from "./files.js";
import { showModel } from "./model.js";
import { mebibytes, toSentence } from "./text.js";
import { Uploads, largestFile } from "./uploads.js";

const MAX_IMAGES = 200; // per selection: each has a card and a thumbnail
const TOKEN_HELP =
  "This server answers only with a token. It is kept in memory until this page is closed.";
const TOKEN_REJECTED = "The server does not accept this token. Enter another one.";
const TOKEN_MALFORMED = "A token has only letters, digits and punctuation, and no spaces.";

const byId = (id) => document.getElementById(id);
const api = new Api();
const uploads = new Uploads(api, {
  check,
  onChange: showProgress,
  onStart: (item) => showWaiting(item.card, "Classifying"),
  onResult: (item, prediction) => {
    if (prediction.error) {
      fail(item, prediction.error);
      return;
    }
    item.state = prediction.abstained ? "abstained" : "classified";
    item.summary = summarize(item.file.name, prediction);
    showPrediction(item.card, prediction, model);
  },
  onError: fail,
  onToken: () => {
    uploads.waiting.forEach((item) => showWaiting(item.card, "Waiting"));
    showTokenForm();
  },
  onBusy: (wait) => {
    byId("progress-text").textContent = `The server is busy. Next try in ${wait} s`;
    announce(byId("progress-text").textContent);
  },
});
let model = null;
let items = []; // {file, card, address, state, summary}
let drawings = 0;
let isModelMissing = false; // and the alert says why

/** Show a card for each file, and send them; `problems` are shown, too. */
function classify(files, problems = []) {
  const accepted = files.slice(0, MAX_IMAGES);
  if (accepted.length < files.length) {
    problems.push(`Only the first ${MAX_IMAGES} of ${files.length} files are sent.`);
  }
  showProblems(problems);
  const added = accepted.map((file) => {
    const address = URL.createObjectURL(file);
    return { file, address, card: createCard(file, address), state: "waiting", summary: "" };
  });
  items = [...added, ...items];
  byId("cards").prepend(...added.map((item) => item.card));
  if (added.length) {
    reveal(added[0].card);
    announce(`Classifying ${added.length === 1 ? added[0].file.name : `${added.length} images`}`);
    send(added);
  }
}

async function send(added) {
  if (!model) {
    await loadModel(); // the server was not reachable before, or wants a token
  }
  uploads.add(added.filter((item) => items.includes(item)));
}

/** Return why a file is not sent, or null. */
async function check(file) {
  if (file.size === 0) {
    return "The file is empty.";
  }
  if (model && file.size > largestFile(model.limits)) {
    const limit = mebibytes(model.limits.max_body_bytes);
    return `${mebibytes(file.size)}, over this server’s limit of ${limit}. Send it at a smaller size.`;
  }
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return "It cannot be read. It may be a folder, or have been moved or changed.";
  }
  return null;
}

function fail(item, message) {
  item.state = "failed";
  item.summary = `${item.file.name}: ${toSentence(message, item.file.name)}`;
  showError(item.card, message, () => retry([item]));
}

function retry(failed) {
  for (const item of failed) {
    item.state = "waiting";
    showWaiting(item.card, "Waiting");
  }
  send(failed);
}

function failedItems() {
  return items.filter((item) => item.state === "failed");
}

function showProblems(problems) {
  isModelMissing = false;
  const list = element("ul");
  list.append(...problems.map((problem) => element("li", "", toSentence(problem))));
  byId("alert").hidden = problems.length === 0;
  byId("alert").replaceChildren(list);
  byId("alert").scrollIntoView({ block: "nearest" });
}

function showProgress() {
  const { session, waiting, isRunning, needsToken } = uploads;
  const done = session.length - waiting.length;
  hide("progress", !waiting.length || needsToken);
  byId("progress-bar").max = Math.max(1, session.length);
  byId("progress-bar").value = done;
  byId("progress-text").textContent = `${done} of ${session.length} images`;
  const isBusy = !byId("progress").hidden;
  hide("clear", !items.length || isBusy);
  hide("retry", failedItems().length < 2 || isBusy);
  byId("retry").textContent = `Try ${failedItems().length} again`;
  byId("empty").hidden = items.length > 0;
  if (!isRunning && session.length && !waiting.length) {
    announce(summarizeAll(session));
  }
}

/** Hide or show an element of the results; if it had the focus, the results get it. */
function hide(id, isHidden) {
  if (isHidden && byId(id).contains(document.activeElement)) {
    byId("results").focus({ preventScroll: true });
  }
  byId(id).hidden = isHidden;
}

/** Return what several images gave, as a sentence. */
function summarizeAll(session) {
  if (session.length === 1) {
    return session[0].summary;
  }
  const count = (state) => session.filter((item) => item.state === state).length;
  return (
    `${session.length} images: ${count("classified")} classified, ` +
    `${count("abstained")} not sure, ${count("failed")} failed.`
  );
}

/** Let a screen reader say a message; the same one again needs a change, here a space. */
function announce(message) {
  const status = byId("status");
  status.textContent = status.textContent === message ? `${message}\u00a0` : message;
}

/** Scroll to the results, if the newest one is not visible. */
function reveal(card) {
  const { top, bottom } = card.getBoundingClientRect();
  if (top < 0 || Math.min(bottom, top + 160) > window.innerHeight) {
    byId("results").scrollIntoView({ block: "start" });
  }
}

function clearResults() {
  uploads.cancel();
  items.forEach((item) => URL.revokeObjectURL(item.address));
  items = [];
  uploads.session = [];
  byId("cards").replaceChildren();
  showProblems([]);
  showProgress();
  announce("Results cleared");
  byId("results").focus({ preventScroll: true });
}

/** Get the description of the model, which also tells whether a token is needed. */
async function loadModel() {
  try {
    model = await api.model();
  } catch (error) {
    if (error.status === 401) {
      uploads.needsToken = true;
      showTokenForm();
    } else {
      showProblems([error.message]);
      isModelMissing = true;
    }
    return;
  }
  if (isModelMissing) {
    showProblems([]);
  }
  byId("token-form").hidden = true;
  byId("data").hidden = api.token !== null; // a link cannot send the token
  uploads.useModel(model);
  showModel(model);
}

function showTokenForm() {
  const isRejected = api.token !== null;
  byId("token-help").textContent = isRejected ? TOKEN_REJECTED : TOKEN_HELP;
  byId("token-form").hidden = false;
  byId("token").value = "";
  byId("token").focus();
  announce(byId("token-help").textContent);
}

async function useToken(event) {
  event.preventDefault();
  const token = byId("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    byId("token-help").textContent = TOKEN_MALFORMED;
    announce(TOKEN_MALFORMED);
    return;
  }
  byId("token-form").hidden = true;
  byId(items.length ? "results" : "choose").focus({ preventScroll: true });
  showProblems([]);
  api.token = token;
  await loadModel();
  if (byId("token-form").hidden) {
    uploads.resume();
  }
}

function setUpDrawing() {
  const canvas = setUpCanvas(announce);
  byId("classify").addEventListener("click", () => {
    if (canvas.isEmpty()) {
      showProblems(["The drawing area is empty. Draw something first."]);
      return;
    }
    drawings += 1;
    const options = { type: "image/png" };
    classify([new File([canvas.toPng()], `drawing-${drawings}.png`, options)]);
  });
}

function setUpExamples() {
  for (const button of document.querySelectorAll(".example")) {
    const { src } = button.querySelector("img");
    button.addEventListener("click", () => sendExample(src));
  }
}

async function sendExample(address) {
  try {
    const response = await fetch(address);
    if (!response.ok) {
      throw new Error(response.status);
    }
    const content = await response.blob();
    const name = address.split("/").pop();
    classify([new File([content], name, { type: content.type })]);
  } catch {
    showProblems([UNREACHABLE]);
  }
}

setUpFiles(classify);
setUpDrawing();
setUpExamples();
byId("token-form").addEventListener("submit", useToken);
byId("cancel").addEventListener("click", () => uploads.cancel());
byId("clear").addEventListener("click", clearResults);
byId("retry").addEventListener("click", () => {
  byId("results").focus({ preventScroll: true }); // the button disappears
  retry(failedItems());
});
showProgress();
loadModel();
