/** The requests' indexes, which are brought up to date cheaply but made by a look at every node: those used last are kept. */
import { GroupShape, requestKey, Shape, type Cluster, type GroupRequest, type PlacementRequest } from '@muster/scheduler';
import { GROUP_SHAPES_KEPT_MAX, SHAPES_KEPT_MAX } from './limits.js';

/** One shape for each request, and for each request for a group. */
export class Shapes {
  readonly #cluster: Cluster;
  /** The one used last at the end. */
  readonly #byKey = new Map<string, Shape>();
  readonly #ofGroups = new Map<string, GroupShape>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  of(request: PlacementRequest, key = requestKey(request)): Shape {
    return lastUsed(this.#byKey, key, SHAPES_KEPT_MAX, () => new Shape(this.#cluster, request));
  }

  /** @param key of {@link groupKey} */
  ofGroup(request: GroupRequest, key: string): GroupShape {
    return lastUsed(this.#ofGroups, key, GROUP_SHAPES_KEPT_MAX, () => new GroupShape(this.#cluster, request, (each, shapeKey) => this.of(each, shapeKey)));
  }
}

function lastUsed<Value>(kept: Map<string, Value>, key: string, max: number, make: () => Value): Value {
  const value = kept.get(key) ?? make();
  kept.delete(key);
  kept.set(key, value);
  if (kept.size > max) kept.delete(kept.keys().next().value!);
  return value;
}
