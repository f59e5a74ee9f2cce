/** Scripts of commands with what the head sends because of each: read golden/*.txt. */
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { goldenScripts, replayGolden } from '@muster/base/testing';
import { ClusterScript } from '../testing/cluster-script.js';

for (const path of goldenScripts(fileURLToPath(new URL('../../src/machine/golden/', import.meta.url)))) {
  t.test(basename(path), async (t) => {
    for (const { expected, actual } of replayGolden(path, new ClusterScript())) t.equal(actual, expected, expected.split('\n')[0]!);
  });
}
