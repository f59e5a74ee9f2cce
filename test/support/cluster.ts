/**
 * Real clusters for tests: a head and nodes, each a process of its own that listens on 127.0.0.1. Every node has a home folder of its own, as
 * if it were a machine of its own; all of them lie in one temporary folder, by which their processes are recognised.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { init, shutdown, type ClusterInfo, type InitOptions } from '@muster/core';
import type { ListAnswer, NodeRow, StatusAnswer } from '@muster/head';
import { failureFromMessage } from '@muster/protocol';
import { Channel } from '@muster/protocol/rpc';

/** The `cluster` command. */
export const PROGRAM = fileURLToPath(import.meta.resolve('@muster/cli/bin'));
const QUERY_TIMEOUT_MS = 60_000;
/** A machine with two busy cores takes its time to end ten processes. */
const STOP_TIMEOUT_MS = 15_000;

/** What a node offers. */
export interface NodeOptions {
  readonly cpus?: number;
  readonly gpus?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly objectStore?: string;
  /** Added to the environment of its process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Its home folder; a fresh one when absent. */
  readonly home?: string;
}

export interface ClusterOptions {
  readonly head?: NodeOptions;
  readonly nodes?: readonly NodeOptions[];
  readonly nodeTimeout?: string;
  /** What `--queues` names. */
  readonly queues?: readonly object[];
}

interface ReadyLine {
  readonly nodeId: string;
  readonly headTarget: string;
  readonly daemonUnixPath: string;
  readonly tokenFile: string;
  readonly logFile: string;
}

/** One process of the cluster that is a node, with its workers below it. */
export class TestNode {
  readonly exited: Promise<string>;

  constructor(readonly child: ChildProcess, readonly home: string, readonly ready: ReadyLine) {
    this.exited = exitOf(child);
  }

  get nodeId(): string { return this.ready.nodeId; }
  get pid(): number { return this.child.pid!; }
  get folder(): string { return join(this.home, this.nodeId); }
  get arenaPath(): string { return `/dev/shm/muster-${this.nodeId}`; }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}

/** A cluster that lives as long as a test. */
export class TestCluster {
  readonly nodes: TestNode[] = [];
  #channel: Channel | null = null;

  private constructor(readonly root: string, readonly head: TestNode) {}

