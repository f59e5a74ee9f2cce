/** Ranks of a mesh in threads of this process, which share its GPU: what each does is a function of a module, by its name. */
import { collective } from '@muster/collective';
import { setThreads } from '@muster/tensor';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { meshSize, type MeshShape } from '../machine/device-mesh.js';
import { Mesh, meshShape } from '../parallel/mesh.js';

/** What a thread is told. */
interface Assignment {
  readonly module: string;
  readonly name: string;
  readonly argument: unknown;
  readonly gang: NonNullable<Parameters<typeof collective>[0]>;
  readonly shape: MeshShape;
}

let gangs = 0;

/**
 * Runs `name` of a module on every rank of a mesh, with the mesh and the argument. @returns what each returned
 * @throws what a rank throws, once all threads are gone
 */
export async function onMesh<T>(axes: Partial<MeshShape>, module: string, name: string, argument: unknown = null): Promise<T[]> {
  const shape = meshShape(axes);
  const size = meshSize(shape);
  const gangId = `test-${process.pid}-${gangs++}`;
  const outcomes = await Promise.allSettled(Array.from({ length: size }, (_, rank) => new Promise<T>((resolve, reject) => {
    const assignment: Assignment = { module, name, argument, shape, gang: { gangId, rank, size, nodeRank: 0, nodeCount: 1, incarnation: 1 } };
    const worker = new Worker(new URL(import.meta.url), { workerData: assignment });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error(`rank ${rank} ended without a result`)));
  })));
  const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as Error] : []));
  if (failures.length > 0) throw failures.find(({ message }) => !message.includes('aborted')) ?? failures[0]!;
  return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<T>).value);
}

async function work({ module, name, argument, gang, shape }: Assignment): Promise<void> {
  setThreads(1);
  const functions = await import(module) as Record<string, (mesh: Mesh, argument: unknown) => Promise<unknown>>;
  const mesh = await Mesh.open(gang, shape);
  try {
    parentPort!.postMessage(await functions[name]!(mesh, argument));
  } catch (error) {
    mesh.abort(`rank ${gang.rank} failed: ${error instanceof Error ? error.message : String(error)}`);
    throw error;
  } finally {
    mesh.close();
  }
}

if (!isMainThread) await work(workerData as Assignment);
