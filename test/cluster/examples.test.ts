/** Examples that check their own result, run as users run them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

t.setTimeout(120_000); // a loaded machine takes its time

t.test('four ranks that train in bf16 learn what one rank learns', async (t) => {
  const child = spawn(process.execPath, ['--import', 'tsx', 'examples/allreduce.ts'], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], timeout: 100_000, killSignal: 'SIGKILL' });
  t.teardown(() => child.kill('SIGKILL'));
  const [output, complaints, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  t.equal(code, 0, complaints);
  for (const size of ['4 ranks', '1 rank']) t.match(output, new RegExp(`${size}, step 200: loss 0\\.003\\d+, scale 2\\^12\\d, [1-9] steps? left out`));
  t.match(output, /largest difference of a weight: \d\.\d+e-\d+, and at most 0\.015625 is expected/);
});
