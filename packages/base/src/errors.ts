/**
 * The one error table. A code has one message template, says whether trying again can help, and what to
 * do next. A class of its own exists only where a program would catch it.
 */

interface ErrorEntry {
  /** The class's name, as users see it. */
  readonly name: string;
  /** Whether the same call may succeed when it is made again. */
  readonly retryable: boolean;
  /** `{placeholders}` are filled from the details. */
  readonly message: string;
  readonly remedy: string;
}

export const ERROR_TABLE = {
  TASK_CANCELLED: { name: 'TaskCancelledError', retryable: false, message: '{what} was cancelled{why}', remedy: 'Submit it again if its result is still wanted.' },
  TIMEOUT: { name: 'TimeoutError', retryable: true, message: '{what} took longer than {limit}', remedy: 'Allow it more time, or look at what it waits for with `cluster explain`.' },
  PREEMPTED: { name: 'PreemptedError', retryable: true, message: '{what} is preempted and will be ended in {grace}: {why}', remedy: 'Save what must not be lost; it runs again when there is room.' },
  WORKER_DIED: { name: 'WorkerDiedError', retryable: true, message: '{what} failed because its worker {cause}', remedy: 'Allow more attempts with the option retries, or read the log with `cluster logs {worker}`.' },
  NODE_DIED: { name: 'NodeDiedError', retryable: true, message: '{what} failed because {cause}', remedy: 'Allow more attempts with the option retries; `cluster list nodes` shows what is left.' },
  ACTOR_DIED: { name: 'ActorDiedError', retryable: false, message: '{what} failed because the actor {actor} {cause}', remedy: 'Create the actor again, or let it restart by itself with the option maxRestarts.' },
  ACTOR_UNAVAILABLE: { name: 'ActorUnavailableError', retryable: true, message: '{what} was interrupted because the actor {actor} {cause}; the actor restarts', remedy: 'The call may or may not have run. Make it again if it may run twice, or set the option retries.' },
  GANG_DIED: { name: 'GangDiedError', retryable: false, message: '{what} failed because the gang {gang} {cause}', remedy: 'Make the gang again, or let it start anew by itself with the option onFailure.' },
  ACTOR_NAME_TAKEN: { name: 'ActorNameTakenError', retryable: false, message: "an actor named '{actorName}' is alive already", remedy: 'Choose another name, fetch it with getActor(), or set getIfExists: true.' },
  ACTOR_NOT_FOUND: { name: 'ActorNotFoundError', retryable: false, message: "no actor is named '{actorName}'", remedy: '`cluster list actors` shows the names in use.' },
  OBJECT_LOST: { name: 'ObjectLostError', retryable: false, message: '{what} was lost: {cause}', remedy: 'A value made by put() or an actor cannot be rebuilt; make it in a task, or put it again.' },
  OBJECT_FREED: { name: 'ObjectFreedError', retryable: false, message: '{what} was freed', remedy: 'Call free() only after the last use of a reference.' },
  OWNER_DIED: { name: 'OwnerDiedError', retryable: false, message: '{what} is gone because its owner {cause}', remedy: 'Return values from tasks instead of references made inside them, or keep the owner alive.' },
  UNSCHEDULABLE: { name: 'UnschedulableError', retryable: false, message: '{what} can never be placed: {reasons}', remedy: 'Ask for less, or add a node that has it with `cluster start --address`.' },
  OBJECT_STORE_FULL: { name: 'ObjectStoreFullError', retryable: true, message: 'the object store of {node} has no room for {size}: {used}', remedy: 'Free references, or start the node with a larger --object-store.' },
  CAPTURE: { name: 'CaptureError', retryable: false, message: '{detail}\n  captured via: {path}', remedy: 'Create the value inside the function, or pass it as an argument.' },
  RUNTIME_ENV: { name: 'RuntimeEnvError', retryable: false, message: 'the worker could not load {what}: {cause}', remedy: 'Make the module available under the same path on every node.' },
  AUTHENTICATION: { name: 'AuthenticationError', retryable: false, message: '{what} refused the connection: {cause}', remedy: 'Set MUSTER_TOKEN_FILE or --token-file to the file that `cluster start --head` wrote; `cluster token` prints its path.' },
  VERSION_MISMATCH: { name: 'VersionMismatchError', retryable: false, message: '{what} speaks protocol {theirs}, this process {ours}', remedy: 'Install the same version of Muster on both sides.' },
  BACKPRESSURE: { name: 'BackpressureError', retryable: true, message: '{what} has {pending} calls pending, and its limit is {limit}', remedy: 'Await some of them first, use map() with a window, or raise maxPendingCalls.' },
  EXPERIMENT_IN_USE: { name: 'ExperimentInUseError', retryable: true, message: 'the experiment in {folder} is being run by {holder}', remedy: 'Wait until it is done, end that process, or use another folder.' },
  EXPERIMENT_EXISTS: { name: 'ExperimentExistsError', retryable: false, message: '{folder} holds an experiment already, with {trials}', remedy: 'Set resume: true to go on with it, or use another folder.' },
  EXPERIMENT_DIFFERS: { name: 'ExperimentDiffersError', retryable: false, message: '{folder} holds another experiment: {difference}', remedy: 'Resume with the space, objectives, seed, searcher and scheduler it was begun with, or use another folder.' },
  EXPERIMENT_DAMAGED: { name: 'ExperimentDamagedError', retryable: false, message: 'the log {file} is damaged in line {line}: {cause}', remedy: 'Restore it from a copy, or cut it off before that line to go on from there.' },
  EXPERIMENT_FAILED: { name: 'ExperimentFailedError', retryable: false, message: '{what} ended without a result: {cause}', remedy: '`cluster tune show` lists why its trials failed.' },
  STORAGE: { name: 'StorageError', retryable: true, message: '{file} could not be written: {cause}', remedy: 'Free space there, or use a folder that may be written to, and run it again. What was written before is kept where storage was given; an experiment goes on from it with resume: true.' },
  CONNECTION: { name: 'ConnectionError', retryable: true, message: 'cannot reach {what}: {cause}', remedy: 'Check the address, and that `cluster status` answers there.' },
  NOT_CONNECTED: { name: 'NotConnectedError', retryable: false, message: 'the cluster connection {cause}', remedy: 'Call init() again.' },
  COLLECTIVE: { name: 'CollectiveError', retryable: false, message: '{what} failed: {cause}', remedy: 'Close the communicator at every rank and make a new one; a gang that restarts its members does.' },
  TRAINING: { name: 'TrainingError', retryable: false, message: '{what} of the training failed: {cause}', remedy: 'Lower the learning rate, clip the gradients, or look at the data of that step.' },
  TENSOR: { name: 'TensorError', retryable: false, message: '{operation} cannot take {operands}: {rule}', remedy: 'Change what it is given.' },
  OUT_OF_MEMORY: { name: 'OutOfMemoryError', retryable: false, message: 'there is no memory for {size} more: {used}', remedy: 'Use smaller batches or a smaller dtype, free tensors with tidy() or scope(), or raise the limit.' },
  INVALID_ARGUMENT: { name: 'InvalidArgumentError', retryable: false, message: '{what} is not valid: it must be {want}', remedy: 'Correct the argument.' },
  PROTOCOL: { name: 'ProtocolError', retryable: false, message: 'a message from {what} could not be read: {cause}', remedy: 'Check that nothing else speaks to this port, and that versions agree.' },
  INTERNAL: { name: 'InternalError', retryable: false, message: 'an assertion failed: {what}', remedy: 'This is a mistake in Muster: please report it with the stack.' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERROR_TABLE;
export type ErrorDetails = Readonly<Record<string, string | number | undefined>>;

/** A failure of the system, as opposed to an error that users' code threw. */
export class MusterError extends Error {
  readonly code: ErrorCode;
  /** Whether the same call may succeed when it is made again. */
  readonly retryable: boolean;
  /** What to do next. */
  readonly remedy: string;
  /** The values that fill the message. */
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, details: ErrorDetails = {}, options?: ErrorOptions) {
    const entry: ErrorEntry = ERROR_TABLE[code];
    const fill = (text: string): string => text.replace(/\{(\w+)\}/g, (_, key: string) => withoutFullStop(String(details[key] ?? '')));
    super(`${fill(entry.message)}. ${fill(entry.remedy)}`, options);
    this.name = entry.name;
    this.code = code;
    this.retryable = entry.retryable;
    this.remedy = fill(entry.remedy);
    this.details = details;
  }
}

/** A detail may be a sentence of its own, and the message goes on after it. */
const withoutFullStop = (text: string): string => text.replace(/(?<!\.)\.$/, '');

export class TaskCancelledError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('TASK_CANCELLED', d, o); } }
export class TimeoutError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('TIMEOUT', d, o); } }
export class WorkerDiedError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('WORKER_DIED', d, o); } }
export class NodeDiedError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('NODE_DIED', d, o); } }
export class ActorDiedError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('ACTOR_DIED', d, o); } }
export class ActorUnavailableError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('ACTOR_UNAVAILABLE', d, o); } }
export class GangDiedError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('GANG_DIED', d, o); } }
export class ObjectLostError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('OBJECT_LOST', d, o); } }
export class OwnerDiedError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('OWNER_DIED', d, o); } }
export class UnschedulableError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('UNSCHEDULABLE', d, o); } }
export class ObjectStoreFullError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('OBJECT_STORE_FULL', d, o); } }
export class CaptureError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('CAPTURE', d, o); } }
export class RuntimeEnvError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('RUNTIME_ENV', d, o); } }
export class AuthenticationError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('AUTHENTICATION', d, o); } }
export class VersionMismatchError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('VERSION_MISMATCH', d, o); } }
export class BackpressureError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('BACKPRESSURE', d, o); } }
export class CollectiveError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('COLLECTIVE', d, o); } }
export class TensorError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('TENSOR', d, o); } }
export class OutOfMemoryError extends MusterError { constructor(d?: ErrorDetails, o?: ErrorOptions) { super('OUT_OF_MEMORY', d, o); } }

