/** The communicators of a mesh: of all ranks, and of those that differ on one axis alone. The one place where they are made. */
import { collective, type Communicator } from '@muster/collective';
import { invalidArgument } from '../failure.js';
import { groupName, MESH_AXES, meshSize, placeOf, ranksAlong, type MeshAxis, type MeshPlace, type MeshShape } from '../machine/device-mesh.js';

type Gang = NonNullable<Parameters<typeof collective>[0]>;

export interface MeshOptions {
  /** How many workers train together, each with a replica of the model; those of `mesh`, if that is told. */
  readonly ranks?: number;
  /**
   * How the workers share the work: how many replicas of the model there are along `data`, how many stages a replica has along `pipeline`, and how many parts a
   * layer has along `tensor`; 1 each unless told otherwise. Parts of layers are neighbours, and so share a node where that goes.
   */
  readonly mesh?: Partial<MeshShape>;
}

/** @throws MusterError INVALID_ARGUMENT */
export function shapeOf({ ranks, mesh }: MeshOptions): MeshShape {
  if (ranks !== undefined && mesh !== undefined) throw invalidArgument('a training of ranks and a mesh', 'of one of them: ranks is short for mesh: { data: ranks }');
  if (mesh === undefined && (!Number.isInteger(ranks) || ranks! < 1)) throw invalidArgument(`a training of ${ranks} ranks`, 'of one or more');
  return meshShape(mesh ?? { data: ranks! });
}

/** Completes what is left out. @throws MusterError INVALID_ARGUMENT */
export function meshShape(axes: Partial<MeshShape>): MeshShape {
  const shape: MeshShape = { pipeline: 1, data: 1, tensor: 1, ...axes };
  const unknown = Object.keys(axes).filter((axis) => !(MESH_AXES as readonly string[]).includes(axis));
  if (unknown.length > 0) throw invalidArgument(`a mesh with the axis ${unknown.join(', ')}`, `one of ${MESH_AXES.join(', ')}`);
  for (const axis of MESH_AXES) if (!Number.isInteger(shape[axis]) || shape[axis] < 1) throw invalidArgument(`a mesh of ${shape[axis]} ranks along ${axis}`, 'of one or more');
  return shape;
}

/** As messages name a mesh: `pipeline 2 x data 1 x tensor 2`. */
export const describeMesh = (shape: MeshShape): string => MESH_AXES.map((axis) => `${axis} ${shape[axis]}`).join(' x ');

/** One rank's place among the others, and its lines to them. Layers take one of its axes for their group. */
export class Mesh implements Disposable {
  readonly shape: MeshShape;
  /** Among which the ranks are. */
  readonly nodeCount: number;
  readonly place: MeshPlace;
  /** Of all ranks. */
  readonly world: Communicator;
  /** Of the stages of one pipeline. */
  readonly pipeline: Communicator;
  /** Of replicas, which have the same parameters and other examples. */
  readonly data: Communicator;
  /** Of the parts of layers, which share a node where that goes. */
  readonly tensor: Communicator;

  private constructor(shape: MeshShape, nodeCount: number, { world, ...axes }: Readonly<Record<MeshAxis | 'world', Communicator>>) {
    this.shape = shape;
    this.nodeCount = nodeCount;
    this.place = placeOf(world.rank, shape);
    this.world = world;
    this.pipeline = axes.pipeline;
    this.data = axes.data;
    this.tensor = axes.tensor;
  }

  /**
   * Meets the other ranks of a gang, which all call this, once for each name and start of the gang.
   * @throws CollectiveError; MusterError INVALID_ARGUMENT for a shape of more or fewer ranks than the gang has
   */
  static async open(gang: Gang, shape: MeshShape, name = 'mesh'): Promise<Mesh> {
    if (meshSize(shape) !== gang.size) throw invalidArgument(`the mesh ${describeMesh(shape)} of a gang of ${gang.size}`, 'of as many ranks as the gang has');
    const along = (axis: MeshAxis): Promise<Communicator> => collective(gang, { name: `${name}.${groupName(axis, gang.rank, shape)}`, ranks: ranksAlong(axis, gang.rank, shape) });
    const [world, pipeline, data, tensor] = await Promise.all([collective(gang, { name }), along('pipeline'), along('data'), along('tensor')]);
    return new Mesh(shape, gang.nodeCount, { world, pipeline, data, tensor });
  }

  /** How many ranks hold one replica between them. */
  get partCount(): number {
    return this.shape.pipeline * this.shape.tensor;
  }

  /** Which part of a replica this rank holds. */
  get part(): number {
    return this.place.pipeline * this.shape.tensor + this.place.tensor;
  }

  /** Ends the calls of all ranks that this one talks to, who do the same. */
  abort(reason: string): void {
    for (const communicator of this.#all) communicator.abort(reason);
  }

  close(): void {
    for (const communicator of this.#all) communicator.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #all(): readonly Communicator[] {
    return [this.world, this.pipeline, this.data, this.tensor];
  }
}
