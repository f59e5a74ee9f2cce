/**
 * Users' code in a simulated worker: the hands of the executor's real machine, as @muster/worker's io has them. Functions and methods are programs of the
 * library, and their computing takes virtual time.
 */
import { MusterError } from '@muster/base';
import { Composite, type ClientToHead } from '@muster/protocol';
import { describeStored, encodeStored, EncodedValue, type ObjectRef, type StoredDescriptor } from '@muster/core/internal';
import { COMPUTES, WAITS, type CallerLine, type DefinedFunction, type EncodedResult, type ExecutorPorts, type ExecutorTimer, type Receiver, type Running, type Worker } from '@muster/worker';
import { CodeContext } from './code-context.js';
import type { SimClass, SimFunction } from './library.js';
import { runProgram, until, UserError, type Ending, type Program } from './program.js';
import type { SimSession } from './sim-session.js';
import { encode, encodeError, Large, write } from './values.js';

/** An actor that was made. */
export interface Instance {
  readonly actorId: string;
  readonly Class: SimClass;
  readonly state: unknown;
}

/** In which process the code runs. */
export interface SimCodeOptions {
  readonly session: SimSession;
  readonly worker: () => Worker;
}

/** The code that one worker runs. */
export class SimCode implements ExecutorPorts {
  /** The actor that lives here. */
  instance: Instance | null = null;
  readonly #session: SimSession;
  /** What runs, in the ledger's numbers. */
  readonly #executions = new Set<number>();

  constructor(readonly options: SimCodeOptions) {
    this.#session = options.session;
    options.session.waits.onChange = (count) => this.#worker.executor.waitsChanged(count);
  }

