/** `npm start`: a cluster of three nodes on this machine, a program that runs on it, and nothing left afterwards. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { build } from './build.mjs';
import { Tail } from './command.mjs';
import { step, StepFailure } from './terminal.mjs';
import { temporaryFolder } from './workspaces.mjs';

const CLUSTER = 'packages/cli/bin/cluster.mjs';
const PROGRAM = ['node', 'examples/mnist-sweep.ts'];
const EXIT_INTERRUPTED = 130;

export async function start() {
  await build();
  let isInterrupted = false;
  const interrupt = () => { isInterrupted = true; };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  const home = mkdtempSync(join(temporaryFolder(), 'muster-start-'));
  const environment = { ...process.env, MUSTER_HOME: home };
  delete environment.MUSTER_ADDRESS;
  const cpus = String(Math.max(1, Math.floor(availableParallelism() / 2)));
  try {
    const head = {};
    await step('head', async () => { Object.assign(head, JSON.parse(await cluster(['start', '--head', '--port', '0', '--cpus', '0', '--json'], environment))); });
    for (const name of ['node 1', 'node 2']) {
      if (!isInterrupted) await step(name, async () => { await cluster(['start', '--address', head.address, '--cpus', cpus, '--json'], environment); });
    }
    if (!isInterrupted) process.exitCode = await submit(environment);
  } finally {
    await step('stop', async () => { await cluster(['stop', '--all'], environment); });
    rmSync(home, { recursive: true, force: true });
  }
  if (isInterrupted) process.exitCode = EXIT_INTERRUPTED;
}

/** Runs a command that Ctrl-C does not reach: nodes that are starting must be ready before they can be stopped. */
function cluster(args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLUSTER, ...args], { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const complaints = new Tail();
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => { output += text; });
    child.stderr.setEncoding('utf8').on('data', (text) => complaints.add(text));
    child.once('close', (code) => {
      if (code === 0) resolve(output);
      else reject(new StepFailure({ what: `cluster ${args.join(' ')} exited with code ${code}`, output: complaints.toString(), next: 'correct what it complains about and run this again.' }));
    });
  });
}

/** Runs the program as a job. Ctrl-C reaches it, and makes it stop the job. */
function submit(env) {
  process.stdout.write('\n');
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [CLUSTER, 'submit', '--', ...PROGRAM], { env, stdio: 'inherit' });
    child.once('exit', (code) => {
      process.stdout.write('\n');
      resolve(code ?? 1);
    });
  });
}
