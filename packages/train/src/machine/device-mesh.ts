/**
 * The ranks of a training as a box: replicas of the model, stages of its pipeline, and parts of each layer.
 *
 * Tensor-parallel ranks are neighbours, since they talk in every layer and should share a node; then come replicas, which talk once a step; stages of a
 * pipeline, which send the least, lie farthest apart. Source: Narayanan et al. (SC 2021), 3.3.
 */

export const MESH_AXES = ['pipeline', 'data', 'tensor'] as const;
export type MeshAxis = (typeof MESH_AXES)[number];

/** How many ranks lie along each axis. */
export type MeshShape = Readonly<Record<MeshAxis, number>>;

/** One rank's place on each axis. */
export type MeshPlace = Readonly<Record<MeshAxis, number>>;

export function meshSize(shape: MeshShape): number {
  return MESH_AXES.reduce((size, axis) => size * shape[axis], 1);
}

/** Where a rank lies. The last axis counts fastest. */
export function placeOf(rank: number, shape: MeshShape): MeshPlace {
  let rest = rank;
  const place = { pipeline: 0, data: 0, tensor: 0 };
  for (const axis of [...MESH_AXES].reverse()) {
    place[axis] = rest % shape[axis];
    rest = Math.floor(rest / shape[axis]);
  }
  return place;
}

export function rankAt(place: MeshPlace, shape: MeshShape): number {
  return MESH_AXES.reduce((rank, axis) => rank * shape[axis] + place[axis], 0);
}

/** The ranks that differ from this one on `axis` alone, itself among them, in their order there: they share a communicator. */
export function ranksAlong(axis: MeshAxis, rank: number, shape: MeshShape): number[] {
  const place = placeOf(rank, shape);
  return Array.from({ length: shape[axis] }, (_, index) => rankAt({ ...place, [axis]: index }, shape));
}

/** A name for that group which all of its ranks know: of its ranks' places on the other axes. */
export function groupName(axis: MeshAxis, rank: number, shape: MeshShape): string {
  const place = placeOf(rank, shape);
  return `${axis}${MESH_AXES.filter((other) => other !== axis).map((other) => `-${other}${place[other]}`).join('')}`;
}
