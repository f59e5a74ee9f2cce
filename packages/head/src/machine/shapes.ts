/** The requests' indexes, which are brought up to date cheaply but made by a look at every node: those used last are kept. */
import { requestKey, Shape, type Cluster, type PlacementRequest } from '@muster/scheduler';
import { SHAPES_KEPT_MAX } from './limits.js';

/** One shape for each request. */
export class Shapes {
  readonly #cluster: Cluster;
  /** The one used last at the end. */
  readonly #byKey = new Map<string, Shape>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  of(request: PlacementRequest, key = requestKey(request)): Shape {
    const shape = this.#byKey.get(key) ?? new Shape(this.#cluster, request);
    this.#byKey.delete(key);
    this.#byKey.set(key, shape);
    if (this.#byKey.size > SHAPES_KEPT_MAX) this.#byKey.delete(this.#byKey.keys().next().value!);
    return shape;
  }
}
