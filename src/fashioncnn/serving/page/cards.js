// One card per image: its thumbnail, and the answer or an error.

import { percent, toSentence } from "./text.js";

const SHOWN_CLASSES = 10;
const VIEW_NAMES = {
  cutout: "Garment cut out",
  stretch: "Whole image, stretched",
  crop: "Center of the image",
  pad: "Whole image",
  plain: "Whole image",
  fashion: "Trimmed and centered",
};
const SMALL_SIDE = 64; // images up to this size are enlarged without smoothing

/**
 * Return the element of a card that waits for its answer.
 *
 * @param {File} file
 * @param {string} address of the image, `blob:` or relative
 */
export function createCard(file, address) {
  const card = instantiate("card-template");
  const thumbnail = card.querySelector(".thumbnail");
  const image = thumbnail.querySelector("img");
  image.addEventListener("load", () => {
    thumbnail.classList.toggle("small-image", image.naturalWidth <= SMALL_SIDE);
  });
  image.addEventListener("error", () => {
    const suffix = thumbnail.querySelector(".suffix"); // for example HEIC in most browsers
    suffix.textContent = suffixOf(file.name);
    suffix.hidden = false;
    image.hidden = true;
  });
  image.src = address;
  card.querySelector(".name").textContent = file.name;
  showWaiting(card, "Waiting");
  return card;
}

/** Show that an image waits or is being classified. */
export function showWaiting(card, text) {
  fill(card, element("p", "waiting", text));
}

/**
 * Show why there is no answer.
 *
 * @param {Element} card
 * @param {string} message
 * @param {() => void} [retry] sends the image again
 */
export function showError(card, message, retry) {
  const box = element("div", "failed");
  const reason = toSentence(message, card.querySelector(".name").textContent);
  box.append(element("h3", "", "No prediction"), element("p", "", reason));
  if (retry) {
    const button = element("button", "button small", "Try again");
    button.type = "button";
    button.addEventListener("click", () => {
      card.tabIndex = -1;
      card.focus({ preventScroll: true }); // the button disappears
      retry();
    });
    box.append(button);
  }
  fill(card, box);
}

/**
 * Show a prediction.
 *
 * @param {Element} card
 * @param {object} prediction see `ImagePrediction` in serving/schemas.py
 * @param {object} model see `ModelInfo` there
 */
export function showPrediction(card, prediction, model) {
  const result = instantiate("result-template", true);
  card.classList.toggle("abstained", prediction.abstained);
  fillVerdict(result, prediction, model);
  fillClasses(result, prediction);
  fillViews(result, prediction);
  fill(card, result);
}

/** Return a prediction as one sentence. */
export function summarize(name, { abstained, top: [best] }) {
  const answer = `${best.name}, ${percent(best.probability)}`;
  return abstained ? `${name}: the model is not sure. Best guess ${answer}.` : `${name}: ${answer}.`;
}

function fillVerdict(result, { abstained, confidence, top: [best] }, model) {
  result.querySelector(".label").textContent = abstained ? "Not sure" : best.name;
  result.querySelector(".probability").textContent = abstained ? "" : percent(best.probability);
  const explanation = result.querySelector(".explanation");
  explanation.hidden = !abstained;
  explanation.textContent = explain(best, model);
  const threshold = model?.abstain_below ?? 0;
  const box = result.querySelector(".confidence");
  box.hidden = threshold === 0;
  box.querySelector("p").textContent = abstained
    ? `Confidence ${percent(confidence)}, below the threshold of ${percent(threshold)}`
    : `Confidence ${percent(confidence)} (threshold ${percent(threshold)})`;
  setValue(box.querySelector(".fill"), confidence);
  setValue(box.querySelector(".threshold"), threshold);
}

/** Return what an abstention means. */
function explain(best, model) {
  const doubt = model?.has_ood_detector
    ? "The model is not sure that this is one of its classes, or which of them"
    : "The model is not sure which of its classes this is";
  return `${doubt}, so it gives no answer. Its best guess is ${best.name}, ${percent(best.probability)}.`;
}

function fillClasses(result, { top }) {
  const rows = top.map(({ name, probability }, i) => classRow(name, probability, i === 0));
  result.querySelector("tbody").append(...rows);
  rows.slice(SHOWN_CLASSES).forEach((row) => (row.hidden = true));
  const more = result.querySelector(".more");
  more.hidden = rows.length <= SHOWN_CLASSES;
  more.textContent = `Show all ${rows.length} classes`;
  more.addEventListener("click", () => {
    rows.forEach((row) => (row.hidden = false));
    rows[SHOWN_CLASSES].querySelector("th").tabIndex = -1;
    rows[SHOWN_CLASSES].querySelector("th").focus();
    more.hidden = true;
  });
}

function classRow(name, probability, isHighest) {
  const row = element("tr", isHighest ? "highest" : "");
  const header = element("th", "", name);
  header.scope = "row";
  const cell = element("td");
  const content = element("div", "cell");
  content.append(element("span", "number", percent(probability)));
  setValue(content, probability);
  cell.append(content);
  row.append(header, cell);
  return row;
}

function fillViews(result, { views, top: [best] }) {
  const section = result.querySelector(".views");
  section.hidden = !views?.length;
  const captions = numberRepeated((views ?? []).map(({ name }) => VIEW_NAMES[name] ?? name));
  const viewItems = captions.map((caption, i) => viewItem(views[i], caption));
  section.querySelector("ol").append(...viewItems);
  fillLegend(section.querySelector(".legend"), views ?? [], best);
}

function fillLegend(legend, views, best) {
  if (!views.some((view) => view.heat_map)) {
    legend.textContent = "This model has no heat maps.";
    return;
  }
  const scale = element("span", "scale");
  scale.ariaHidden = "true";
  const range = element("span", "range-of-colors", "from little");
  range.append(scale, "to much");
  legend.append(`Heat maps: what counts for ${best.name}, `, range);
}

function viewItem({ image: input, heat_map: heatMap }, caption) {
  const item = element("li");
  const images = element("div", "view");
  images.append(image(input, "", `Model input: ${caption}`));
  if (heatMap) {
    images.append(image(heatMap, "heat", `Heat map: ${caption}`));
  }
  item.append(images, element("p", "note", caption));
  return item;
}

/** Return the captions; those that occur several times get a number. */
function numberRepeated(captions) {
  return captions.map((caption, i) => {
    const number = captions.slice(0, i + 1).filter((other) => other === caption).length;
    return captions.indexOf(caption, i + 1) >= 0 || number > 1 ? `${caption} ${number}` : caption;
  });
}

function image(address, className, description) {
  const img = element("img", className);
  img.src = address;
  img.alt = description;
  return img;
}

/** Set the length of a bar; a style attribute would violate the content security policy. */
function setValue(target, fraction) {
  target.style.setProperty("--value", (100 * fraction).toFixed(2));
}

function instantiate(id, isFragment = false) {
  const copy = document.getElementById(id).content.cloneNode(true);
  return isFragment ? copy : copy.firstElementChild;
}

export function element(tag, className = "", text = "") {
  const created = document.createElement(tag);
  created.className = className;
  created.textContent = text;
  return created;
}

function fill(card, content) {
  card.querySelector(".answer").replaceChildren(content);
}

function suffixOf(name) {
  const suffix = name.includes(".") ? name.split(".").pop() : "";
  return suffix.length <= 5 ? suffix.toUpperCase() : "";
}
