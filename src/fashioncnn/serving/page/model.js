// What the page shows about the model.

import { element } from "./cards.js";
import { mebibytes, percent } from "./text.js";

const SHOWN_LABELS = 20;

const byId = (id) => document.getElementById(id);

/** Show a model: `ModelInfo` in serving/schemas.py. */
export function showModel(model) {
  byId("model-name").querySelector("strong").textContent = model.name;
  byId("model-name").hidden = false;
  byId("classes").replaceChildren(
    "Give the model an image. It answers with the probability of each of its " +
      `${model.labels.length} classes: `,
    ...listLabels(model.labels),
  );
  byId("limits").textContent = `${model.formats}, up to ${mebibytes(model.limits.max_body_bytes)}`;
  showFacts(model);
  showExamples(model.labels);
}

/** Return the first class names as text and elements; none is wrapped at its hyphen. */
function listLabels(labels) {
  const shown = labels.slice(0, SHOWN_LABELS);
  const others = labels.length - shown.length;
  const names = others ? [...shown, `${others} others`] : shown;
  return names.flatMap((name, i) => [
    element("span", name.length < 20 ? "nowrap" : "", name),
    i === names.length - 1 ? "." : i === names.length - 2 ? " and " : ", ",
  ]);
}

/** Show the examples of the model's classes; without any, none. */
function showExamples(labels) {
  const examples = [...document.querySelectorAll(".example[data-label]")];
  for (const example of examples) {
    example.closest("li").hidden = !labels.includes(example.dataset.label);
  }
  byId("examples").hidden = examples.every((example) => example.closest("li").hidden);
}

function showFacts(model) {
  const megapixels = (factor) => Number(((factor * model.limits.max_pixels) / 1e6).toFixed(1));
  const facts = {
    Model: `${model.name} (${model.architecture}), fashioncnn ${model.version}`,
    "Trained on": model.dataset,
    Classes: model.labels.join(", "),
    "Model input": `${model.image_size}×${model.image_size} pixels, ${model.channels === 1 ? "grayscale" : "color"}, views: ${model.views}`,
    "Test-time augmentation": model.tta,
    Temperature: model.temperature.toFixed(3),
    "Largest images": `${megapixels(1)} megapixels; JPEG ${megapixels(16)}, HEIC ${megapixels(4)}`,
    Abstention: model.abstain_below
      ? `where the confidence, ${model.confidence}, is below ${percent(model.abstain_below)}`
      : "never",
  };
  const rows = Object.entries(facts).flatMap(([name, value]) => [
    element("dt", "", name),
    element("dd", "", value),
  ]);
  byId("facts").replaceChildren(...rows);
  byId("about").hidden = false;
}
