/** `npm start`, `npm test [-- PATTERN]` and `npm run build`: each builds first whatever has changed. */
import { chdir } from 'node:process';
import { fileURLToPath } from 'node:url';
import { ExplainedFailure } from './terminal.mjs';

const COMMANDS = {
  build: async () => (await import('./build.mjs')).build(),
  start: async () => (await import('./start.mjs')).start(),
  test: async ([pattern = '']) => (await import('./test.mjs')).test(pattern),
};

process.stdout.on('error', () => process.exit(1)); // whoever read it has gone
chdir(fileURLToPath(new URL('..', import.meta.url)));
const [name = '', ...args] = process.argv.slice(2);
const command = COMMANDS[name];
if (!command) {
  process.stderr.write(`usage: node scripts/run.mjs ${Object.keys(COMMANDS).join(' | ')}\n`);
  process.exit(2);
}
try {
  await command(args);
} catch (error) {
  if (!(error instanceof ExplainedFailure)) throw error;
  process.exitCode = 1;
}