  /** Starts the head, a node without cpus unless told otherwise, and then all nodes at once. */
  static async start(options: ClusterOptions = {}): Promise<TestCluster> {
    const root = mkdtempSync(join(tmpdir(), 'muster-t-'));
    const args = ['--head', '--port', '0', ...(options.nodeTimeout ? ['--node-timeout', options.nodeTimeout] : [])];
    if (options.queues) {
      writeFileSync(join(root, 'queues.json'), JSON.stringify(options.queues));
      args.push('--queues', join(root, 'queues.json'));
    }
    const head = await startNode(args, options.head?.home ?? join(root, 'head'), {}, { cpus: 0, ...options.head });
    const cluster = new TestCluster(root, head);
    process.once('exit', cluster.#remove);
    try {
      await Promise.all((options.nodes ?? []).map((node) => cluster.addNode(node)));
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get address(): string { return this.head.ready.headTarget; }
  get token(): string { return readFileSync(this.head.ready.tokenFile, 'utf8').trim(); }

  async addNode(options: NodeOptions = {}): Promise<TestNode> {
    const home = options.home ?? join(this.root, `n${readdirSync(this.root).length}`);
    const node = await startNode(['--address', this.address], home, { token: this.token }, { cpus: 1, ...options });
    this.nodes.push(node);
    return node;
  }

  /** Makes this process a driver of the cluster, on the head's node. */
  async connect(options: Pick<InitOptions, 'queue' | 'priority'> = {}): Promise<ClusterInfo> {
    process.env['MUSTER_HOME'] = this.head.home;
    return init({ address: this.address, token: this.token, logs: false, ...options });
  }

  /** The environment of a driver in a process of its own, on a node of this cluster. */
  driverEnv(node: TestNode = this.head): NodeJS.ProcessEnv {
    return { ...process.env, MUSTER_HOME: node.home, MUSTER_ADDRESS: this.address, MUSTER_TOKEN_FILE: this.head.ready.tokenFile };
  }

  /** Asks the head. @throws MusterError */
  async query<Answer>(what: string, args: Readonly<Record<string, string>> = {}): Promise<Answer> {
    this.#channel ??= new Channel({ target: this.address, token: this.token, peer: 'the head', unref: true });
    const reply = await this.#channel.request('Head.Query', { what, arguments: { ...args }, json: '' }, QUERY_TIMEOUT_MS);
    if (reply.failure) throw failureFromMessage(reply.failure);
    return JSON.parse(reply.json) as Answer;
  }

  status(): Promise<StatusAnswer> {
    return this.query('status');
  }

  /** What the head knows of a node. */
  async row(node: TestNode): Promise<NodeRow> {
    const { rows } = await this.query<ListAnswer>('list', { kind: 'nodes' });
    return (rows as readonly NodeRow[]).find(({ nodeId }) => nodeId === node.nodeId)!;
  }

  /** The living processes of the cluster: nodes, workers and drivers that are not this process. */
  processes(): number[] {
    return processesWith('MUSTER_HOME', this.root);
  }

  /** The workers of a node. */
  workersOf(node: TestNode): number[] {
    return childrenOf(node.pid);
  }

  /** Leaves the cluster, ends all of its processes and removes its files. */
  async stop(): Promise<void> {
    await shutdown().catch(() => {});
    this.#channel?.close();
    const all = [...this.nodes, this.head];
    for (const node of all) {
      node.kill('SIGCONT');
      node.kill('SIGTERM');
    }
    const late = setTimeout(() => this.#killAll(), STOP_TIMEOUT_MS);
    await Promise.all(all.map((node) => node.exited));
    clearTimeout(late);
    process.off('exit', this.#remove);
    this.#remove();
  }

  /** What must not outlive the test, however it ends. */
  readonly #remove = (): void => {
    this.#killAll();
    rmSync(this.root, { recursive: true, force: true });
    for (const node of [...this.nodes, this.head]) rmSync(node.arenaPath, { force: true });
  };

  readonly #killAll = (): void => {
    for (const pid of this.processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch { /* it has just ended */ }
    }
  };
}

async function startNode(role: readonly string[], home: string, secrets: object, options: NodeOptions): Promise<TestNode> {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const args = [...role, '--cpus', String(options.cpus ?? 1), '--object-store', options.objectStore ?? '256MiB'];
  if (options.gpus !== undefined) args.push('--gpus', String(options.gpus));
  for (const [key, value] of Object.entries(options.labels ?? {})) args.push('--labels', `${key}=${value}`);
  const child = spawn(process.execPath, [PROGRAM, 'start', ...args, '--background'], {
    stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...options.env, MUSTER_HOME: home },
  });
  child.stdin.end(`${JSON.stringify(secrets)}\n`);
  for await (const line of createInterface({ input: child.stdout })) {
    const answer = JSON.parse(line) as ReadyLine | { readonly failure: { readonly what: string } };
    if ('failure' in answer) throw new Error(`the node did not start: ${JSON.stringify(answer.failure)}`);
    return new TestNode(child, home, answer);
  }
  throw new Error('the node did not start');
}

/** How a child ends: `0` or `SIGKILL`. */
export function exitOf(child: ChildProcess): Promise<string> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.signalCode ?? String(child.exitCode));
  return new Promise((resolve) => child.once('exit', (code, signal) => resolve(signal ?? String(code))));
}

// ---------------------------------------------------------------- the kernel's view

/** The numbers under /proc. */
function pids(): number[] {
  return readdirSync('/proc').map(Number).filter((pid) => pid > 0);
}

/** A file of a process, or an empty text when the process is gone. */
export function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

/** Whether the process runs: one that nobody has asked about after its end does not. */
export function isRunning(pid: number): boolean {
  const stat = procFile(pid, 'stat');
  return stat !== '' && stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z';
}

export function childrenOf(pid: number): number[] {
  return pids().filter((child) => isRunning(child) && Number(statField(child, 4)) === pid);
}

function statField(pid: number, field: number): string {
  const stat = procFile(pid, 'stat');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[field - 3] ?? ''; // the name before it may contain anything
}

function processesWith(variable: string, prefix: string): number[] {
  return pids().filter((pid) => pid !== process.pid && isRunning(pid) && procFile(pid, 'environ').split('\0').some((entry) => entry.startsWith(`${variable}=${prefix}`)));
}

/** What the file descriptors of a process refer to. */
export function descriptorsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return []; // closed meanwhile
    }
  });
}

/** The TCP addresses on which a process listens, such as `127.0.0.1:6380`. */
export function listeningOf(pid: number): string[] {
  const inodes = new Set(descriptorsOf(pid).map((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1]));
  return ['net/tcp', 'net/tcp6'].flatMap((file) => procFile(pid, file).split('\n').slice(1).map((line) => line.trim().split(/\s+/)))
    .filter((columns) => columns[3] === '0A' && inodes.has(columns[9]!)).map((columns) => readAddress(columns[1]!));
}

/** Reads `0100007F:1F90`: 32-bit words in the machine's order. */
function readAddress(text: string): string {
  const [words = '', port = ''] = text.split(':');
  if (words.length > 8) return `[${words}]:${parseInt(port, 16)}`;
  return `${words.match(/../g)!.reverse().map((byte) => parseInt(byte, 16)).join('.')}:${parseInt(port, 16)}`;
}
