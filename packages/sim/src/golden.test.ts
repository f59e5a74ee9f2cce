/**
 * Scripts of commands with what happens in the cluster because of each. They are documentation, too: read golden/*.txt.
 * MUSTER_REWRITE=1 writes what happens now into the scripts, for reading in a diff.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ClusterScript } from './script.js';

const FOLDER = fileURLToPath(new URL('../src/golden/', import.meta.url));
const SEPARATOR = '----';

/** One paragraph of a script: comments and commands, then what they bring about. */
function replay(script: ClusterScript, paragraph: string): string {
  const [head = ''] = paragraph.split(`\n${SEPARATOR}`);
  const commands = head.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return [head, SEPARATOR, ...commands.flatMap((command) => script.run(command))].join('\n');
}

for (const file of readdirSync(FOLDER).sort()) {
  t.test(file, async (t) => {
    const path = `${FOLDER}${file}`;
    const script = new ClusterScript();
    const paragraphs = readFileSync(path, 'utf8').trimEnd().split(/\n\n+/);
    const replayed = paragraphs.map((paragraph) => replay(script, paragraph));
    if (process.env['MUSTER_REWRITE'] === '1') writeFileSync(path, `${replayed.join('\n\n')}\n`);
    else paragraphs.forEach((paragraph, index) => t.equal(replayed[index], paragraph, paragraph.split('\n')[0]!));
  });
}
