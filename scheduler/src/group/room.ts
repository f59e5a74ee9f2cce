/** What is left of a node while a plan is made, without touching the cluster. */
import { RESOURCE_SCALE } from '@muster/base';
import { COLUMN, type Cluster, type NodeRow } from '../cluster.js';
import { GpuDevices } from '../gpu-devices.js';
import type { Shape } from '../shape.js';

/** A node with some of a group's bundles on it. */
export class Room {
  readonly node: NodeRow;
  readonly #free: Float64Array;
  readonly #gpus = new GpuDevices(0);

  constructor(node: NodeRow, free: Float64Array, gpus: GpuDevices) {
    this.node = node;
    this.#free = free.slice();
    this.#gpus.assign(gpus);
  }

  static of(cluster: Cluster, node: NodeRow): Room {
    return new Room(node, cluster.available.subarray(node.row * cluster.width, (node.row + 1) * cluster.width), node.gpus);
  }

  copy(): Room {
    return new Room(this.node, this.#free, this.#gpus);
  }

  /** As {@link Shape.capacity}, of what is left. */
  capacity(shape: Shape, max: number): number {
    let count = shape.gpu > 0 ? Math.min(max, this.#gpus.capacity(shape.gpu)) : max;
    shape.eachNeed((column, amount) => {
      if (column !== COLUMN.gpuPart && column !== COLUMN.gpuWhole) count = Math.min(count, Math.floor(this.#free[column]! / amount));
    });
    return Math.max(0, count);
  }

  /** Takes what one bundle needs; it must be there. Returns the GPUs. */
  take(shape: Shape): readonly number[] {
    shape.eachNeed((column, amount) => { this.#free[column]! -= amount; });
    return shape.gpu > 0 ? this.#gpus.take(shape.gpu) : [];
  }

  /** Takes what one bundle needs, on exactly these GPUs. */
  takeAt(shape: Shape, gpuIds: readonly number[]): void {
    shape.eachNeed((column, amount) => { this.#free[column]! -= amount; });
    if (shape.gpu > 0) this.#gpus.claim(gpuIds, shape.gpu);
  }

  giveBack(shape: Shape, gpuIds: readonly number[]): void {
    shape.eachNeed((column, amount) => { this.#free[column]! += amount; });
    if (shape.gpu > 0) this.#gpus.giveBack(gpuIds, shape.gpu);
  }

  /** The free units of each GPU that has any. */
  freeGpus(): readonly { readonly id: number; readonly free: number }[] {
    return this.#gpus.free();
  }

  /** Nodes with equal states take the same bundles: a search need try only one of them. */
  get state(): string {
    return `${this.#free.join()}|${this.#gpus.free().map(({ free }) => free / RESOURCE_SCALE).sort().join()}`;
  }
}