  get #worker(): Worker {
    return this.options.worker();
  }

  /** The process is dead, and with it all that ran in it. */
  died(): void {
    for (const execution of this.#executions) this.#session.world.ledger.ended(execution);
  }

  // ---------------------------------------------------------------- calls

  call(running: Running, args: readonly unknown[]): unknown {
    if (running.yielding) {
      this.#session.process.defer(() => this.#generate(running, args));
      return WAITS;
    }
    const { executor } = this.#worker;
    let isInCall = true;
    let ending: Ending<unknown> | null = null;
    let isWaiting = false;
    runProgram(this.#session.process, this.#body(running, args), (end) => {
      ending = end;
      if (isInCall) return;
      if ('error' in end) executor.threw(running, end.error);
      else executor.returned(running, end.value);
    }, () => {
      isWaiting = true;
      if (!isInCall) executor.waits(running);
    });
    isInCall = false;
    return ending === null ? (isWaiting ? WAITS : COMPUTES) : valueOf(ending);
  }

  /** Runs a generator: a program that emits its values. */
  #generate(running: Running, args: readonly unknown[]): void {
    const { executor } = this.#worker;
    this.#run(this.#body(running, args), { done: () => executor.exhausted(running), failed: (error) => executor.threw(running, error) });
  }

  #emit(running: Running, value: unknown): Program<boolean> {
    return until<boolean>((done, failed) => this.#worker.executor.yielded(running, value, { done, failed }));
  }

  /** The users' code, watched by the ledger. */
  *#body(running: Running, args: readonly unknown[]): Program<unknown> {
    const { world, process, nodeId } = this.#session;
    const { ledger } = world;
    const { line, method, fn, sequence } = running;
    const code = this.#contextOf(running);
    if (this.instance) ledger.called(this.instance.actorId, process.id, line.callerId, sequence);
    const execution = ledger.began({ ownerKey: line.callerKey, sequence, workerId: process.id, nodeId, leaseId: this.#worker.leaseId });
    this.#executions.add(execution);
    try {
      if (fn !== null) return yield* (fn.revived as SimFunction)(code, ...(args as never[]));
      const { Class, state } = this.instance!;
      return yield* Class.methods[method!.key]!(code, state as never, ...(args as never[]));
    } finally {
      this.#executions.delete(execution);
      ledger.ended(execution);
    }
  }

  /** The hands of a task; its variables live as long as it does. */
  #contextOf(running: Running): CodeContext {
    running.attachment ??= new CodeContext(this.#session, { running, adopt: (ref) => this.#worker.executor.adopt(running, ref), emit: (value) => this.#emit(running, value) });
    return running.attachment as CodeContext;
  }

  over(running: Running): void {
    (running.attachment as CodeContext | null)?.end();
  }

  /** Simulated code looks whether it was. */
  interrupted(): void {}

  // ---------------------------------------------------------------- values

  revive({ name }: DefinedFunction, { done, failed }: Receiver<NonNullable<unknown>>): void {
    const fn = this.#session.world.library.functions[name];
    this.#session.process.defer(() => (fn ? done(fn) : failed(new Error(`the library has no function ${name}`))));
  }

  decodePlain(running: Running, bytes: Uint8Array): unknown {
    return this.#session.decode(Composite.plain, bytes, [], this.#contextOf(running).hold);
  }

  decode(running: Running, { tag, bytes }: EncodedValue, { done }: Receiver<unknown>): void {
    done(this.#session.decode(tag, bytes, [], this.#contextOf(running).hold));
  }

  fetch(running: Running, stored: StoredDescriptor, receiver: Receiver<unknown>): void {
    this.#run(this.#session.fetchValue({ ...stored, contained: [] }, this.#contextOf(running).hold), receiver);
  }

  encode({ line }: Running, value: unknown, { done, failed }: Receiver<EncodedResult>): void {
    const { identity } = this.#session;
    if (!(value instanceof Large)) {
      const written = write(value);
      return done({ value: encode(written, identity), contained: written.contained });
    }
    this.#session.storeValue(value, line.callerId,
      (stored) => done({ value: new EncodedValue(Composite.stored, encodeStored(describeStored(stored, identity))), contained: stored.contained }), failed);
  }

  /** What is no error of users' code or of the system is one of the simulation, and ends it. */
  encodeThrown(error: unknown): EncodedValue {
    if (error instanceof MusterError || error instanceof UserError) return encodeError(error);
    throw error;
  }

  #run(program: Program<unknown>, { done, failed }: Receiver<unknown>): void {
    runProgram(this.#session.process, program, (ending) => ('error' in ending ? failed(ending.error) : done(ending.value)));
  }

  // ---------------------------------------------------------------- references

  holdRefs(refs: readonly ObjectRef[]): void {
    this.#session.owner.objects.sendingRefs(refs);
  }

  releaseRefs(refs: readonly ObjectRef[]): void {
    this.#session.owner.objects.sentRefs(refs);
  }

  whenCounted(callback: () => void): void {
    const { hasOwner, process } = this.#session;
    if (!hasOwner || this.#session.owner.borrowing.isCounted) callback();
    else this.#session.owner.borrowing.whenCounted(() => process.defer(callback));
  }

  cancelChild(ref: ObjectRef): void {
    this.#session.owner.cancel(ref, { force: false, reason: 'the task that submitted it was cancelled' });
  }

  // ---------------------------------------------------------------- the rest of the world

  nowMs(): number {
    return this.#session.world.clock.nowMs();
  }

  nextTurn(callback: () => void): void {
    this.#session.process.after(0, callback);
  }

  after(delayMs: number, callback: () => void): ExecutorTimer {
    return this.#session.process.after(delayMs, callback);
  }

  toHead(message: ClientToHead): void {
    this.#session.toHead(message);
    if (message.type === 'workerBlocked' && message.blocked) this.#session.world.ledger.blocked(this.#worker.leaseId, this.#session.nodeId);
  }

  refuse(line: CallerLine, error: unknown): void {
    if (!(error instanceof MusterError)) throw error;
    this.#session.world.network.protocolErrors.push(`${this.#session.process.id} could not take a record of ${line.callerId}: ${error.message}`);
    this.#worker.admission.end(line, error);
  }
}

function valueOf(ending: Ending<unknown>): unknown {
  if ('error' in ending) throw ending.error;
  return ending.value;
}
