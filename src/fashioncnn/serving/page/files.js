// Files from the user: chosen, photographed, pasted or dropped.

const NO_FILE = "No file was dropped. Save the image first; links are not followed.";

const byId = (id) => document.getElementById(id);

/**
 * Pass all files on.
 *
 * @param {(files: File[], problems?: string[]) => void} receive
 */
export function setUpFiles(receive) {
  setUpChoice(receive);
  setUpPaste(receive);
  setUpDrop(receive);
}

function setUpChoice(receive) {
  for (const input of [byId("choose"), byId("camera")]) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = ""; // the same file can be chosen again
      receive(files);
    });
  }
}

function setUpPaste(receive) {
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    const isText = event.target.closest?.("input[type=password]");
    if (files.length) {
      event.preventDefault();
      receive(files);
    } else if (!isText) {
      receive([], ["The clipboard contains no image."]);
    }
  });
  if (/Mac|iP(hone|ad|od)/.test(navigator.platform)) {
    byId("paste-key").textContent = "⌘";
  }
}

function setUpDrop(receive) {
  const zone = byId("drop");
  let depth = 0; // dragenter and dragleave are fired for children, too
  const mark = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    zone.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // anywhere: a miss would open the image instead of this page
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(0);
    const files = [...event.dataTransfer.files];
    receive(files, files.length ? [] : [NO_FILE]);
  });
}
