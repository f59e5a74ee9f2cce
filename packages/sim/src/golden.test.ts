/** Scripts of commands with what happens in the cluster because of each: read golden/*.txt. */
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { goldenScripts, replayGolden } from '@muster/base/testing';
import { ClusterScript } from './script.js';

for (const path of goldenScripts(fileURLToPath(new URL('../src/golden/', import.meta.url)))) {
  t.test(basename(path), async (t) => {
    for (const { expected, actual } of replayGolden(path, new ClusterScript())) t.equal(actual, expected, expected.split('\n')[0]!);
  });
}
