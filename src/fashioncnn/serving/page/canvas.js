// The drawing area: pointer and keyboard on a canvas.

import { Drawing, SIDE } from "./drawing.js";
import { encodePng } from "./png.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LINES = "rgb(255 255 255 / 9%)";
const CURSOR = "#74d3c6";

/**
 * Set up the drawing area.
 *
 * @param {(message: string) => void} announce to a screen reader
 * @returns {{isEmpty: () => boolean, toPng: () => Blob}}
 */
export function setUpCanvas(announce) {
  const canvas = document.getElementById("canvas");
  const context = canvas.getContext("2d");
  const hint = document.getElementById("canvas-hint");
  const undo = document.getElementById("undo");
  const eraseAll = document.getElementById("erase-all");
  const drawing = new Drawing();
  const cursor = { x: SIDE / 2 + 0.5, y: SIDE / 2 + 0.5, isVisible: false }; // in a pixel's center

  const paint = () => {
    fitResolution(canvas);
    drawPixels(context, drawing.pixels);
    drawLines(context, document.getElementById("mirror").checked);
    if (cursor.isVisible) {
      drawCursor(context, cursor);
    }
    hint.hidden = !drawing.isEmpty || cursor.isVisible;
    disable(undo, !drawing.canUndo, canvas);
    disable(eraseAll, drawing.isEmpty, canvas);
  };

  const start = (x, y) => {
    const brush = currentBrush();
    if (brush.tool === "fill") {
      drawing.fill(Math.floor(x), Math.floor(y), brush);
    } else {
      drawing.start(brush);
      drawing.extend(x, y);
    }
    paint();
  };

  usePointer(canvas, drawing, cursor, start, paint);
  useKeyboard(canvas, drawing, cursor, start, paint, announce);
  undo.addEventListener("click", () => {
    drawing.undo();
    paint();
    announce("Undone");
  });
  eraseAll.addEventListener("click", () => {
    drawing.eraseAll();
    paint();
    announce("Drawing erased");
  });
  document.getElementById("mirror").addEventListener("change", paint);
  new ResizeObserver(paint).observe(canvas);
  return {
    isEmpty: () => drawing.isEmpty,
    toPng: () => encodePng(drawing.pixels, SIDE),
  };
}

function currentBrush() {
  const { value: tool } = document.querySelector('input[name="tool"]:checked');
  const shade = Number(document.getElementById("shade").value);
  return {
    tool,
    level: tool === "erase" ? 0 : shade,
    width: Number(document.getElementById("width").value),
    mirror: document.getElementById("mirror").checked,
  };
}

function usePointer(canvas, drawing, cursor, start, paint) {
  let isDrawing = false;
  const position = (event) => {
    const box = canvas.getBoundingClientRect();
    const inside = (value) => Math.min(SIDE - 0.01, Math.max(0, value * SIDE));
    return [
      inside((event.clientX - box.left) / box.width),
      inside((event.clientY - box.top) / box.height),
    ];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) {
      return;
    }
    cursor.isVisible = false;
    canvas.setPointerCapture(event.pointerId);
    start(...position(event));
    isDrawing = currentBrush().tool !== "fill";
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!isDrawing || !event.isPrimary) {
      return;
    }
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      drawing.extend(...position(each));
    }
    paint();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => {
      isDrawing = false;
    });
  }
}

function useKeyboard(canvas, drawing, cursor, start, paint, announce) {
  const describe = () => {
    const [column, row] = [Math.floor(cursor.x), Math.floor(cursor.y)];
    const level = drawing.pixels[row * SIDE + column];
    const content = level ? `brightness ${Math.round((level / 255) * 100)}%` : "black";
    announce(`Row ${row + 1}, column ${column + 1}, ${content}`);
  };
  const move = ([dx, dy], isDrawing) => {
    const inside = (value) => Math.min(SIDE - 0.5, Math.max(0.5, value));
    if (isDrawing) {
      drawing.start(currentBrush());
      drawing.extend(cursor.x, cursor.y);
    }
    cursor.x = inside(Math.floor(cursor.x + dx) + 0.5);
    cursor.y = inside(Math.floor(cursor.y + dy) + 0.5);
    if (isDrawing) {
      drawing.extend(cursor.x, cursor.y);
    }
  };
  canvas.addEventListener("keydown", (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    const isTool = event.key === " " || event.key === "Enter";
    if (event.altKey || ((event.ctrlKey || event.metaKey) && !isUndo)) {
      return;
    }
    if (isUndo) {
      drawing.undo();
    } else if (event.key in ARROWS) {
      move(ARROWS[event.key], event.shiftKey && currentBrush().tool !== "fill");
    } else if (isTool) {
      start(cursor.x, cursor.y);
    } else {
      return;
    }
    event.preventDefault();
    cursor.isVisible = true;
    paint();
    describe();
  });
  const show = (isVisible) => () => {
    cursor.isVisible = isVisible && canvas.matches(":focus-visible");
    paint();
  };
  canvas.addEventListener("focus", show(true));
  canvas.addEventListener("blur", show(false));
}

/** Disable a button; if it had the focus, another element gets it. */
function disable(button, isDisabled, other) {
  if (isDisabled && document.activeElement === button) {
    other.focus();
  }
  button.disabled = isDisabled;
}

/** Give the canvas the resolution of the screen, a whole number of its pixels per pixel. */
function fitResolution(canvas) {
  const size = Math.max(4, Math.round((canvas.clientWidth * devicePixelRatio) / SIDE)) * SIDE;
  if (canvas.width !== size) {
    canvas.width = size;
    canvas.height = size;
  }
}

function drawPixels(context, pixels) {
  const size = context.canvas.width / SIDE;
  pixels.forEach((level, i) => {
    context.fillStyle = `rgb(${level} ${level} ${level})`;
    context.fillRect((i % SIDE) * size, Math.floor(i / SIDE) * size, size, size);
  });
}

function drawLines(context, mirror) {
  const { width } = context.canvas;
  const size = width / SIDE;
  context.fillStyle = LINES;
  for (let i = 1; i < SIDE; i += 1) {
    context.fillRect(i * size, 0, 1, width);
    context.fillRect(0, i * size, width, 1);
  }
  if (mirror) {
    context.fillStyle = CURSOR;
    for (let y = 0; y < width; y += size) {
      context.fillRect(width / 2, y, 1, size / 2);
    }
  }
}

function drawCursor(context, { x, y }) {
  const size = context.canvas.width / SIDE;
  context.strokeStyle = CURSOR;
  context.lineWidth = size / 5;
  context.strokeRect(Math.floor(x) * size, Math.floor(y) * size, size, size);
}
