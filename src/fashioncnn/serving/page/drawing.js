// The pixels of a drawing: strokes, fill and undo. It knows no canvas.

export const SIDE = 28;
const MAX_UNDO = 100;
const FILL_TOLERANCE = 40; // gray levels, so that the soft edge of a stroke stops a fill

export class Drawing {
  constructor() {
    this.pixels = new Uint8Array(SIDE * SIDE);
    this.history = [];
  }

  get isEmpty() {
    return this.pixels.every((level) => level === 0);
  }

  get canUndo() {
    return this.history.length > 0;
  }

  /**
   * Start a stroke. Until the next one, `extend` paints with these values.
   *
   * @param {{level: number, width: number, mirror: boolean}} brush gray level, width in pixels
   */
  start(brush) {
    this.remember();
    this.brush = brush;
    this.below = this.pixels.slice();
    this.coverage = new Float32Array(SIDE * SIDE);
    this.last = null;
  }

  /** Continue the stroke to a point; pixel (0, 0) is the square from 0 to 1. */
  extend(x, y) {
    const end = { x, y };
    this.cover(this.last ?? end, end);
    if (this.brush.mirror) {
      this.cover(mirrored(this.last ?? end), mirrored(end));
    }
    this.last = end;
    for (let i = 0; i < this.pixels.length; i += 1) {
      const level = this.below[i] + (this.brush.level - this.below[i]) * this.coverage[i];
      this.pixels[i] = Math.round(level);
    }
  }

  /** Fill the area of similar gray levels around a pixel. */
  fill(column, row, { level, mirror }) {
    this.remember();
    this.fillArea(column, row, level);
    if (mirror) {
      this.fillArea(SIDE - 1 - column, row, level);
    }
  }

  eraseAll() {
    this.remember();
    this.pixels.fill(0);
  }

  undo() {
    this.pixels = this.history.pop() ?? this.pixels;
  }

  remember() {
    this.history.push(this.pixels.slice());
    this.history.splice(0, this.history.length - MAX_UNDO);
  }

  /** Cover a line with a soft edge; where lines of a stroke overlap, the higher coverage counts. */
  cover(from, to) {
    const radius = this.brush.width / 2;
    for (let i = 0; i < this.coverage.length; i += 1) {
      const center = { x: (i % SIDE) + 0.5, y: Math.floor(i / SIDE) + 0.5 };
      const covered = radius + 0.5 - distanceToLine(center, from, to);
      this.coverage[i] = Math.max(this.coverage[i], Math.min(1, covered));
    }
  }

  fillArea(column, row, level) {
    const area = this.similarArea(column, row);
    const seed = this.pixels[row * SIDE + column];
    area.forEach(([x, y]) => (this.pixels[y * SIDE + x] = level));
    for (const [x, y] of level > seed ? area.flatMap(surrounding) : []) {
      const i = y * SIDE + x;
      this.pixels[i] = Math.max(this.pixels[i], level); // the soft edge of strokes around the area
    }
  }

  /** Return the connected pixels, [column, row], of similar gray levels. */
  similarArea(column, row) {
    const seed = this.pixels[row * SIDE + column];
    const area = [];
    const visited = new Uint8Array(SIDE * SIDE);
    const open = [[column, row]];
    while (open.length) {
      const [x, y] = open.pop();
      const i = y * SIDE + x;
      if (!visited[i] && Math.abs(this.pixels[i] - seed) <= FILL_TOLERANCE) {
        area.push([x, y]);
        open.push(...surrounding([x, y]).filter(([a, b]) => a === x || b === y));
      }
      visited[i] = 1;
    }
    return area;
  }
}

/** Return the up to eight pixels around one. */
function surrounding([x, y]) {
  const columns = [x - 1, x, x + 1].filter((column) => column >= 0 && column < SIDE);
  const rows = [y - 1, y, y + 1].filter((row) => row >= 0 && row < SIDE);
  return rows.flatMap((row) => columns.map((column) => [column, row]));
}

function mirrored({ x, y }) {
  return { x: SIDE - x, y };
}

/** Return the distance of a point from the line between two points, which may be the same. */
function distanceToLine(point, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const along = (point.x - from.x) * dx + (point.y - from.y) * dy;
  const t = Math.min(1, Math.max(0, along / (dx * dx + dy * dy || 1)));
  return Math.hypot(point.x - from.x - t * dx, point.y - from.y - t * dy);
}
