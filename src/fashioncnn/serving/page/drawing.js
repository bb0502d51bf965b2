// The pixels of a drawing: strokes, fill and undo. It knows no canvas.

export const SIDE = 28;
const MAX_UNDO = 100;
const FILL_TOLERANCE = 40; // gray levels, so that the soft edge of a stroke stops a fill
const STEPS_PER_PIXEL = 4;

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
    const from = this.last ?? { x, y };
    const distance = Math.hypot(x - from.x, y - from.y);
    const steps = Math.max(1, Math.ceil(distance * STEPS_PER_PIXEL));
    for (let step = 1; step <= steps; step += 1) {
      const t = step / steps;
      this.stamp(from.x + (x - from.x) * t, from.y + (y - from.y) * t);
    }
    this.last = { x, y };
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

  /** Cover a disk with a soft edge; of overlapping disks, the higher coverage counts. */
  stamp(x, y) {
    this.stampDisk(x, y);
    if (this.brush.mirror) {
      this.stampDisk(SIDE - x, y);
    }
  }

  stampDisk(x, y) {
    const radius = this.brush.width / 2;
    const reach = Math.ceil(radius) + 1;
    for (let row = Math.floor(y) - reach; row <= y + reach; row += 1) {
      for (let column = Math.floor(x) - reach; column <= x + reach; column += 1) {
        if (row < 0 || row >= SIDE || column < 0 || column >= SIDE) {
          continue;
        }
        const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
        const covered = Math.min(1, Math.max(0, radius + 0.5 - distance));
        const i = row * SIDE + column;
        this.coverage[i] = Math.max(this.coverage[i], covered);
      }
    }
  }

  fillArea(column, row, level) {
    const seed = this.pixels[row * SIDE + column];
    const visited = new Uint8Array(SIDE * SIDE);
    const open = [[column, row]];
    while (open.length) {
      const [x, y] = open.pop();
      const i = y * SIDE + x;
      if (x < 0 || x >= SIDE || y < 0 || y >= SIDE || visited[i]) {
        continue;
      }
      visited[i] = 1;
      if (Math.abs(this.pixels[i] - seed) <= FILL_TOLERANCE) {
        this.pixels[i] = level;
        open.push([x + 1, y], [x - 1, y], [x, y + 1], [x, y - 1]);
      }
    }
  }
}
