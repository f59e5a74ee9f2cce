/** The program behind `time to first result`: a cluster of its own, one task, and the moment its result was there. */
import { init, remote, shutdown } from '@muster/core';

await init();
const result = await remote(() => 1)();
const resultAt = Date.now();
if (result !== 1) throw new Error('the task returned something else');
await shutdown();
console.log(JSON.stringify({ resultAt }));
