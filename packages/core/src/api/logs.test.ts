import t from 'tap';
import { showLogLines } from './logs.js';

const LOG = { nodeId: 'node-1', jobId: 'job-1', workerId: 'worker-1', pid: 7, isError: false, name: 'square', lines: [], suppressedCount: 0 };

t.test('output says who printed it, and what is left out of it', async (t) => {
  const { args } = t.capture(process.stdout, 'write', () => true);
  showLogLines({ ...LOG, lines: ['a', 'b'], suppressedCount: 3 });
  showLogLines({ ...LOG, workerId: '', pid: 0, name: '', suppressedCount: 5 }); // at the end of a job, of all of it
  t.equal(args().flat().join(''), [
    '(square worker-1 pid=7) … 3 lines left out, too many at once; all are in `cluster logs worker-1`',
    '(square worker-1 pid=7) a', '(square worker-1 pid=7) b',
    '(job-1) … 5 lines left out, too many at once; all are in `cluster logs job-1`', '',
  ].join('\n'));
});