type DetailedClass = new (details?: ErrorDetails, options?: ErrorOptions) => MusterError;
const CLASSES: Readonly<Partial<Record<ErrorCode, DetailedClass>>> = {
  TASK_CANCELLED: TaskCancelledError, TIMEOUT: TimeoutError, WORKER_DIED: WorkerDiedError, NODE_DIED: NodeDiedError,
  ACTOR_DIED: ActorDiedError, ACTOR_UNAVAILABLE: ActorUnavailableError, GANG_DIED: GangDiedError, OBJECT_LOST: ObjectLostError, OWNER_DIED: OwnerDiedError,
  UNSCHEDULABLE: UnschedulableError, OBJECT_STORE_FULL: ObjectStoreFullError, CAPTURE: CaptureError, RUNTIME_ENV: RuntimeEnvError,
  AUTHENTICATION: AuthenticationError, VERSION_MISMATCH: VersionMismatchError, BACKPRESSURE: BackpressureError,
  COLLECTIVE: CollectiveError, TENSOR: TensorError, OUT_OF_MEMORY: OutOfMemoryError,
};

/** An error of the table by its code, of its own class where it has one. */
export function makeError(code: ErrorCode, details: ErrorDetails = {}, options?: ErrorOptions): MusterError {
  const Class = CLASSES[code];
  return Class ? new Class(details, options) : new MusterError(code, details, options);
}

/** How a MusterError crosses a wire: enough to make it again with {@link errorFromWire}. */
export interface WireError {
  readonly code: string;
  readonly details: Readonly<Record<string, string>>;
}

export function errorToWire(error: MusterError): WireError {
  const details: Record<string, string> = {};
  for (const [key, value] of Object.entries(error.details)) if (value !== undefined) details[key] = String(value);
  return { code: error.code, details };
}

export function errorFromWire(wire: WireError): MusterError {
  return wire.code in ERROR_TABLE
    ? makeError(wire.code as ErrorCode, wire.details)
    : makeError('PROTOCOL', { what: 'a peer', cause: `unknown error code '${wire.code}'` });
}

/** Fails loudly on a programmer's mistake. Never used for what the world may do. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new MusterError('INTERNAL', { what });
}
